"""Tests of gpuenv.index."""
