"""Tests of gpuenv.view."""
