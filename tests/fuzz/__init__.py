"""What reads hostile bytes, held to its promises over bytes that a fuzzer chose."""
