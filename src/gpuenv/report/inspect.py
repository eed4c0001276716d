"""Native facts at a glance: what an artifact provides, what it needs and from whom, which GPUs its code is for."""

import json
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpuenv.model.architecture import Fit
from gpuenv.model.coverage import containers, coverage, full_name, served
from gpuenv.model.facts import DeviceCode, NativeFacts, ObjectFacts, encode_facts, natural
from gpuenv.model.host_libraries import brought_by

if TYPE_CHECKING:
    from gpuenv.model.architecture import Gpu

__all__ = ["glance", "inspect_document", "object_lines", "printable", "size_text"]

WIDTH = 80
_LABEL = 12
_SHOWN = 8  # names in a list, before "and 9 more"
_FITS = {Fit.EXACT: "exact", Fit.COMPATIBLE: "compatible", Fit.GENERIC: "generic", Fit.JIT: "compiled by the driver"}
_OTHERS = "nobody known"
_FORMS = {"elf": "code object", "data": "kernel data", "ptx": "PTX", "lto": "LTO"}
_KINDS = {"ptx": "PTX", "lto": "LTO", "data": "data"}

Providers = Callable[[str], Sequence[str]]


def glance(name: str, facts: NativeFacts, gpus: Sequence["Gpu"] = (), providers: Providers = lambda soname: ()) -> str:
    """One artifact on a page of 80 columns. providers: who is known to carry a SONAME."""
    own = [found for found in facts.objects if found.for_host]
    lines = [f"{printable(name)}  {size_text(facts.size)}"]
    lines += _row("holds", _contents(facts, own))
    if provided := sorted({found.soname for found in own if found.soname and found.python is None}):
        lines += _row("provides", _some(provided))
    for number, need in enumerate(_needs(facts, own, providers)):
        lines += _row("" if number else "needs", need)
    lines += _table(facts.objects)
    for gpu in gpus:
        lines += _row(f"for {gpu}", _verdict(facts.objects, gpu))
    for damage in facts.damaged:
        lines += _row("damaged", f"{printable(damage.path)}: {printable(damage.problem)}")
    return "\n".join(lines)


def object_lines(facts: NativeFacts, gpus: Sequence["Gpu"] = ()) -> str:
    """One line for each binary: its path and size, and what device code it carries or how far it serves."""
    lines = []
    for found in facts.objects:
        told = [f"{gpu} {covered.served}/{covered.units}" for gpu in gpus if (covered := coverage(found, gpu)).units]
        names = told if gpus else list(dict.fromkeys(_code_name(code) for code in found.device_code))
        lines += _hang(f"  {printable(found.path)} ({size_text(found.size)})", " ".join(names))
    return "\n".join(lines)


def inspect_document(path: str, facts: NativeFacts, origin: str, gpus: Sequence["Gpu"]) -> dict[str, object]:
    """The document of one artifact in `inspect --json`: the facts, where they were known, and what serves each GPU."""
    verdicts = {}
    for gpu in gpus:
        whole = served(facts.objects, gpu)
        verdicts[str(gpu)] = {
            "served": whole.best is not None,
            "fit": whole.best.name.lower() if whole.best is not None else None,
            "by": {name: fit.name.lower() for name, fit in whole.by},
            "units": whole.served,
            "of": whole.units,
        }
    return {"path": path, "origin": origin, **json.loads(encode_facts(facts)), "gpus": verdicts}


def printable(text: str) -> str:
    """Text of a foreign file for a terminal: what is no printable character is shown as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size_text(size: int) -> str:
    """`857.1 MB`, in powers of 1000."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.95 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _contents(facts: NativeFacts, own: Sequence[ObjectFacts]) -> str:
    parts = [_count(n, f"binary for {m}", f"binaries for {m}") for m, n in Counter(f.machine for f in own).items()]
    if modules := [found.python for found in own if found.python]:
        abis = ", ".join(sorted({module.abi or "any version" for module in modules}))
        parts.append(f"{_count(len(modules), 'Python module', 'Python modules')} among them ({abis})")
    forms = Counter(_FORMS.get(found.format, found.format) for found in facts.objects if not found.for_host)
    parts += [_count(n, f"{form} file", f"{form} files") for form, n in forms.items()]
    if facts.symlinks:
        parts.append(_count(len(facts.symlinks), "symbolic link", "symbolic links"))
    if facts.duplicates:
        sizes = {found.path: found.size for found in facts.objects}
        extra = sum(sizes.get(paths[0], 0) * (len(paths) - 1) for paths in facts.duplicates)
        parts.append(f"{_count(len(facts.duplicates), 'file', 'files')} under several names ({size_text(extra)} twice)")
    if stacks := sum(found.executable_stack for found in own):
        parts.append(f"{_count(stacks, 'binary', 'binaries')} with an executable stack")
    return ", ".join(parts) or "no binaries"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _needs(facts: NativeFacts, own: Sequence[ObjectFacts], providers: Providers) -> list[str]:
    """What is needed, a line for each who brings it; what only the artifact itself brings is left out."""
    paths = (*(found.path for found in own), *(link.path for link in facts.symlinks))
    carried = {found.soname for found in own} | {path.rpartition("/")[2] for path in paths}
    groups: dict[str, set[str]] = defaultdict(set)
    for soname in {soname for found in own for soname in found.needed} - carried:
        groups[brought_by(soname) or " or ".join(providers(soname)) or _OTHERS].add(soname)
    system, driver, others = (groups.pop(name, set()) for name in ("system", "driver", _OTHERS))
    lines = [f"{printable(owner)}: {_some(sorted(sonames))}" for owner, sonames in sorted(groups.items())]
    lines += [f"{_OTHERS}: {_some(sorted(others))}"] if others else []
    lines += [f"the driver: {_some(sorted(driver))}"] if driver else []
    lines += [f"the system: {', '.join(_newest_versions(own)) or _some(sorted(system))}"] if system else []
    return lines


