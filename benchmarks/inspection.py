"""Time and memory of `gpuenv inspect` on real wheels, beside `unzip -t` of the same files in the same run.

    python benchmarks/inspection.py WHEEL...

Each program runs twice by turns, the better time counts. Memory is the highest resident set of the whole process, above
that of an interpreter that does nothing; wheels are read from the file system's cache by both.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROUNDS = 2


class Run(NamedTuple):
    """Seconds, and the highest resident set in MiB."""

    seconds: float
    memory: float


def run(command: list[str]) -> Run:
    """One run of a program, which must succeed."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return Run(seconds, usage.ru_maxrss / 1024)


def best(runs: list[Run]) -> Run:
    """The better time, the worse memory."""
    return Run(min(r.seconds for r in runs), max(r.memory for r in runs))


def main(wheels: list[str]) -> None:
    """Print a table."""
    idle = run([sys.executable, "-c", "pass"]).memory
    print(f"{'wheel':44}  {'MB':>6}  {'inspect':>8}  {'unzip -t':>8}  {'ratio':>5}  {'memory':>8}")
    with tempfile.TemporaryDirectory() as cache:
        for wheel in wheels:
            run(["cat", wheel])  # both find it in memory; a child's memory is never less than its parent's was
            ours = [sys.executable, "-m", "gpuenv", "inspect", "--json", "--refresh", "--cache-dir", cache, wheel]
            pairs = [(run(ours), run(["unzip", "-tqq", wheel])) for _ in range(ROUNDS)]
            mine, theirs = best([pair[0] for pair in pairs]), best([pair[1] for pair in pairs])
            print(
                f"{Path(wheel).name[:44]:44}  {Path(wheel).stat().st_size / 1e6:6.0f}  {mine.seconds:7.2f}s"
                f"  {theirs.seconds:7.2f}s  {mine.seconds / theirs.seconds:5.2f}  {mine.memory - idle:5.0f} MiB"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
