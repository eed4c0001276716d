"""Wheel variants from an index to an environment: one lock, each target's own variant, checked against its binaries."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.binaries import bundle, fatbin, library
from tests.support.programs import find_program
from tests.support.project import HERE, PATIENCE, PLATFORM, PYTHON, Project, target
from tests.support.wheels import Properties, make_variants, make_wheel

TAGS = "py3-none-manylinux2014_x86_64"
NVIDIA = {"sm_80": "80_real", "sm_90": "90_real", "sm_120": "120_real"}
AMD = ("gfx90a", "gfx942", "gfx1151")

pytestmark = pytest.mark.skipif(PLATFORM != "linux-x86_64", reason="the made binaries are for x86-64")


def code(*architectures: str) -> dict[str, bytes | str]:
    """The files of a wheel with one library that has device code."""
    numbers = [int(name.removeprefix("sm_")) for name in architectures if name.startswith("sm_")]
    sections = [(".nv_fatbin", fatbin(*(("sass", number) for number in numbers)))] if numbers else []
    names = [name for name in architectures if name.startswith("gfx")]
    sections += [(".hip_fatbin", bundle(*names))] if names else []
    return {"kernels/__init__.py": "", "kernels/libk.so": library("libk.so", sections=sections)}


def claim(architecture: str) -> Properties:
    """The properties of a variant for one architecture."""
    if architecture in NVIDIA:
        return {"nvidia": {"sm_arch": [NVIDIA[architecture]], "cuda_version_lower_bound": ["12.0"]}}
    return {"amd": {"gfx_arch": [architecture]}}


class Shelf:
    """Variants of one release on the project's index, and the file that says what they are."""

    def __init__(self, project: Project, name: str, version: str = "1.0") -> None:
        self.project, self.name, self.version = project, name, version
        self.labels: dict[str, Properties] = {}

    def offer(self, label: str, properties: Properties, *, own: Properties | None = None, **more: Any) -> None:
        """A variant. own: what the wheel says of itself, by default the same as the index."""
        self.labels[label] = properties
        more = {"tags": TAGS, **more}
        said = properties if own is None else own
        self.project.offer(self.name, self.version, label=label, variant=said, **more)

    def list(self, **more: Any) -> None:
        """Write the file that says what labels stand for."""
        path = make_variants(self.project.base, self.name, self.version, self.labels, **more)
        self.project.server.add(path)


@pytest.fixture
def kernels(project: Project) -> Shelf:
    """A release with a variant for each architecture, one for none, and a wheel that is no variant."""
    shelf = Shelf(project, "kernels")
    for name in (*NVIDIA, *AMD):
        shelf.offer(name, claim(name), files=code(name))
    shelf.list()
    project.offer("kernels", "1.0", tags=TAGS)
    return shelf


def gpus(*names: str) -> str:
    """The lines of a target with these GPUs."""
    level = 'cuda = "13.0"' if names[0] in NVIDIA else 'rocm = "7.2"'
    return f"gpu = {json.dumps(names)}\n{level}\n"


def locked(project: Project, name: str = "here") -> dict[str, Any]:
    """What the lock uses on a target, by distribution: the artifact's table, and its file name under `file`."""
    document = tomllib.loads(project.lock.read_text())
    used = [package["use"] for package in document["targets"][name]["packages"]]
    return {file.partition("-")[0]: {"file": file, **document["artifacts"][file]} for file in used}


def test_one_lock_for_seven_targets(kernels: Shelf) -> None:
    """Each target gets its variant, and its extra; every one of them can be synced, and holds that very wheel."""
    project = kernels.project
    names = [*NVIDIA, *AMD]
    for name in AMD:
        project.offer("device-code", name.removeprefix("gfx").replace("a", "10") + ".0", files={f"dev/{name}.py": ""})
    devices = {name: name.removeprefix("gfx").replace("a", "10") + ".0" for name in AMD}
    project.offer(
        "runtime",
        extras=[f"device-{name}" for name in AMD],
        requires=[f'device-code=={devices[name]}; extra == "device-{name}"' for name in AMD],
    )
    targets = "".join(target(name.replace("_", ""), *gpus(name).splitlines()) for name in names) + target("cpu")
    rule = '[tool.gpuenv.default-extras]\nruntime = { amd = ["device-{gfx}"] }\n'
    project.write(["kernels", "runtime"], targets=targets, more=rule)

    project.run("lock")
    found = {name: locked(project, name.replace("_", "")) for name in names}

    for name in names:
        stands_for = [f"{space} :: {key} :: {value}" for space, features in claim(name).items()
                      for key, values in features.items() for value in values]  # fmt: skip
        assert f"kernels-1.0-{TAGS}-{name}.whl" == found[name]["kernels"]["file"]
        assert {"label": name, "properties": sorted(stands_for)} == found[name]["kernels"]["variant"]
        assert ("device_code" in found[name]) == (name in AMD)
    assert "variant" not in locked(project, "cpu")["kernels"]
    assert f"kernels-1.0-{TAGS}.whl" == locked(project, "cpu")["kernels"]["file"]
    assert project.run("lock", "--check").rc == 0
    for name in (*names, "cpu"):
        project.run("sync", "--target", name.replace("_", ""))
        label = project.site / "kernels-1.0.dist-info" / "variant.json"
        assert label.exists() == (name != "cpu")
        if name != "cpu":
            assert [name] == list(json.loads(label.read_text())["variants"])
        assert (project.site / "dev" / f"{name}.py").exists() == (name in AMD)


