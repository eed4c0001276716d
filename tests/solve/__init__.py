"""Tests of gpuenv.solve."""
