"""Unpacked distributions: written once, named by content, visible only when whole."""
