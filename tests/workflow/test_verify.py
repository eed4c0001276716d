"""What sync says of a machine that lacks what binaries need."""

from gpuenv.host.libraries import HostLibrary
from gpuenv.model.demand import HostDemand
from gpuenv.workflow.verify import Asked, Judged, warnings


def judged(package: str, soname: str, by: str, lack: str | None = "has none") -> Judged:
    """A demand of a package's binary, and what the machine has instead."""
    return Judged(Asked(package, "1.0", HostDemand(soname, by)), HostLibrary(soname), lack)


def test_one_line_for_what_a_package_lacks_alike() -> None:
    """Libraries that a package misses for the same reason share a warning; what is met is not told."""
    found = warnings(
        [
            judged("a", "libone.so.1", "a/x.so"),
            judged("b", "libone.so.1", "b/y.so"),
            judged("a", "libtwo.so.2", "a/x.so"),
            judged("a", "libold.so.3", "a/x.so", "has it without V_2: /lib/libold.so.3"),
            judged("a", "libthere.so.4", "a/x.so", None),
            judged("b", "libtwo.so.2", "b/z.so"),
        ]
    )
    assert found == (
        "a 1.0 needs libone.so.1, libtwo.so.2 of the machine, which has none (a/x.so)",
        "b 1.0 needs libone.so.1, libtwo.so.2 of the machine, which has none (b/y.so and others)",
        "a 1.0 needs libold.so.3 of the machine, which has it without V_2: /lib/libold.so.3 (a/x.so)",
    )
