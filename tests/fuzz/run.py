"""Fuzz one target with atheris (libFuzzer for Python), which has to be installed; CONTRIBUTING.md says how.

python -m tests.fuzz.run TARGET WORK [SECONDS]      look for inputs that break a promise; what is found stays in WORK
python -m tests.fuzz.run --keep TARGET WORK         put the smallest corpus of the same coverage into fixtures/fuzz
"""

import importlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LONGEST = 16 << 10  # bytes of an input
KEPT = 2 << 10  # bytes of an input that is kept; whole files are in the fixtures, which are the seeds
MOST = 50  # inputs that are kept of a target, the smallest
_MERGE = ["-set_cover_merge=1", "-use_counters=0", f"-max_len={KEPT}"]
_LIMITS = ["-timeout=5", "-rss_limit_mb=450"]


def prepare(target: str, work: Path) -> list[str]:
    """Write seeds and words into WORK; returns arguments for libFuzzer."""
    from tests.fuzz.seeds import WORDS, seeds

    (work / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (work / "corpus" / f"seed-{number}").write_bytes(seed[:LONGEST])
    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    (work / "words").write_text("".join(f'"{word}"\n' for word in words))
    return [f"-dict={work / 'words'}", f"-artifact_prefix={work}/", f"-max_len={LONGEST}", *_LIMITS]


def fuzz(target: str, arguments: list[str], work: Path | None = None) -> None:
    """Hand the target over to libFuzzer, with seeds where there is a folder to work in; does not return."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gpuenv"]):  # so nothing may have imported it before
        from tests.fuzz.harness import TARGETS
    options = prepare(target, work) if work else []
    # who merges starts this program again and again, as a line for the shell
    again = f"{shlex.quote(sys.executable)} -m tests.fuzz.run --merge {shlex.quote(target)}"
    atheris.Setup([again, *options, *arguments], TARGETS[target])
    atheris.Fuzz()


def keep(target: str, work: Path) -> None:
    """Merge what was found into the corpus of the repository, which replaces what was there."""
    kept, merged = ROOT / "fixtures" / "fuzz" / target, work / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    kept.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.run", "--merge", target, *_MERGE, *_LIMITS]
    subprocess.run([*command, str(merged), str(kept), str(work / "corpus")], check=True)
    for old in kept.glob("[0-9a-f]*"):
        if len(old.name) == 40:
            old.unlink()
    for new in sorted(merged.iterdir(), key=lambda path: path.stat().st_size)[:MOST]:
        shutil.copy(new, kept)


def main(arguments: list[str]) -> None:
    """See the module."""
    if arguments[0] == "--merge":
        return fuzz(arguments[1], arguments[2:])
    if arguments[0] == "--keep":
        return keep(arguments[1], Path(arguments[2]).resolve())
    target, work = arguments[0], Path(arguments[1]).resolve()
    seconds = arguments[2] if len(arguments) > 2 else "300"
    kept = ROOT / "fixtures" / "fuzz" / target
    kept.mkdir(parents=True, exist_ok=True)
    return fuzz(target, [f"-max_total_time={seconds}", "-print_final_stats=1", str(work / "corpus"), str(kept)], work)


if __name__ == "__main__":
    main(sys.argv[1:])
