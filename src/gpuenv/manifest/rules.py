"""What `[tool.gpuenv]` says of native code: sonames, their providers, and exceptions for single packages."""

from collections.abc import Mapping
from dataclasses import replace

from gpuenv.manifest.node import Node
from gpuenv.manifest.sonames import decode_soname, decode_soname_pattern, decode_wheel_pattern, is_soname, several
from gpuenv.model.requirement import Requirement
from gpuenv.model.rules import RUNTIMES, AllowedMissing, NativeRules, PackageRules, Scan

__all__ = ["PACKAGE_KEYS", "RULE_KEYS", "decode_rules"]

RULE_KEYS = ("native", "scan", "strict-host", "one-runtime", "providers", "packages")
PACKAGE_KEYS = ("missing", "live", "dormant", "gpu-code", "ptx", "link-mode", "unfold", "bind")
_LINK_MODES = ("symlink", "hardlink", "copy")


def decode_rules(fields: Mapping[str, Node]) -> NativeRules:
    """The rules. fields: the entries of `[tool.gpuenv]`, others than RULE_KEYS among them."""
    packages = fields["packages"].named("package name") if "packages" in fields else ()
    return NativeRules(
        native=several(fields["native"], decode_soname) if "native" in fields else (),
        scan=Scan(fields["scan"].one_of(Scan, "value")) if "scan" in fields else Scan.GPU,
        strict_host="strict-host" in fields and fields["strict-host"].flag(),
        one_runtime=_one_runtime(fields["one-runtime"]) if "one-runtime" in fields else frozenset(),
        providers=_providers(fields["providers"]) if "providers" in fields else {},
        packages={name: _package(node) for name, node in packages},
    )


def _one_runtime(node: Node) -> frozenset[str]:
    """Classes of runtimes; `true` means all of them."""
    if isinstance(node.value, bool):
        return frozenset(RUNTIMES if node.value else ())
    return frozenset(item.one_of(RUNTIMES, "class of runtimes") for item in node.items())


def _providers(node: Node) -> dict[str, tuple[Requirement, ...]]:
    found = {}
    for written, entry in node.entries().items():
        if isinstance(entry.value, dict):
            raise entry.wrong("a requirement or an array of them", hints=_quoted(written, entry.value))
        soname = decode_soname(entry, written)
        items = entry.items() if isinstance(entry.value, list) else [entry]
        if not items:
            hints = ["remove it; what a machine has stands in `host-libraries` of its target"]
            raise entry.error("is empty", hints=hints)
        found[soname] = tuple(dict.fromkeys(_provider(item) for item in items))
    return found


def _quoted(written: str, value: object) -> tuple[str, ...]:
    """What was meant where dots in a bare key made tables of a soname."""
    while isinstance(value, dict) and value:
        first, value = next(iter(value.items()))
        written += f".{first}"
    return (f'quote the soname: `"{written}" = …`',) if is_soname(written) else ()


def _provider(node: Node) -> Requirement:
    """A name and versions: what is true of a soname whoever needs it, and on whatever target."""
    requirement = node.requirement()
    plain = f"`{replace(requirement, extras=(), marker=None, url=None)}`"
    if requirement.marker:
        raise node.error(
            "a provider has no marker: it is tried wherever the soname is needed", hints=[f"write {plain}"]
        )
    if requirement.extras:
        raise node.error("a provider has no extras: it carries the library itself", hints=[f"write {plain}"])
    if requirement.url:
        hints = [f"write {plain}, and where it comes from into [tool.gpuenv.sources]"]
        raise node.error("a provider is no URL", hints=hints)
    return requirement


def _package(node: Node) -> PackageRules:
    fields = node.fields(*PACKAGE_KEYS)
    live = several(fields["live"], decode_wheel_pattern) if "live" in fields else ()
    for item in fields["dormant"].items() if "dormant" in fields else ():
        if item.text() in live:
            raise item.error(f"`{item.text()}` is in `live` too", hints=["a binary is loaded, or it never is"])
    led = "bind" in fields and fields["bind"].one_of(("preload", "runpath"), "value") == "runpath"
    checked = "gpu-code" not in fields or fields["gpu-code"].one_of(("check", "trust"), "value") == "check"
    return PackageRules(
        missing=_missing(fields["missing"]) if "missing" in fields else (),
        live=live,
        dormant=several(fields["dormant"], decode_wheel_pattern) if "dormant" in fields else (),
        gpu_code="check" if checked else "trust",
        ptx="ptx" not in fields or fields["ptx"].flag(),
        link_mode=fields["link-mode"].one_of(_LINK_MODES, "link mode") if "link-mode" in fields else None,
        unfold="unfold" in fields and fields["unfold"].flag(),
        bind="runpath" if led else "preload",
    )


def _missing(node: Node) -> tuple[AllowedMissing, ...]:
    """Sonames for the whole package, or in a table for those binaries whose path a key matches."""
    if not isinstance(node.value, dict):
        return tuple(map(AllowedMissing, several(node, decode_soname_pattern)))
    found = {
        AllowedMissing(soname, decode_wheel_pattern(entry, objects)): None
        for objects, entry in node.entries().items()
        for soname in several(entry, decode_soname_pattern)
    }
    return tuple(found)
