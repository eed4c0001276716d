"""Tests that need namespaces of their own: `tests/faults/test_places.py` runs them there."""
