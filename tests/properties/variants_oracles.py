"""What uv and variantlib choose of made variants, to be held against what gpuenv chooses.

A case is one release: its variants file, made by chance from a seed. uv installs made wheels, and what lies there then
says which it chose; variantlib is asked in a process of its own. Neither runs a plugin, neither needs a network.
"""

import json
import os
import random
import subprocess
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuenv.model.properties import supported_properties
from gpuenv.model.target import Target
from gpuenv.model.variant_choice import rank
from gpuenv.model.variants import Supported, parse_variants

__all__ = ["Case", "Difference", "Machine", "against_uv", "against_variantlib", "machines", "made_case", "made_free"]

SCHEMA = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
TIMEOUT = 300

# namespace -> (provider as uv 0.13 has it built in, feature -> values)
VENDORED: Mapping[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
    "nvidia": (
        {
            "requires": ["nvidia-variant-provider==0.0.1"],
            "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
        },
        {
            "sm_arch": [f"{arch}_{kind}" for arch in (70, 75, 80, 86, 90, 100, 120) for kind in ("real", "virtual")],
            "cuda_version_lower_bound": ["11", "11.8", "12", "12.0", "12.4", "12.8", "13", "13.0"],
            "cuda_version_upper_bound": ["12", "12.6", "13", "13.1", "14", "15"],
        },
    ),
    "x86_64": ({"requires": ["x86-64-variant-provider"]}, {"level": ["v1", "v2", "v3", "v4"]}),
    "aarch64": ({"requires": ["aarch64-variant-provider"]}, {"version": ["8a", "8.2a", "9a"]}),
    "quantum": ({"requires": ["quantum-provider"]}, {"qubits": ["1", "2"]}),
}
STATIC = {
    "blas_lapack": {"library": ["mkl", "openblas", "accelerate", "blis"]},
    "tuning": {"speed": ["o3", "o2"], "size": ["s", "z"], "debug": ["off", "on"]},
}

ASK_VARIANTLIB = """
import json, sys
from variantlib.api import VariantDescription, VariantProperty, get_variants_by_priority
from variantlib.resolver.lib import sort_and_filter_supported_variants

answers = []
for document, supported in json.load(sys.stdin):
    names = list(document["default-priorities"]["namespace"])
    if supported is None:
        found = get_variants_by_priority(variants_json=document)
    else:
        found = sort_and_filter_supported_variants(
            [VariantDescription.from_dict(said, label=label) for label, said in document["variants"].items()],
            [VariantProperty(ns, name, value) for ns, said in supported for name, values in said for value in values],
            names,
            filter_values=True,
        )
    answers.append([one.label for one in found if one.label in document["variants"]])
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Case:
    """One release. document: its variants file. plain: is there a wheel without a label too?"""

    name: str
    document: dict[str, Any]
    plain: bool

    def ours(self, supported: Sequence[Supported], optional: Iterable[str] = ()) -> list[str]:
        """The labels as gpuenv orders them."""
        return rank(parse_variants(json.dumps(self.document).encode()), supported, frozenset(optional))


@dataclass(frozen=True)
class Machine:
    """A machine as a target and as what uv is told of it: variables of its environment, and a platform."""

    target: Target
    environ: Mapping[str, str]
    platform: str


@dataclass(frozen=True)
class Difference:
    """A case that was answered otherwise. reason: what of the standard's text explains it, "" if nothing does."""

    case: Case
    ours: Sequence[str]
    theirs: Sequence[str]
    reason: str = ""


def machines(chance: random.Random, count: int) -> list[Machine]:
    """Machines with NVIDIA GPUs and without, of both processors, as far as uv can be told of them."""
    found = []
    for _ in range(count):
        arch = chance.choice(("x86_64", "x86_64", "x86_64", "aarch64"))
        cuda = chance.choice(("11.8", "12.0", "12.4", "12.8", "13.0", "13.1"))
        gpu = chance.choice(("7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"))
        has = chance.random() < 0.9 or Path("/proc/driver/nvidia").exists()
        found.append(
            Machine(
                Target(
                    "made",
                    platform=f"linux-{arch}",
                    gpu=(f"sm_{gpu.replace('.', '')}",) if has else (),
                    cuda=cuda if has else None,
                    cpu="x86-64-v2" if arch == "x86_64" else None,  # what uv takes where it is told of a platform
                ),
                {
                    "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": cuda if has else "",
                    "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": gpu if has else "",
                },
                f"{arch}-manylinux_2_28",
            )
        )
    return found


def made_case(chance: random.Random, name: str, vendored: Sequence[str] = tuple(VENDORED)) -> Case:
    """A release with providers, of those that installers have built in and of lists; some lists are optional."""
    vocabulary = {ns: VENDORED[ns][1] for ns in vendored if chance.random() < (0.9 if ns == "nvidia" else 0.4)}
    providers: dict[str, Any] = {ns: VENDORED[ns][0] for ns in vocabulary}
    for ns, features in STATIC.items():
        if chance.random() < 0.5 or (ns == "tuning" and not vocabulary):
            vocabulary[ns] = features
            listed = {name: _some(chance, values) for name, values in features.items()}
            order = {"feature-order": _shuffled(chance, listed)} if len(listed) > 1 else {}
            optional = {"optional": True} if chance.random() < 0.15 else {}
            providers[ns] = {"static-properties": listed, **order, **optional}
    labels = _labels(chance, vocabulary, chance.randint(2, 8))
    plain = chance.random() < 0.5
    if not plain or chance.random() < 0.3:
        labels["null"] = {}
    return Case(name, _document(_shuffled(chance, vocabulary), labels, providers), plain)


