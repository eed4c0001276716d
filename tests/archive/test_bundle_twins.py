"""Bundles: files with the same bytes are stored once, whatever their names."""

import io
import random
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from gpuenv.archive.bundle import Content, write_bundle
from gpuenv.archive.bundled import open_bundle
from gpuenv.archive.unpacking import Placed

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> Callable[[], Iterator[bytes]]:
    """Bytes that no compressor makes smaller."""
    data = random.Random(seed).randbytes(size)  # noqa: S311 - any noise will do
    return lambda: (data[at : at + MIB] for at in range(0, size, MIB))


def written(*files: Content, best: bool = False) -> bytes:
    out = io.BytesIO()
    write_bundle(out.write, "demo-1.0.dist-info", files, best=best)
    return out.getvalue()


def test_copies_of_a_large_file_cost_next_to_nothing(tmp_path: Path) -> None:
    """A library of 40 MiB under three names takes the space of one, though a frame elsewhere ends after 64 MiB."""
    chunks, size = noise(40 * MIB), 40 * MIB
    names = ("b/libdemo.so.1", "a/other.so", "c/plugin.bin")
    copies = [Content(name, size, False, chunks) for name in names]
    data = written(*copies, Content("b/libdemo.so.2", 30 * MIB, False, noise(30 * MIB, 2)))
    assert len(data) < 70.5 * MIB
    path = tmp_path / "demo.whl.tar.zst"
    path.write_bytes(data)
    with open_bundle(path) as bundle:
        frames = {member.name: member.frame for member in bundle.members}
        assert len({frames[name] for name in names}) == 1
        places = [Placed(member, str(number), False) for number, member in enumerate(bundle.members)]
        written_ = bundle.unpack(tmp_path, places, mtime=400000000)
    digests = {place.member.name: one.sha256 for place, one in zip(places, written_, strict=True)}
    assert len({digests[name] for name in names}) == 1
    assert len(set(digests.values())) == 2


def test_a_huge_file_does_not_part_those_that_are_alike() -> None:
    """Two libraries that repeat each other share a frame, also where one of 70 MiB stands between them by name."""
    one, huge = noise(4 * MIB), noise(70 * MIB, 2)
    copy = Content("libz.so", 4 * MIB + 1, False, lambda: chain(one(), [b"x"]))
    data = written(Content("liba.so", 4 * MIB, False, one), Content("libm.so", 70 * MIB, False, huge), copy)
    assert len(data) < 74.5 * MIB


def test_files_of_one_size_are_no_twins_for_that() -> None:
    """Files that only have the same size stay where their names put them."""
    sizes = [(f"lib{number}/x.so", noise(200_000, number)) for number in range(4)]
    files = [Content(name, 200_000, False, chunks) for name, chunks in sizes]
    assert len(written(*files)) > 4 * 200_000
    assert written(*files) == written(*reversed(files))


def test_the_number_of_threads_is_not_in_a_frame_of_many_jobs() -> None:
    """One file of several jobs of zstd gives the same bytes with one worker and with four."""
    found = set()
    for workers in (1, 2, 4):
        out = io.BytesIO()
        file = Content("a.so", 50 * MIB, False, noise(50 * MIB))
        write_bundle(out.write, "demo-1.0.dist-info", [file], workers=workers)
        found.add(out.getvalue())
    assert len(found) == 1
