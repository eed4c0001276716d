"""What decode understands, and the law that it never fails with anything but ManifestError."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.errors import ManifestError
from gpuenv.manifest.decode import decode
from gpuenv.manifest.instants import instant_of
from gpuenv.model.manifest import Index, Source
from gpuenv.model.requirement import Requirement
from gpuenv.model.rules import RUNTIMES, AllowedMissing, NativeRules, PackageRules, Scan
from gpuenv.model.target import Target

HEAD = '[project]\nname = "Train_it"\n'
FULL = """\
[build-system]
requires = ["hatchling"]

[project]
name = "Train.it"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["torch>=2.8", "numpy"]

[project.optional-dependencies]
Web_UI = ["FastAPI[Standard]"]
all = ["train-it[web-ui]", "rich"]

[dependency-groups]
test = ["pytest"]
dev = ["ruff", { include-group = "Test" }]

[tool.other]
anything = "goes"

[tool.gpuenv]
exclude-newer = "2 weeks"
native = ["libopenblas.so.0", "libcudart.so.13", "libopenblas.so.0"]
scan = "all"
strict-host = true
one-runtime = ["openmp", "cuda"]
python = "3.13"
constraints = ["numpy<3"]
overrides = ["pillow==12.0"]

[tool.gpuenv.providers]
"libfoo.so.3" = "Foo.libs>=3"
"libbar-1a2b3c4d.so" = ["bar", "foo-libs>=3,<4", "bar"]
[tool.gpuenv.packages.Torch]
gpu-code = "trust"
ptx = false
[tool.gpuenv.packages.pyside6]
missing = { "plugins/*.so" = ["libEGL.so.1", "libX*.so.*"], "*" = ["libGL.so.1"] }
live = ["PySide6/*.abi3.so"]
dormant = ["PySide6/Qt/plugins/*"]
[tool.gpuenv.packages.pyodbc]
missing = ["libodbc.so.2"]
bind = "runpath"

[tool.gpuenv.targets.mi300]
python = "3.12"
gpu = ["gfx942", "gfx90a", "gfx942"]
rocm = "7.2"
dependencies = ["rocm-sdk-devel"]
[tool.gpuenv.targets.h100]
platform = "linux-aarch64"
glibc = "2.35"
gpu = ["sm_90a"]
driver = "580.65"
cpu-fallback = true
ptx = false
[tool.gpuenv.targets.mac]
platform = "macos-arm64"
[tool.gpuenv.targets.alpine]
musl = "1.2"
gpu-code = "forbid"
[tool.gpuenv.targets.cluster]
gpu = ["gfx90a:xnack+:sramecc-", "gfx90a"]
host-libraries = ["/opt/rocm/lib/", "librccl.so.*", "/opt/rocm/lib"]
cpu = "x86-64-v3"
cpu-fallback = ["Xgboost", "bitsandbytes", "xgboost"]

[[tool.gpuenv.index]]
name = "amd"
url = "https://index.example/rocm/simple/"
packages = ["torch*", "Triton_ROCm"]
targets = ["mi300"]
[[tool.gpuenv.index]]
name = "local"
path = "wheels"
explicit = true

