"""Sums of device code: no image is lost, and each container keeps its set."""

from hypothesis import given
from hypothesis import strategies as st

from gpuenv.binaries.inventory import Inventory, Place
from gpuenv.model.facts import Code, Unit

CODES = st.builds(
    Code,
    vendor=st.just("nvidia"),
    kind=st.sampled_from(["sass", "ptx"]),
    arch=st.sampled_from(["sm_75", "sm_90", "sm_90a", "sm_100"]),
    bytes=st.integers(0, 100),
    compressed=st.booleans(),
)
UNITS = st.lists(
    st.builds(Unit, offset=st.integers(0, 300), size=st.just(1), codes=st.lists(CODES, max_size=4).map(tuple)),
    max_size=8,
)


@given(UNITS)
def test_nothing_is_lost(units: list[Unit]) -> None:
    """Images, bytes and containers add up to what was put in."""
    found = Inventory()
    for unit in units:
        found.add(unit)
    codes = [code for unit in units for code in unit.codes]
    assert sum(code.count for code in found.device_code()) == len(codes)
    assert sum(code.bytes for code in found.device_code()) == sum(code.bytes for code in codes)
    summed = found.units([Place(0, 100, ".a"), Place(150, 200, ".b")])
    assert sum(line.count for line in summed) == len(units)
    for name, inside in ((".a", range(100)), (".b", range(150, 200))):
        assert sum(line.count for line in summed if line.section == name) == sum(u.offset in inside for u in units)
    for line in summed:
        assert all(0 <= place < len(found.device_code()) for place in line.codes)
