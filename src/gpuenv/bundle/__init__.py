"""Distributions with symbolic links, zstd and native facts: repack, pack, index."""