def made_free(chance: random.Random, name: str) -> tuple[Case, Supported]:
    """A release of namespaces that nobody has, and a machine that supports some of them, in orders by chance."""
    vocabulary = {
        f"ns{n}": {f"f{f}": [f"v{v}" for v in range(chance.randint(1, 5))] for f in range(chance.randint(1, 3))}
        for n in range(chance.randint(1, 4))
    }
    supported = tuple(
        (ns, tuple((feature, tuple(_some(chance, features[feature]))) for feature in _some(chance, features)))
        for ns, features in vocabulary.items()
        if chance.random() < 0.95
    )
    labels = _labels(chance, vocabulary, chance.randint(1, 12))
    if chance.random() < 0.5:
        labels["null"] = {}
    namespaces = _shuffled(chance, vocabulary)
    providers = {ns: {"requires": [f"{ns}-provider"]} for ns in namespaces}
    return Case(name, _document(namespaces, labels, providers), plain=False), supported


def against_variantlib(python: Path, cases: Sequence[tuple[Case, Supported | None]]) -> tuple[int, list[Difference]]:
    """How many whole orders are the same, and those that are not. Supported None: its API, for lists."""
    asked = json.dumps([(case.document, supported) for case, supported in cases])
    done = subprocess.run(
        [python, "-c", ASK_VARIANTLIB], input=asked, capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    differences = []
    for (case, supported), theirs in zip(cases, json.loads(done.stdout), strict=True):
        machine = [supported or ()]
        ours = case.ours(machine)
        if ours != theirs:
            optional = [ns for ns, provider in case.document["providers"].items() if provider.get("optional")]
            reason = "takes optional lists unasked" if case.ours(machine, optional) == theirs else ""
            differences.append(Difference(case, ours, theirs, reason))
    return len(cases) - len(differences), differences


def against_uv(uv: Path, folder: Path, cases: Sequence[Case], made: Sequence[Machine]) -> tuple[int, list[Difference]]:
    """How many wheels uv takes as gpuenv would, each case on each machine, and where it takes another."""
    links = folder / "links"
    links.mkdir()
    for case in cases:
        _write_release(links, case)
    same, differences = 0, []
    for number, machine in enumerate(made):
        out = folder / f"out{number}"
        _install(uv, links, out, machine, [case.name for case in cases])
        supported = supported_properties(machine.target)
        for case in cases:
            ours, theirs = [*case.ours(supported), "plain"][0], (out / f"{case.name}.txt").read_text()
            if ours == theirs:
                same += 1
            else:
                differences.append(Difference(case, [ours], [theirs]))
    return same, differences


def _document(namespaces: list[str], labels: Mapping[str, Any], providers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": namespaces},
        "providers": {ns: providers[ns] for ns in namespaces},
        "variants": dict(labels),
    }


def _labels(chance: random.Random, vocabulary: Mapping[str, Mapping[str, list[str]]], count: int) -> dict[str, Any]:
    """Labels with different properties; two often have one feature alike, so that the next one counts."""
    found: dict[str, Any] = {}
    for number in range(count):
        names = [ns for ns in vocabulary if chance.random() < 0.6] or [chance.choice(list(vocabulary))]
        said = {
            ns: {feature: sorted(_some(chance, vocabulary[ns][feature])) for feature in _some(chance, vocabulary[ns])}
            for ns in names
        }
        found[f"l{chance.randint(0, 99):02d}_{number}"] = said
    return found


def _some(chance: random.Random, of: Iterable[str]) -> list[str]:
    """At least one of them, in any order."""
    every = _shuffled(chance, of)
    return every[: chance.randint(1, len(every))]


def _shuffled(chance: random.Random, of: Iterable[str]) -> list[str]:
    every = list(of)
    return chance.sample(every, len(every))


def _write_release(links: Path, case: Case) -> None:
    """Wheels that consist of a file which says the label, and the file of the release beside them."""
    (links / f"{case.name}-1-variants.json").write_text(json.dumps(case.document))
    for label in [*case.document["variants"], *([""] if case.plain else [])]:
        info = f"{case.name}-1.dist-info"
        own = {**case.document, "variants": {label: case.document["variants"].get(label, {})}}
        with zipfile.ZipFile(links / f"{case.name}-1-py3-none-any{'-' * bool(label)}{label}.whl", "w") as wheel:
            wheel.writestr(f"{case.name}.txt", label or "plain")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {case.name}\nVersion: 1\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            if label:
                wheel.writestr(f"{info}/variant.json", json.dumps(own))
            wheel.writestr(f"{info}/RECORD", "")


def _install(uv: Path, links: Path, out: Path, machine: Machine, names: Sequence[str]) -> None:
    options = ["--no-config", "--no-cache", "--no-index", "--no-deps", "--quiet"]
    variants = ["--preview-features", "wheel-variants", "--python-platform", machine.platform]
    places = ["--find-links", str(links), "--target", str(out)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "NV_", "PIP_"))}
    subprocess.run(
        [str(uv), "pip", "install", *options, *variants, *places, *names],
        env={**environ, **machine.environ},
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
