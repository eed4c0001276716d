"""The tests of gpuenv."""
