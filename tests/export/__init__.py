"""Tests of `gpuenv.export`."""
