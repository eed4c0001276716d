"""Tiny valid wheels (PEP 427), made by the test that needs them; the same arguments give the same bytes."""

import base64
import hashlib
import json
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Properties", "make_variants", "make_wheel", "metadata_text", "variants_document"]

# namespace -> feature -> values
Properties = Mapping[str, Mapping[str, Sequence[str]]]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def metadata_text(
    name: str,
    version: str,
    requires: Sequence[str] = (),
    extras: Sequence[str] = (),
    requires_python: str | None = None,
) -> str:
    """The METADATA of a distribution."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return "\n".join(lines) + "\n\nA distribution that a test made.\n"


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    extras: Sequence[str] = (),
    files: Mapping[str, bytes | str] | None = None,
    entry_points: Mapping[str, str] | None = None,
    tags: str = "py3-none-any",
    build: str | None = None,
    requires_python: str | None = None,
    metadata: str | None = None,
    executable: Sequence[str] = (),
    stored: bool = False,
    links: Mapping[str, str] | None = None,
    label: str | None = None,
    variant: Properties | None = None,
) -> Path:
    """Write a wheel into `folder` and return its path.

    files: archive path to content; by default one module that knows its version. entry_points: console scripts.
    executable: files that get the executable bit. metadata: replaces the METADATA text. stored: no compression.
    links: archive path to target, of entries that are symbolic links; RECORD does not list them. label: in the name of
    a wheel variant. variant: what its `variant.json` says that the label stands for; None: it has no such file.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members: dict[str, bytes] = {}
    for path, content in (files if files is not None else _module(name, version)).items():
        members[path] = content.encode() if isinstance(content, str) else content
    text = metadata if metadata is not None else metadata_text(name, version, requires, extras, requires_python)
    members[f"{info}/METADATA"] = text.encode()
    members[f"{info}/WHEEL"] = _wheel_text(tags, build).encode()
    if entry_points:
        scripts = "".join(f"{script} = {target}\n" for script, target in entry_points.items())
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    if variant is not None:
        members[f"{info}/variant.json"] = variants_document({label or "": variant})
    members[f"{info}/RECORD"] = _record(members, info).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / ("-".join([stem, *([build] if build else []), tags, *([label] if label else [])]) + ".whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path, _LONG_AGO)
            member.create_system = 3
            member.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if path in executable else 0o100644) << 16
            archive.writestr(member, data)
        for path, target in (links or {}).items():
            member = zipfile.ZipInfo(path, _LONG_AGO)
            member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, target)
    return wheel


def make_variants(folder: Path, name: str, version: str, labels: Mapping[str, Properties], **more: Any) -> Path:
    """Write what an index says of the variants of one version, `NAME-VERSION-variants.json`, and return its path."""
    path = folder / f"{name.replace('-', '_')}-{version}-variants.json"
    path.write_bytes(variants_document(labels, **more))
    return path


def variants_document(labels: Mapping[str, Properties], *, providers: Mapping[str, Any] | None = None) -> bytes:
    """What labels stand for (PEP 825, 850). providers: by namespace, for those that no plugin is named for."""
    used = {namespace: None for properties in labels.values() for namespace in properties}
    namespaces = sorted({*used, *(providers or {"nvidia": {}, "amd": {}})}, key=lambda name: (name != "nvidia", name))
    document = {
        "$schema": "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json",
        "default-priorities": {"namespace": namespaces},
        "providers": {name: (providers or {}).get(name, {"requires": [f"{name}-provider"]}) for name in namespaces},
        "variants": labels,
    }
    return json.dumps(document).encode()


def _module(name: str, version: str) -> dict[str, bytes | str]:
    return {f"{name.replace('-', '_').replace('.', '_')}/__init__.py": f'__version__ = "{version}"\n'}


def _wheel_text(tags: str, build: str | None) -> str:
    pythons, abis, platforms = (part.split(".") for part in tags.split("-"))
    lines = [
        "Wheel-Version: 1.0",
        "Generator: tests",
        f"Root-Is-Purelib: {'true' if platforms == ['any'] else 'false'}",
    ]
    lines += [f"Build: {build}"] if build else []
    lines += [f"Tag: {python}-{abi}-{platform}" for python in pythons for abi in abis for platform in platforms]
    return "\n".join(lines) + "\n"


def _record(members: Mapping[str, bytes], info: str) -> str:
    lines = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