def _newest_versions(own: Iterable[ObjectFacts]) -> list[str]:
    """The newest of each family of symbol versions that the system must have: `GLIBC 2.28`."""
    newest: dict[str, tuple[int, ...]] = {}
    for found in own:
        for library, versions in found.versions_needed.items():
            for version in versions if brought_by(library) == "system" else ():
                if match := re.fullmatch(r"(GLIBC|GLIBCXX|CXXABI|GCC|GOMP|ZLIB)_(\d+(?:\.\d+)*)", version):
                    numbers = tuple(map(int, match[2].split(".")))
                    newest[match[1]] = max(numbers, newest.get(match[1], ()))
    return [f"{family} {'.'.join(map(str, numbers))}" for family, numbers in newest.items() if family != "GCC"]


class _Line(NamedTuple):
    """One architecture: images, the containers they lie in, and their bytes."""

    images: int = 0
    units: int = 0
    size: int = 0


def _table(objects: Sequence[ObjectFacts]) -> list[str]:
    """Architectures with how many images, in how many of the vendor's containers, of what size."""
    rows: dict[tuple[str, tuple[tuple[int, ...], str], str], _Line] = defaultdict(_Line)
    totals: Counter[str] = Counter()
    for found in objects:
        keys = [(code.vendor, natural(code.arch), _code_name(code)) for code in found.device_code]
        for key, code in zip(keys, found.device_code, strict=True):
            row = rows[key]
            rows[key] = row._replace(images=row.images + code.count, size=row.size + code.bytes)
        for codes, count in containers(found):
            totals.update(dict.fromkeys({keys[place][0] for place in codes}, count))
            for key in {keys[place] for place in codes}:
                rows[key] = rows[key]._replace(units=rows[key].units + count)
    if not rows:
        return _row("device code", "none")
    width = max(len(name) for _, _, name in rows)
    head = f"{'device code':{_LABEL + width}}  {'images':>8}  {'containers':>16}  {'size':>9}"
    lines = [head]
    for (vendor, _, name), row in sorted(rows.items()):
        units = f"{row.units} of {totals[vendor]}"
        lines.append(f"{'':{_LABEL}}{name:{width}}  {row.images:>8}  {units:>16}  {size_text(row.size):>9}")
    return lines


def _verdict(objects: Sequence[ObjectFacts], gpu: "Gpu") -> str:
    whole = served(objects, gpu)
    if whole.best is None:
        names = list(dict.fromkeys(_code_name(code) for found in objects for code in found.device_code))
        return f"not served: {f'there is code for {_some(names)} only' if names else 'there is no device code'}"
    fits = [(fit, [name for name, found in whole.by if found == fit]) for fit in _FITS]
    by = ", ".join(f"{_some(names)} ({_FITS[fit]})" for fit, names in fits if names)
    text = f"served by {by}: {whole.served} of {whole.units} containers"
    covered = [(found, coverage(found, gpu)) for found in objects]
    if none := [found for found, part in covered if part.units and not part.served]:
        text += f"; nothing for it in {_some([found.path.rpartition('/')[2] for found in none])}"
    return text


def _code_name(code: DeviceCode) -> str:
    kind = _KINDS.get(code.kind)
    return f"{full_name(code)} {kind}" if kind else full_name(code)


def _some(names: Sequence[str]) -> str:
    shown = " ".join(map(printable, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _row(label: str, text: str) -> list[str]:
    if len(label) >= _LABEL:
        return [label, *_hang("", text)]
    return _hang(f"{label:{_LABEL}}", text)


def _hang(start: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(
        f"{start}{text}" if len(start) <= _LABEL else f"{start}  {text}".rstrip(),
        WIDTH,
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return wrapped or [start.rstrip()]
