"""Tests of gpuenv.report."""