def lock_error(project: Project) -> dict[str, Any]:
    error: dict[str, Any] = project.run("lock", "--json", rc=1).json["error"]
    return error


def test_gpus_that_need_different_variants(kernels: Shelf) -> None:
    """A release that serves each GPU of a target with another variant is refused, with what to do."""
    kernels.project.write(["kernels"], targets=HERE + gpus("gfx90a", "gfx942"))

    assert lock_error(kernels.project)["causes"] == [
        "train requires kernels",
        "kernels 1.0 has no variant for all GPUs of the target (gfx90a serves gfx90a, gfx942 serves gfx942): "
        "split it into one target for each",
    ]


@pytest.mark.parametrize(("files", "has"), [(code(), ""), (code("gfx90a"), " (only gfx90a)")])
def test_a_claim_that_binaries_do_not_bear_out(project: Project, files: dict[str, bytes | str], has: str) -> None:
    """A variant without code for what it names is passed over with a warning; the wheel that is no variant serves."""
    shelf = Shelf(project, "kernels")
    shelf.offer("liar", claim("gfx942"), files=files)
    shelf.list()
    project.write(["kernels"], targets=HERE + gpus("gfx942"))
    reason = f"kernels 1.0 as variant liar claims gfx942, and carries no code for it{has}"
    assert reason in lock_error(project)["causes"]

    project.offer("kernels", "1.0", files={"kernels/__init__.py": ""}, tags=TAGS)
    assert f"warning: {reason}; no variant is taken" in project.run("lock", "--refresh").err
    assert "variant" not in locked(project)["kernels"]


def test_a_claim_that_others_keep(project: Project) -> None:
    """Code that comes with another distribution, asked for by the variant's own properties, is no false claim."""
    project.offer("device-code", files={"device/k.hipfb": bundle("gfx942")}, tags=TAGS)
    shelf = Shelf(project, "kernels")
    asked = ['device-code; "amd :: gfx_arch :: gfx942" in variant_properties', 'other; variant_label == "null"']
    shelf.offer("rocm", claim("gfx942"), files=code(), requires=asked)
    shelf.list()
    project.write(["kernels"], targets=HERE + gpus("gfx942"))

    project.run("lock")

    assert {"kernels", "device_code"} == locked(project).keys()
    assert locked(project)["kernels"]["variant"]["label"] == "rocm"


def test_a_wheel_that_is_not_what_its_index_says(project: Project) -> None:
    """A wheel whose own variant.json has other properties is not synced, and the environment stays as it was."""
    shelf = Shelf(project, "kernels")
    shelf.offer("any", {"x86_64": {"level": ["v1"]}}, own={"x86_64": {"level": ["v1", "v4"]}}, tags="py3-none-any")
    shelf.list(providers={"x86_64": {"requires": ["x"]}})
    project.write(["kernels"])
    project.run("lock")

    said = project.run("sync", rc=1).err

    assert "kernels-1.0-py3-none-any-any.whl is not the variant that it was locked for" in said
    assert "cause: the wheel says any is x86_64 :: level :: v1, x86_64 :: level :: v4" in said
    assert not project.site.exists()


def test_a_lock_that_was_changed(project: Project) -> None:
    """Where the lock alone was changed, sync says so however little else there is to do, and how to mend it."""
    shelf = Shelf(project, "kernels")
    shelf.offer("v1", {"x86_64": {"level": ["v1"]}}, tags="py3-none-any")
    shelf.list(providers={"x86_64": {"requires": ["x"]}})
    project.write(["kernels"])
    project.run("sync")
    was = project.lock.read_text()
    project.lock.write_text(was.replace("level :: v1", "level :: v2"))

    for how in ("--frozen", "--locked"):
        assert "the lock says v1 is x86_64 :: level :: v2" in project.run("sync", how, rc=1).err
    project.run("lock", "--upgrade-package", "kernels")
    assert project.lock.read_text() == was