[tool.gpuenv.sources]
torch = [{ index = "amd", target = "mi300" }, { index = "default" }]
Flash_Attn = { url = "https://index.example/flash_attn-2.8-cp312-cp312-linux_x86_64.whl" }
mine = { path = "wheels/mine-1.0-py3-none-any.whl" }
"""


def test_project_tables() -> None:
    """Names are normalised, own extras and includes expanded, and the order written is kept."""
    found = decode(FULL)
    assert (found.name, found.requires_python, found.builds, found.configured) == ("train-it", ">=3.11", True, True)
    assert [str(item) for item in found.dependencies] == ["torch>=2.8", "numpy"]
    assert {name: [str(item) for item in items] for name, items in found.extras.items()} == {
        "web-ui": ["fastapi[standard]"],
        "all": ["fastapi[standard]", "rich"],
    }
    assert {name: [str(item) for item in items] for name, items in found.groups.items()} == {
        "test": ["pytest"],
        "dev": ["ruff", "pytest"],
    }
    assert found.default_groups == ("dev",)


def test_targets() -> None:
    """Targets take `tool.gpuenv.python`, the libc of their platform, and GPUs sorted and once."""
    assert dict(decode(FULL).targets) == {
        "mi300": Target("mi300", python="3.12", gpu=("gfx90a", "gfx942"), rocm="7.2"),
        "h100": Target(
            "h100", "linux-aarch64", "3.13", "2.35", gpu=("sm_90a",), driver="580.65", cpu_fallback=True, ptx=False
        ),
        "mac": Target("mac", "macos-arm64", "3.13", glibc=None, macos="14.0"),
        "alpine": Target("alpine", python="3.13", glibc=None, musl="1.2", gpu_code="forbid"),
        "cluster": Target(
            "cluster",
            python="3.13",
            gpu=("gfx90a", "gfx90a:sramecc-:xnack+"),
            cpu="x86-64-v3",
            cpu_fallback=("bitsandbytes", "xgboost"),
            host_libraries=("/opt/rocm/lib", "librccl.so.*"),
        ),
    }


def test_settings() -> None:
    """Indexes, sources, constraints, overrides and what only one target requires come through."""
    found = decode(FULL)
    assert found.indexes == (
        Index("amd", "https://index.example/rocm/simple/", packages=("torch*", "triton-rocm"), targets=("mi300",)),
        Index("local", "wheels", folder=True, explicit=True),
    )
    assert found.sources == (
        Source("torch", index="amd", target="mi300"),
        Source("torch", index="default"),
        Source("flash-attn", url="https://index.example/flash_attn-2.8-cp312-cp312-linux_x86_64.whl"),
        Source("mine", url="wheels/mine-1.0-py3-none-any.whl"),
    )
    assert [str(item) for item in (*found.constraints, *found.overrides)] == ["numpy<3", "pillow==12.0"]
    assert {name: [str(item) for item in items] for name, items in found.target_dependencies.items()} == {
        "mi300": ["rocm-sdk-devel"]
    }
    assert found.exclude_newer == "14 days"


def test_rules() -> None:
    """What is said of native code comes through: names normalised, sonames once, patterns with what they are for."""
    foo, bar = Requirement("foo-libs", (), ">=3", None, None), Requirement("bar", (), "", None, None)
    assert decode(FULL).rules == NativeRules(
        native=("libopenblas.so.0", "libcudart.so.13"),
        scan=Scan.ALL,
        strict_host=True,
        one_runtime=frozenset({"cuda", "openmp"}),
        providers={
            "libfoo.so.3": (foo,),
            "libbar-1a2b3c4d.so": (bar, replace(foo, specifier="<4,>=3")),
        },
        packages={
            "torch": PackageRules(gpu_code="trust", ptx=False),
            "pyside6": PackageRules(
                missing=(
                    AllowedMissing("libEGL.so.1", "plugins/*.so"),
                    AllowedMissing("libX*.so.*", "plugins/*.so"),
                    AllowedMissing("libGL.so.1"),
                ),
                live=("PySide6/*.abi3.so",),
                dormant=("PySide6/Qt/plugins/*",),
            ),
            "pyodbc": PackageRules(missing=(AllowedMissing("libodbc.so.2"),), bind="runpath"),
        },
    )


@pytest.mark.parametrize(
    "written",
    [
        "",
        'scan = "gpu"\nnative = []\nstrict-host = false\none-runtime = false\nproviders = {}\npackages = {}\n',
        "[tool.gpuenv.targets.default]\nplatform = 'macos-arm64'\ncpu = 'arm64'\ncpu-fallback = false\n"
        "gpu-code = 'allow'\nptx = true\nhost-libraries = []\n",
        "[tool.gpuenv.targets.default]\ngpu = ['gfx942']\ncpu-fallback = []\n",
    ],
)
def test_defaults_may_be_written(written: str) -> None:
    """A key that says what holds without it changes nothing, wherever it stands."""
    found = decode(f"{HEAD}[tool.gpuenv]\n{written}")
    target = found.targets["default"]
    assert found.rules == NativeRules()
    assert (target.cpu_fallback, target.gpu_code, target.ptx, target.host_libraries) == (False, "allow", True, ())


def test_one_runtime_of_every_class() -> None:
    """`one-runtime = true` names all classes."""
    assert decode(f"{HEAD}[tool.gpuenv]\none-runtime = true\n").rules.one_runtime == frozenset(RUNTIMES)


@pytest.mark.parametrize(
    ("requires_python", "python"),
    [("", "3.12"), (">=3.11", "3.11"), (">=3.11.4", "3.12"), (">3.9,<3.14", "3.10"), ("~=3.13", "3.13"), ("<4", "3.9")],
)
def test_project_without_targets_has_one(requires_python: str, python: str) -> None:
    """The documented default target takes the lowest Python that requires-python admits, or 3.12."""
    found = decode(HEAD + (f'requires-python = "{requires_python}"\n' if requires_python else ""))
    assert dict(found.targets) == {"default": Target("default", "linux-x86_64", python, "2.28")}
    assert (found.configured, found.default_groups, found.indexes, found.builds) == (False, (), (), False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"2026-11-01T00:00:00Z"', "2026-11-01T00:00:00Z"),
        ('"2026-11-01T02:00:00.5+02:00"', "2026-11-01T00:00:00.500000Z"),
        ("2026-11-01T00:00:00-01:00", "2026-11-01T01:00:00Z"),
        ('"2026-10-31"', "2026-11-01T00:00:00Z"),
        ("2026-10-31", "2026-11-01T00:00:00Z"),
        ('"7 days"', "7 days"),
        ('"1 week"', "7 days"),
        ('"24 hours"', "1 day"),
        ('"1 hour"', "1 hour"),
        ('"P7D"', "7 days"),
        ('"P1WT12H"', "180 hours"),
    ],
)
def test_exclude_newer_has_one_text(written: str, meant: str) -> None:
    """Instants are UTC, a day means its end, spans are days where they are whole days."""
    assert decode(f"{HEAD}[tool.gpuenv]\nexclude-newer = {written}\n").exclude_newer == meant


def test_span_becomes_an_instant() -> None:
    """A span is counted back from now, wherever now is told; an instant stays."""
    now = datetime(2026, 11, 8, 2, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert instant_of("7 days", now) == "2026-11-01T00:00:00Z"
    assert instant_of("36 hours", now) == "2026-11-06T12:00:00Z"
    assert instant_of("2026-11-01T00:00:00Z", datetime.now(UTC)) == "2026-11-01T00:00:00Z"


@pytest.mark.parametrize(
    ("dependencies", "extras", "found"),
    [
        ("['train-it']", "a = ['x']", []),
        ("['train-it[a,b]', 'x']", "a = ['x']\nb = ['y']", ["x", "y"]),
        ("[\"train-it[a]; python_version < '3.12'\"]", "a = ['x', \"y; os_name == 'nt'\"]", [
            'x; python_version < "3.12"', 'y; (os_name == "nt") and (python_version < "3.12")',
        ]),
        ("['train-it[a]']", "a = ['x', 'train-it[b]']\nb = ['y', 'train-it[a]']", ["x", "y"]),
        (
            "['train-it[a]']",
            "a = [\"train-it[b]; os_name == 'nt'\"]\nb = ['y', \"train-it[a]; python_version < '3.12'\"]",
            ['y; os_name == "nt"'],
        ),
    ],
)  # fmt: skip
def test_own_extras_are_expanded(dependencies: str, extras: str, found: list[str]) -> None:
    """A requirement on the project itself stands for its extras, under its marker, and cycles end."""
    text = f"{HEAD}dependencies = {dependencies}\n[project.optional-dependencies]\n{extras}\n"
    assert [str(item) for item in decode(text).dependencies] == found


def test_group_may_ask_for_the_project() -> None:
    """In a group, the project's name brings its dependencies too, for groups may be installed alone."""
    text = (
        f"{HEAD}dependencies = ['x']\noptional-dependencies.a = ['y']\n[dependency-groups]\ng = ['Train-It[a]', 'z']\n"
    )
    assert [str(item) for item in decode(text).groups["g"]] == ["x", "y", "z"]


