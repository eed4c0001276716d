"""Tests of gpuenv.store."""
