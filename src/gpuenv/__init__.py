"""gpuenv: wheels, native libraries and GPU architectures solved as one graph, synced from a content-addressed store."""

__version__ = "0.1.0"