def test_default_extras() -> None:
    """Names and selectors come in their normal form, extras too, templates and orders stay as they are written."""
    table = 'Torch = { "gfx90a:xnack+:sramecc-" = ["Device_All", "device-{gfx}", "device.all"], any = [] }\nnone = {}\n'
    found = decode(f"{HEAD}[tool.gpuenv.default-extras]\n{table}").default_extras
    assert found == {"torch": {"gfx90a:sramecc-:xnack+": ("device-all", "device-{gfx}"), "any": ()}, "none": {}}


def test_alternatives() -> None:
    """A name may stand for itself; two names may stand for each other, each on targets of its own."""
    table = 'ONNX = { nvidia = "onnx.gpu>=1", amd = "onnx" }\nonnx-gpu = { linux = "onnx" }\n'
    targets = '[tool.gpuenv.targets.cpu]\n[tool.gpuenv.targets.mi300]\ngpu = ["gfx942"]\n'
    found = decode(f"{HEAD}{targets}[tool.gpuenv.alternatives]\n{table}").alternatives
    shown = {name: {selector: str(other) for selector, other in rows.items()} for name, rows in found.items()}
    assert shown == {"onnx": {"nvidia": "onnx-gpu>=1", "amd": "onnx"}, "onnx-gpu": {"linux": "onnx"}}


