"""Tests of gpuenv.model."""
