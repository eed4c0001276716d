"""What a binary says: bytes in, facts out."""
