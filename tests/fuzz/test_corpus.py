"""What the fuzzer kept, and what it once found, keeps its promises; so do changed bytes of real files."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.harness import PATHS, TARGETS, check_file
from tests.fuzz.seeds import seeds

CORPUS = Path(__file__).parents[2] / "fixtures" / "fuzz"
LONGEST = 2.0  # seconds an input may take; they take milliseconds

SEEDS = [seed[1:] for seed in seeds("file")]


@pytest.mark.parametrize("target", TARGETS)
def test_corpus(target: str) -> None:
    """Every input that the fuzzer kept for a target, and every seed, is read as promised, and soon."""
    kept = sorted((CORPUS / target).iterdir())
    assert kept
    inputs = [(path.name, path.read_bytes()) for path in kept]
    inputs += [(f"seed {number}", seed) for number, seed in enumerate(seeds(target))]
    for name, data in inputs:
        begin = time.monotonic()
        TARGETS[target](data)
        assert time.monotonic() - begin < LONGEST, name


def test_corpus_is_small_and_known() -> None:
    """The corpus stays below 400 files and 300 kB, and each of its folders belongs to a target."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) < 400
    assert sum(path.stat().st_size for path in files) < 300_000
    assert {path.parent.name for path in files} == set(TARGETS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255) | st.sampled_from([0, 255, 128])), max_size=6),
    st.sampled_from(PATHS),
)
def test_changed_bytes(seed: bytes, changes: list[tuple[int, int]], path: str) -> None:
    """Real binaries with a few bytes changed say the same read at random, as a stream, and from far away."""
    data = bytearray(seed)
    for at, value in changes:
        data[at % len(data)] = value
    check_file(path, bytes(data))
