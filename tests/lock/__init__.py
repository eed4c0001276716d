"""Tests of gpuenv.lock."""