@pytest.mark.parametrize("listed", [True, False])
def test_a_release_passed_over_for_what_is_not_known(project: Project, listed: bool) -> None:
    """A release of variants of which nothing is known is told of where an older one is taken."""
    shelf = Shelf(project, "kernels", "2.0")
    shelf.offer("null", {}, tags="py3-none-any")
    if listed:
        path = project.base / "kernels-2.0-variants.json"
        path.write_bytes(b"[]")
        project.server.add(path)
    project.offer("kernels", "1.0")
    project.write(["kernels"])

    why = "has variants of which nothing is known" if listed else "has variants, and its index does not say which"
    assert f"note: kernels 1.0 for here, not 2.0: it {why}" in project.run("lock").err


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "cannot be used: the file"),
        (None, "kernels-1.0-variants.json is not there"),
        (b"[" + b" " * (11 << 20), "kernels-1.0-variants.json answered with more than 1 MiB"),
    ],
    ids=["nonsense", "missing", "endless"],
)
def test_a_variants_file_that_cannot_be_used(project: Project, body: bytes | None, reason: str) -> None:
    """It costs the release its variants, with a warning; the wheel that is no variant serves."""
    shelf = Shelf(project, "kernels")
    shelf.offer("null", {}, tags="py3-none-any")
    path = project.base / "kernels-1.0-variants.json"
    path.write_bytes(body or b"gone")
    project.server.add(path)
    if body is None:
        project.server.overrides[f"/files/{path.name}"] = (404, {}, b"")
    project.offer("kernels", "1.0")
    project.write(["kernels"])

    said = project.run("lock").err

    assert "warning: kernels 1.0: its variants are not looked at: " in said
    assert reason in said
    assert locked(project)["kernels"]["file"] == "kernels-1.0-py3-none-any.whl"


def test_built_against_a_version(project: Project) -> None:
    """A variant's ABI dependency is a requirement: where the best one's cannot be, the next is taken, then none."""
    for version in ("2.7", "2.8.1", "2.9"):
        project.offer("frame", version)
    shelf = Shelf(project, "kernels")
    for minor in ("2.8", "2.9"):
        shelf.offer(f"f{minor}", {"abi_dependency": {"frame": [minor]}}, tags="py3-none-any")
    shelf.list(providers={"abi_dependency": {"builtin": "abi_dependency"}})
    project.offer("kernels", "1.0")

    taken = {}
    for wanted in ("", "<2.9", "<2.8"):
        project.lock.unlink(missing_ok=True)
        project.write(["kernels", f"frame{wanted}"])
        project.run("lock")
        found = locked(project)
        taken[wanted] = found["kernels"]["file"], found["frame"]["file"].split("-")[1]

    assert taken == {
        "": ("kernels-1.0-py3-none-any-f2.9.whl", "2.9"),
        "<2.9": ("kernels-1.0-py3-none-any-f2.8.whl", "2.8.1"),
        "<2.8": ("kernels-1.0-py3-none-any.whl", "2.7"),
    }


def test_any_of_several_versions(project: Project) -> None:
    """Several values of one ABI dependency mean that any of them will do, the newest first."""
    for version in ("2.8.1", "2.9", "3.0"):
        project.offer("frame", version)
    shelf = Shelf(project, "kernels")
    shelf.offer("some", {"abi_dependency": {"frame": ["2.8", "2.9"]}}, tags="py3-none-any")
    shelf.list(providers={"abi_dependency": {"builtin": "abi_dependency"}})
    project.write(["kernels"])

    project.run("lock")

    assert locked(project)["frame"]["file"] == "frame-2.9-py3-none-any.whl"


def test_optional_providers(project: Project) -> None:
    """Variants of an optional provider are taken where the project names its namespace, and the lock knows that."""
    shelf = Shelf(project, "kernels")
    shelf.offer("mkl", {"blas": {"library": ["mkl"]}}, tags="py3-none-any")
    static = {"optional": True, "static-properties": {"library": ["mkl"]}}
    shelf.list(providers={"blas": static})
    project.offer("kernels", "1.0")
    project.write(["kernels"])
    project.run("lock")
    assert "variant" not in locked(project)["kernels"]

    project.write(["kernels"], more='[tool.gpuenv.variants]\noptional = ["blas"]\n')
    assert "optional-variants" in project.run("lock", "--check", rc=1).err
    project.run("lock", "--upgrade")
    assert locked(project)["kernels"]["variant"]["label"] == "mkl"


