"""Containers are found wherever they lie, and a file made of nothing else ends."""

import pytest

from gpuenv.binaries import scan as module
from gpuenv.binaries.scan import scan
from gpuenv.binaries.tape import Tape
from gpuenv.errors import BinaryError
from tests.support.binaries import bundle, fatbin


@pytest.mark.parametrize("cut", [1, 7, 64, 5000])
def test_neighbours_and_gaps(cut: int) -> None:
    """Containers of both vendors are found side by side and apart, however the chunks are cut."""
    data = fatbin(("sass", 90)) + fatbin(("sass", 80)) + bytes(11) + bundle("gfx942") + b"CCOB" + bundle("gfx1100")
    found = scan(Tape(data[at : at + cut] for at in range(0, len(data), cut)), len(data))
    assert [code.arch for code in found.device_code()] == ["gfx942", "gfx1100", "sm_80", "sm_90"]
    assert sum(units.count for units in found.units()) == 4


def test_a_container_inside_another_is_not_counted() -> None:
    """What lies in the payload of an image belongs to the image."""
    inner = fatbin(("sass", 75))
    outer = fatbin(("sass", 90), payload=len(inner))
    data = outer[: -len(inner)] + inner
    assert [code.arch for code in scan(Tape([data]), len(data)).device_code()] == ["sm_90"]


def test_looks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of nothing but magics is given up."""
    monkeypatch.setattr(module, "LOOKS", 100)
    data = b"CCOB" * 101
    with pytest.raises(BinaryError, match="more than 100 containers"):
        scan(Tape([data]), len(data))
