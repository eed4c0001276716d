"""What targets support, held against the published providers of wheel variants, each in an environment of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from gpuenv.model.architecture import AMD_PROCESSORS, parse_gpu
from gpuenv.model.properties import supported_properties
from gpuenv.model.target import Target
from tests.properties.variants_oracles import SCHEMA, VENDORED, Case, Machine, against_uv

pytestmark = pytest.mark.live

PATIENCE = 300.0
UV, ROCM, X86, ARM = "uv==0.13.9", "rocm-bootstrap==0.3.0", "provider-variant-x86-64==0.0.1.post2", (
    "provider-variant-aarch64==0.0.1.post2"
)  # fmt: skip

# The provider's processors, and for each what it says of a machine that has it.
ASK_ROCM = """
import json, os
from rocm_bootstrap.targets import ALL_TARGETS
from rocm_bootstrap.variant_provider import AMDVariantPlugin
found = {}
for target in ALL_TARGETS:
    os.environ["ROCM_BOOTSTRAP_FORCE_GFX_ARCH"] = target.name
    found[target.name] = [[one.name, one.values] for one in AMDVariantPlugin.get_supported_configs()]
print(json.dumps(found))
"""

# What a provider of CPUs says of a machine of archspec's generic kind.
ASK_CPU = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1] + ".plugin")
cpu = module.archspec.cpu
cpu.host = lambda: cpu.TARGETS[sys.argv[3]]
plugin = getattr(module, sys.argv[2])()
print(json.dumps([[one.name, one.values] for one in plugin.get_supported_configs(None)]))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where the programs of an environment with one provider are."""

    def made(requirement: str) -> Path:
        venv = tmp_path_factory.mktemp("oracle") / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=PATIENCE)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement]
        subprocess.run(pip, check=True, timeout=PATIENCE, capture_output=True)
        return venv / "bin"

    return made


def ask(python: Path, *command: str) -> object:
    """What a program prints as JSON."""
    done = subprocess.run([str(python), "-c", *command], check=True, timeout=PATIENCE, capture_output=True, text=True)
    return json.loads(done.stdout)


def features(target: Target, namespace: str) -> list[list[object]]:
    """What gpuenv says, in the form of the providers."""
    found = dict(supported_properties(target)[0]).get(namespace, ())
    return [[name, list(values)] for name, values in found]


def case(name: str, *labels: tuple[str, str, str]) -> Case:
    """A release with labels of one property each, and one of none."""
    variants = {label: {"nvidia": {feature: [value]}} for label, feature, value in labels}
    document = {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": ["nvidia"]},
        "providers": {"nvidia": VENDORED["nvidia"][0]},
        "variants": {**variants, "null": {}},
    }
    return Case(name, document, plain=False)


def every_value() -> Iterator[tuple[str, str]]:
    """Every value of NVIDIA's features that could be meant, and some more."""
    versions = [f"{major}.{minor}" for major in range(10, 17) for minor in range(22)] + [*map(str, range(10, 17))]
    for version in versions:
        yield "cuda_version_lower_bound", version
        yield "cuda_version_upper_bound", version
    for major in (5, 8, 9, 10, 12):
        for minor in range(10):
            yield from (("sm_arch", f"{major}{minor}_{kind}") for kind in ("real", "virtual"))


@pytest.mark.parametrize(
    ("cuda", "capability"), [("11.0", "5.0"), ("12.4", "8.9"), ("13.1", "10.3"), ("15.20", "12.1")]
)
def test_uv_knows_the_same_values(cuda: str, capability: str, programs: Callable[[str], Path], tmp_path: Path) -> None:
    """uv supports each value that gpuenv supports and no other, and prefers them in the same order."""
    target = Target("t", gpu=(f"sm_{capability.replace('.', '')}",), cuda=cuda, cpu="x86-64-v2")
    forced = {"CUDA_DRIVER_VERSION": cuda, "SM_ARCH": capability}
    environ = {f"NV_VARIANT_PROVIDER_FORCE_{name}": value for name, value in forced.items()}
    machine = Machine(target, environ, "x86_64-manylinux_2_28")
    alone = [case(f"alone{number}", ("it", *one)) for number, one in enumerate(every_value())]
    pairs = [
        case(f"pair{number}{index}", ("z", feature, better), ("a", feature, worse))
        for number, (feature, values) in enumerate(dict(supported_properties(target)[0])["nvidia"])
        for index, (better, worse) in enumerate(pairwise(values))
    ]
    chains = [
        case(
            "features", ("a", "sm_arch", f"{capability.replace('.', '')}_real"), ("z", "cuda_version_lower_bound", "11")
        )
    ]
    cases = [*alone, *pairs, *chains]
    assert against_uv(programs(UV) / "uv", tmp_path, cases, [machine]) == (len(cases), [])


def test_amd_names_the_same(programs: Callable[[str], Path]) -> None:
    """rocm-bootstrap says the same of each processor that it knows, and knows none that LLVM does not."""
    found = ask(programs(ROCM) / "python", ASK_ROCM)
    assert isinstance(found, dict)
    assert len(found) >= 34
    assert {name.removesuffix("-strict") for name in found} <= set(AMD_PROCESSORS.values())
    assert all(parse_gpu(name) for name in found)
    assert {name: features(Target("t", gpu=(name,)), "amd") for name in found} == found


def test_levels_and_instructions(programs: Callable[[str], Path]) -> None:
    """provider-variant-x86-64 says the same of archspec's levels; of the first it says nothing at all."""
    python = programs(X86) / "python"
    for level in (2, 3, 4):
        said = ask(python, ASK_CPU, "provider_variant_x86_64", "X8664Plugin", f"x86_64_v{level}")
        assert features(Target("t", cpu=f"x86-64-v{level}"), "x86_64") == said
    assert ask(python, ASK_CPU, "provider_variant_x86_64", "X8664Plugin", "x86_64") == []


def test_arm(programs: Callable[[str], Path]) -> None:
    """provider-variant-aarch64 says the same of the oldest machine of its kind."""
    said = ask(programs(ARM) / "python", ASK_CPU, "provider_variant_aarch64", "AArch64Plugin", "aarch64")
    assert features(Target("t", platform="linux-aarch64"), "aarch64") == said
