"""Flags in, exit code out: the Typer app and the only error boundary."""

from gpuenv.cli.main import main

__all__ = ["main"]
