"""A locked target in other people's formats: PEP 751's pylock, and requirements with hashes."""
