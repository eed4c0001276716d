"""Flags in, exit code out: a glance for what needs no work, else the Typer app, the only error boundary."""

import sys

__all__ = ["main"]


def main() -> None:
    """The console script."""
    from gpuenv.cli.glance import glance

    code = glance(sys.argv[1:])
    if code is None:
        from gpuenv.cli.main import run

        code = run(sys.argv[1:])
    sys.exit(code)
