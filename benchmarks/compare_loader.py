"""Compare the emulated loader with the real one, over real environments.

    PYTHONPATH=. python -P benchmarks/compare_loader.py ENVIRONMENT …

An environment is a folder with `.venv`, or the `.venv` itself. Its Python runs under LD_DEBUG in fresh processes with
nothing else in their environment: one imports every top-level module, others open every shared library with ctypes,
one after the other; where one kills its process, the next process goes on behind it. Then the emulation is asked for
the same, in the same order, and has to say the same of every search, every file that was opened, every file that has
versions of symbols for another, and the scope of every dlopen. One line an environment, one line more for each
difference; exit code 1 if there is any. Columns: processes, dlopens that opened something (or failed), files that were
opened, needs of theirs whose files were compared, differences.
"""

import sys
import tempfile
from pathlib import Path

from tests.support.lddebug import Report, compare, everything

from gpuenv.host.cpu import cpu_level
from gpuenv.workflow.binding import surroundings


def compared(environment: Path) -> tuple[int, Report]:
    """How many processes there were, and what all of them came to."""
    python = environment / "bin" / "python"
    total, processes = Report(), 0
    with tempfile.TemporaryDirectory() as folder:
        for log in everything(environment, Path(folder)):
            system = surroundings(str(python.resolve()), {}, cpu_level(Path("/"), "x86_64"))
            if system is None:
                raise SystemExit(f"{python} has no loader of glibc's")
            total.add(compare(log, system, python))
            processes += 1
    return processes, total


def main(arguments: list[str]) -> int:
    """Compare; returns the exit code."""
    differences = 0
    columns = ("environment", "processes", "dlopens", "failed", "files opened", "needs", "differences")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for argument in map(Path, arguments):
        environment = argument if (argument / "pyvenv.cfg").exists() else argument / ".venv"
        name = (environment.parent if environment.name == ".venv" else environment).name
        processes, found = compared(environment)
        row = (name, processes, found.roots, found.failed, found.opened, found.needs, len(found.differences))
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        for text in found.differences:
            print(f"    {text}", flush=True)
        differences += len(found.differences)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