def test_variants_behind_urls_and_in_folders(project: Project) -> None:
    """A URL or path names one variant, which says itself what it is; a folder of wheels may have a variants file."""
    url = project.offer("kernels", label="gfx942", variant=claim("gfx942"), files=code("gfx942"), tags=TAGS)
    targets = HERE + gpus("gfx942")
    project.write([f"kernels @ {url}"], targets=targets)
    project.run("lock")
    assert locked(project)["kernels"]["variant"]["label"] == "gfx942"
    project.run("sync", "--target", "here")

    project.lock.unlink()
    project.write([f"kernels @ {url}"], targets=HERE + gpus("gfx90a"))
    assert (
        "kernels 1.0 has no variant for the target (gfx942: it needs `amd :: gfx_arch :: gfx942`, and the target "
        "supports gfx90a)"
    ) in lock_error(project)["causes"]

    folder = project.root / "shelf"
    make_wheel(folder, "kernels", label="gfx942", variant=claim("gfx942"), files=code("gfx942"), tags=TAGS)
    make_variants(folder, "kernels", "1.0", {"gfx942": claim("gfx942")})
    index = '[[tool.gpuenv.index]]\nname = "shelf"\npath = "shelf"\n'
    project.write(["kernels"], targets=targets, more=index)
    project.run("lock", "--upgrade")
    assert (
        locked(project)["kernels"]["index"],
        locked(project)["kernels"]["variant"]["label"],
    ) == ("shelf", "gfx942")


def test_no_variants_file(project: Project) -> None:
    """Labels that no file of the index explains serve nobody; whoever gets another wheel for that is told."""
    project.offer("kernels", label="null", variant={})
    project.write(["kernels"])

    assert (
        "kernels 1.0 has variants, and its index does not say which: it has no kernels-1.0-variants.json"
    ) in lock_error(project)["causes"]

    project.offer("kernels")
    reason = "kernels 1.0: its variants are not looked at: its index has no kernels-1.0-variants.json"
    assert f"warning: {reason}" in project.run("lock", "--refresh").err


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_other_installers_take_the_plain_wheel(kernels: Shelf, tmp_path: Path, installer: str) -> None:
    """pip and uv know nothing of labels, and take the wheel that has none from the same index."""
    program = find_program(installer)
    if program is None:
        pytest.skip(f"needs {installer}")
    options = ["--no-cache-dir" if installer == "pip" else "--no-cache", "--index-url", kernels.project.server.url]
    start = [program] if installer == "pip" else [program, "pip"]
    command = [*start, "install", *options, "--no-deps", "--target", str(tmp_path / "into"), "kernels"]
    done = subprocess.run(
        [*command, *(["--python-version", PYTHON] if installer == "uv" else [])],
        capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False, cwd=tmp_path,
        env={"PATH": str(Path(program).parent), "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "into" / "kernels-1.0.dist-info").is_dir()
    assert not (tmp_path / "into" / "kernels-1.0.dist-info" / "variant.json").exists()
    shutil.rmtree(tmp_path / "into")


def test_bundles_of_variants(project: Project) -> None:
    """A variant packed as a bundle keeps its label, is taken before its wheel, and says itself what it is."""
    folder = project.root / "shelf"
    wheel = make_wheel(folder, "kernels", label="gfx942", variant=claim("gfx942"), files=code("gfx942"), tags=TAGS)
    project.run("repack", wheel, "-o", folder)
    make_variants(folder, "kernels", "1.0", {"gfx942": claim("gfx942")})
    project.write(
        ["kernels"], targets=HERE + gpus("gfx942"), more='[[tool.gpuenv.index]]\nname = "s"\npath = "shelf"\n'
    )

    project.run("lock")
    found = locked(project)["kernels"]
    assert (f"kernels-1.0-{TAGS}-gfx942.whl.tar.zst", "gfx942") == (found["file"], found["variant"]["label"])
    project.run("sync", "--target", "here")
    assert (project.site / "kernels-1.0.dist-info" / "variant.json").exists()


def test_a_version_that_no_variant_was_built_against(project: Project) -> None:
    """Where every variant needs another version than the project has, the conflict names the variant."""
    project.offer("frame", "2.7")
    shelf = Shelf(project, "kernels")
    shelf.offer("f29", {"abi_dependency": {"frame": ["2.9"]}}, tags="py3-none-any")
    shelf.list(providers={"abi_dependency": {"builtin": "abi_dependency"}})
    project.write(["kernels"])

    assert lock_error(project)["causes"] == [
        "train requires kernels",
        "kernels 1.0 requires frame==2.9.* (variant f29)",
        "no version of frame satisfies this (the newest is 2.7)",
    ]


def test_another_variant_of_the_same_version(kernels: Shelf) -> None:
    """A change of the variant alone is told as one; `why` says what the variant is."""
    project = kernels.project
    project.write(["kernels"], targets=HERE + gpus("gfx942"))
    project.run("lock")
    why = project.run("why", "kernels", "--json").json["targets"]["here"]
    assert why["variant"] == {"label": "gfx942", "properties": ["amd :: gfx_arch :: gfx942"]}

    project.write(["kernels"], targets=HERE + gpus("gfx90a"))
    assert "kernels==1.0 (gfx942) -> 1.0 (gfx90a)" in project.run("lock").err
