"""Tests of gpuenv.workflow."""