def test_other_project_keys_are_not_ours() -> None:
    """Keys of [project] that other tools read are let through, as are those of standards to come."""
    assert decode(HEAD + 'description = "d"\nimport-names = []\ndefault-optional-dependency-keys = ["a"]\n')


def test_reading_costs_no_editor() -> None:
    """Decoding imports neither an editor nor a reader of binary facts nor anything that talks to a network."""
    dear = ("tomlkit", "aiohttp", "rich", "msgspec")
    code = f"import sys, gpuenv.manifest.decode; print([m for m in {dear} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


PIECES = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "1",
        "-",
        "true",
        "2026-11-01",
        "[[",
        "\\",
        "\t",
        "\r",
        "é",
    ]
)
WORDS = st.sampled_from(sorted({word for word in FULL.split() if len(word) > 1}))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_decode_fails_only_as_manifest_error(data: st.DataObject) -> None:
    """Whatever is done to a manifest's text, decode returns a manifest or raises ManifestError with a message."""
    text = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 30)))
        text = text[:start] + data.draw(PIECES | WORDS | st.text(max_size=5)) + text[end:]
    try:
        decode(text)
    except ManifestError as error:
        assert error.message


VALUES = st.recursive(
    st.sampled_from(["1", "-1.5", "true", '"x"', '"a b"', "2026-11-01", "10:00:00", '"train-it[all]"', "''", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | inner.map(lambda value: f"{{ include-group = {value} }}")
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, FULL.count(" = ") - 1), VALUES)
def test_wrong_values_fail_only_as_manifest_error(position: int, value: str) -> None:
    """Any value in any place is understood or refused with the key path's line."""
    lines = FULL.split("\n")
    number = [index for index, line in enumerate(lines) if " = " in line][
        position % sum(" = " in line for line in lines)
    ]
    lines[number] = f"{lines[number].partition(' = ')[0]} = {value}"
    try:
        decode("\n".join(lines))
    except ManifestError as error:
        assert error.causes
