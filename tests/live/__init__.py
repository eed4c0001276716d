"""Tests against the real default index: `pytest -m live`; names with `smoke` are the small set that CI runs."""
