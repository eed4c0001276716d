"""Tests of gpuenv.host."""
