"""Tests of gpuenv.binaries."""
