"""A machine to solve for, named in the manifest: platform, libc, Python, GPUs and accelerator levels."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from packaging import tags as _tags

__all__ = ["OLDEST_GLIBC", "PLATFORMS", "SUPPORTED_PYTHONS", "Target", "stated"]

SUPPORTED_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

# platform name -> (sys_platform, platform_system, os_name, platform_machine)
PLATFORMS = {
    "linux-x86_64": ("linux", "Linux", "posix", "x86_64"),
    "linux-aarch64": ("linux", "Linux", "posix", "aarch64"),
    "linux-i686": ("linux", "Linux", "posix", "i686"),
    "linux-ppc64le": ("linux", "Linux", "posix", "ppc64le"),
    "linux-s390x": ("linux", "Linux", "posix", "s390x"),
    "linux-riscv64": ("linux", "Linux", "posix", "riscv64"),
    "macos-x86_64": ("darwin", "Darwin", "posix", "x86_64"),
    "macos-arm64": ("darwin", "Darwin", "posix", "arm64"),
    "windows-x86_64": ("win32", "Windows", "nt", "AMD64"),
    "windows-arm64": ("win32", "Windows", "nt", "ARM64"),
}

# The oldest glibc that manylinux tags name, by machine (PEP 513, 571, 599, 600).
OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
_LEGACY_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_WINDOWS = {"x86_64": "win_amd64", "arm64": "win_arm64"}


@dataclass(frozen=True)
class Target:
    """One named machine; an input of the solve, never read from the machine that locks.

    python: `3.12`, `3.12.4` or free-threaded `3.13t`; without a patch number markers see `.0` (PEP 508).
    glibc, musl, macos: `major.minor` of the libc or the system; exactly the one that `platform` has.
    gpu: architectures of one vendor, every one of which the environment must serve (`sm_90`, `gfx942`).
    cuda: highest CUDA the driver supports. driver: NVIDIA driver version. rocm: user-space level wanted.
    cpu: what its processor can do, `x86-64-v3`; None: the oldest of its kind. cpu_fallback: code for the other vendor's
    GPUs alone will do, True or for these packages. gpu_code: may binaries carry device code? ptx: does PTX serve?
    host_libraries: folders whose libraries may be used, and sonames (patterns) that the machine has.
    properties: of wheel variants, `intel :: device_ip :: 20.1.0`, that it supports beside those that follow from it.
    """

    name: str
    platform: str = "linux-x86_64"
    python: str = "3.12"
    glibc: str | None = "2.28"
    musl: str | None = None
    macos: str | None = None
    gpu: tuple[str, ...] = ()
    cuda: str | None = None
    driver: str | None = None
    rocm: str | None = None
    cpu: str | None = None
    cpu_fallback: bool | tuple[str, ...] = False
    gpu_code: Literal["allow", "forbid"] = "allow"
    ptx: bool = True
    host_libraries: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()

    def falls_back(self, name: str) -> bool:
        """May a distribution run on the CPU although its code is for GPUs, only others? name: normalised."""
        return name in self.cpu_fallback if isinstance(self.cpu_fallback, tuple) else self.cpu_fallback

    @property
    def arch(self) -> str:
        """The machine part of the platform, `x86_64`."""
        return self.platform.split("-", 1)[1]

    @property
    def python_minor(self) -> tuple[int, int]:
        """`(3, 12)`."""
        major, minor = self.python.rstrip("t").split(".")[:2]
        return int(major), int(minor)

    @property
    def python_full(self) -> str:
        """`3.12.4`; `.0` where the target names no patch."""
        text = self.python.rstrip("t")
        return text if text.count(".") == 2 else f"{text}.0"

    @property
    def free_threaded(self) -> bool:
        """Is it a build without the GIL (PEP 703)?"""
        return self.python.endswith("t")

    @cached_property
    def marker_environment(self) -> tuple[tuple[str, str], ...]:
        """The PEP 508 environment as sorted pairs; release and version of the system are unknown, hence empty."""
        sys_platform, system, os_name, machine = PLATFORMS[self.platform]
        return tuple(
            sorted(
                {
                    "implementation_name": "cpython",
                    "implementation_version": self.python_full,
                    "os_name": os_name,
                    "platform_machine": machine,
                    "platform_python_implementation": "CPython",
                    "platform_release": "",
                    "platform_system": system,
                    "platform_version": "",
                    "python_full_version": self.python_full,
                    "python_version": "{}.{}".format(*self.python_minor),
                    "sys_platform": sys_platform,
                }.items()
            )
        )

    @cached_property
    def _tag_ranks(self) -> dict[str, int]:
        minor = self.python_minor
        abi = f"cp{minor[0]}{minor[1]}" + ("t" if self.free_threaded else "")
        platforms = list(self._platform_tags())
        supported = [
            *_tags.cpython_tags(minor, abis=[abi], platforms=platforms),
            *_tags.compatible_tags(minor, interpreter=f"cp{minor[0]}{minor[1]}", platforms=platforms),
        ]
        ranks: dict[str, int] = {}
        for rank, tag in enumerate(supported):
            ranks.setdefault(str(tag), rank)
        return ranks

    @cached_property
    def _known_ranks(self) -> dict[str, int | None]:
        return {}

    def tag_rank(self, tags: str) -> int | None:
        """How well a wheel's compressed tag triple (`py3-none-any`) fits: 0 is best, None never (PEP 425)."""
        known = self._known_ranks
        if tags not in known:
            ranks = self._tag_ranks
            found = [ranks[str(tag)] for tag in _expand(tags) if str(tag) in ranks]
            known[tags] = min(found, default=None)
        return known[tags]

    def _platform_tags(self) -> list[str]:
        arch = self.arch
        if self.platform.startswith("windows-"):
            return [_WINDOWS[arch]]
        if self.platform.startswith("macos-"):
            major, minor = (self.macos or "14.0").split(".")[:2]
            return list(_tags.mac_platforms((int(major), int(minor)), arch))
        if self.musl:
            major, minor = self.musl.split(".")[:2]
            return [f"musllinux_{major}_{m}_{arch}" for m in range(int(minor), -1, -1)] + [f"linux_{arch}"]
        newest = int((self.glibc or "2.28").split(".")[1])
        found = []
        for m in range(newest, OLDEST_GLIBC.get(arch, 17) - 1, -1):
            found.append(f"manylinux_2_{m}_{arch}")
            if m in _LEGACY_ALIASES:
                found.append(f"{_LEGACY_ALIASES[m]}_{arch}")
        return [*found, f"linux_{arch}"]


def stated(target: Target) -> dict[str, str | list[str] | bool]:
    """What a manifest says of a target, by its keys there, without what it leaves open."""
    fallback = target.cpu_fallback
    facts: dict[str, str | list[str] | bool | None] = {
        "platform": target.platform,
        "python": target.python,
        "glibc": target.glibc,
        "musl": target.musl,
        "macos": target.macos,
        "gpu": list(target.gpu) or None,
        "cuda": target.cuda,
        "driver": target.driver,
        "rocm": target.rocm,
        "cpu": target.cpu,
        "cpu-fallback": list(fallback) if isinstance(fallback, tuple) else fallback or None,
        "gpu-code": target.gpu_code if target.gpu_code != "allow" else None,
        "ptx": None if target.ptx else False,
        "host-libraries": list(target.host_libraries) or None,
        "properties": list(target.properties) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


@cache
def _expand(tags: str) -> tuple[_tags.Tag, ...]:
    return tuple(sorted(_tags.parse_tag(tags), key=str))
