"""The nouns of gpuenv: frozen values without I/O, shared by every stage."""
