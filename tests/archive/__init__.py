"""Tests of gpuenv.archive."""
