"""Compare wheels with bundles of them: size, time to make, time to unpack, and what was unpacked.

    python benchmarks/bundles.py --scratch FOLDER WHEEL.whl …
    python benchmarks/bundles.py --scratch FOLDER --best --repeat 5 WHEEL.whl …

For each wheel: its size; of the same files a ZIP archive of level 9 (`--zip`) and a bundle, fast and, where asked for,
best, each as a part of the wheel; the seconds to make them, and megabytes of unpacked files a second; then the seconds
to unpack wheel and bundle, taking turns `--repeat` times, least of all, with gpuenv (and of these the seconds of all
processors together, which other programs disturb less), with Python's zipfile and with `tar --zstd`. Unpacking by
gpuenv writes and hashes every file. What came out of wheel and bundle is compared file by file: name, bytes, executable
bit; exit code 1 where anything differs. One line of JSON a wheel.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.unpacking import Placed
from gpuenv.archive.wheel import open_wheel
from gpuenv.bundle.repack import bundle_name, repack

Tree = dict[str, tuple[str, bool]]
_MTIME = 400000000


def make_bundle(wheel: Path, folder: Path, *, best: bool) -> tuple[Path, float]:
    """The bundle of a wheel, and the seconds that it took."""
    folder.mkdir(parents=True)
    path = folder / bundle_name(wheel.name)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    begin = time.perf_counter()
    with path.open("wb") as file:
        repack(wheel, file.write, sha256=digest, best=best)
    return path, time.perf_counter() - begin


def make_zip(wheel: Path, path: Path) -> int:
    """The size of a ZIP archive of the same files, deflated at level 9."""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for info in source.infolist():
            with source.open(info) as content, made.open(info.filename, "w", force_zip64=True) as target:
                shutil.copyfileobj(content, target, 1 << 20)
    size = path.stat().st_size
    path.unlink()
    return size


def unpack(opener: Callable[[Path], Any], archive: Path, root: Path) -> tuple[float, float, Tree]:
    """Seconds to unpack an archive with gpuenv, those of all processors, and what was written."""
    root.mkdir()
    busy, begin = time.process_time(), time.perf_counter()
    with opener(archive) as opened:
        places = [Placed(member, member.name, member.executable) for member in opened.members]
        written = opened.unpack(root, places, mtime=_MTIME)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    found = {
        place.path: (one.sha256.hex(), bool((root / place.path).stat().st_mode & 0o111))
        for place, one in zip(places, written, strict=True)
    }
    shutil.rmtree(root)
    return seconds, busy, found


def by_zipfile(wheel: Path, root: Path) -> float:
    """Seconds that Python's zipfile takes; it hashes nothing."""
    begin = time.perf_counter()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root)
    seconds = time.perf_counter() - begin
    shutil.rmtree(root)
    return seconds


def by_tar(bundle: Path, root: Path) -> float:
    """Seconds that GNU tar and zstd take; they hash nothing."""
    root.mkdir()
    begin = time.perf_counter()
    subprocess.run(["tar", "-C", str(root), "--use-compress-program=zstd -d --long=27", "-xf", str(bundle)], check=True)
    seconds = time.perf_counter() - begin
    shutil.rmtree(root)
    return seconds


def measure(wheel: Path, scratch: Path, *, best: bool, zipped: bool, repeat: int) -> tuple[dict[str, Any], bool]:
    """One line, and whether everything that was unpacked is the same."""
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    size = wheel.stat().st_size
    line: dict[str, Any] = {"wheel": wheel.name, "files_mb": unpacked / 1e6, "wheel_mb": size / 1e6}
    if zipped:
        line["zip9"] = make_zip(wheel, scratch / "zip9") / size
    bundles = {}
    for mode in ("fast", "best") if best else ("fast",):
        bundles[mode], seconds = make_bundle(wheel, scratch / mode, best=mode == "best")
        line[mode] = bundles[mode].stat().st_size / size
        line[f"{mode}_s"], line[f"{mode}_mb_s"] = seconds, unpacked / 1e6 / seconds
    times: dict[str, list[float]] = {}
    same = True
    root = scratch / "out"
    for _ in range(repeat):
        seconds, busy, expected = unpack(open_wheel, wheel, root)
        times.setdefault("unpack_wheel_s", []).append(seconds)
        times.setdefault("unpack_wheel_cpu_s", []).append(busy)
        for mode, bundle in bundles.items():
            seconds, busy, found = unpack(open_bundle, bundle, root)
            times.setdefault(f"unpack_{mode}_s", []).append(seconds)
            times.setdefault(f"unpack_{mode}_cpu_s", []).append(busy)
            same &= found == expected
        times.setdefault("zipfile_s", []).append(by_zipfile(wheel, root))
        times.setdefault("tar_s", []).append(by_tar(bundles["fast"], root))
    line |= {name: min(found) for name, found in times.items()}
    line["times_as_fast"] = line["unpack_wheel_s"] / line["unpack_fast_s"]
    for mode in bundles:
        shutil.rmtree(scratch / mode)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}, same


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--scratch", type=Path, required=True, help="an empty or new folder on the disk that counts")
    parser.add_argument("--best", action="store_true", help="bundles of --best too: a minute for 100 MB and core")
    parser.add_argument("--zip", action="store_true", help="ZIP archives of level 9 too")
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    chosen.scratch.mkdir(parents=True, exist_ok=True)
    different = 0
    for wheel in chosen.wheels:
        line, same = measure(wheel, chosen.scratch, best=chosen.best, zipped=chosen.zip, repeat=chosen.repeat)
        print(json.dumps(line | {"same_files": same}), flush=True)
        different += not same
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
