"""Tests of gpuenv.bundle."""
