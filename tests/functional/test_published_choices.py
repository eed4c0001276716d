"""From a publisher's tree and wheels to what each target locks: default extras of packed parts, variants."""

import tomllib

from tests.support.binaries import bundle as offload
from tests.support.binaries import library
from tests.support.project import Project, target
from tests.support.trees import make_tree

LIB = "usr/lib/x86_64-linux-gnu"
OURS = '[[tool.gpuenv.index]]\nname = "ours"\npath = "dist"\n'


def taken(project: Project) -> dict[str, list[str]]:
    """The artifacts of each target of the lock."""
    targets = tomllib.loads(project.lock.read_text())["targets"]
    return {name: [package["use"] for package in one["packages"]] for name, one in targets.items()}


def packed(project: Project, arches: tuple[str, ...]) -> None:
    kernels = {f"{LIB}/foo/K_{arch}.co": offload(arch) for arch in arches}
    tree = make_tree(project.base / "tree", {f"{LIB}/libfoo.so.1": library("libfoo.so.1", ["libc.so.6"]), **kernels})
    project.run("pack", tree, "--name", "foo-libs", "--version", "1.4", "--split", "-o", project.root / "dist")
    project.run("index", project.root / "dist")


def test_each_target_gets_the_kernels_of_its_gpu(project: Project) -> None:
    """A bare requirement on a divided tree takes one part of it on AMD targets, several for several GPUs, else none."""
    packed(project, ("gfx90a", "gfx942"))
    targets = [target("mi300", 'gpu = ["gfx942"]'), target("both", 'gpu = ["gfx90a", "gfx942"]'), target("cpu")]
    project.write(["foo-libs"], targets="".join(targets), more=OURS)
    project.run("lock")
    found = {name: [one.partition("-1.4")[0] for one in used] for name, used in taken(project).items()}
    assert found == {
        "mi300": ["foo_libs", "foo_libs_device_gfx942"],
        "both": ["foo_libs", "foo_libs_device_gfx90a", "foo_libs_device_gfx942"],
        "cpu": ["foo_libs"],
    }


def test_a_gpu_without_kernels_is_told(project: Project) -> None:
    """The target is refused, with the extras that there are; without default extras the same tree is taken."""
    packed(project, ("gfx90a", "gfx942"))
    project.write(["foo-libs"], targets=target("rdna3", 'gpu = ["gfx1100"]'), more=OURS)
    error = project.run("lock", rc=1).err
    assert "device-gfx1100" in error
    assert "device-gfx942" in error
    project.write(["foo-libs[]"], targets=target("rdna3", 'gpu = ["gfx1100"]'), more=OURS)
    project.run("lock")


def test_named_parts_bring_no_others(project: Project) -> None:
    """Whoever names an extra of a divided tree, or a part of it, gets that, on GPUs that it has no kernels for, too."""
    packed(project, ("gfx90a", "gfx942"))
    for named, kernels in {
        "foo-libs[device-gfx942]": ["gfx942"],
        "foo-libs[device-all]": ["gfx90a", "gfx942"],
        "foo-libs-device-gfx90a": ["gfx90a"],
    }.items():
        project.write([named], targets=target("rdna3", 'gpu = ["gfx1100"]'), more=OURS)
        project.run("lock")
        used = [one.partition("-1.4")[0] for one in taken(project)["rdna3"]]
        assert used == ["foo_libs", *(f"foo_libs_device_{arch}" for arch in kernels)]


def test_gpus_that_no_part_serves_are_told_of(project: Project) -> None:
    """Parts for other GPUs, and a tree without parts, are a warning, with what would help; what serves is none."""
    packed(project, ("gfx90a", "gfx942"))
    none = "foo-libs 1.4: none of its parts has code for"
    every = "foo-libs-device-gfx90a: gfx90a; foo-libs-device-gfx942: gfx942"
    without = "foo-libs 1.4 was taken without device code for"
    for root, gpu, expected in (
        ("foo-libs[device-gfx90a]", "gfx906", f"{none} gfx906 (foo-libs-device-gfx90a: gfx90a)"),
        ("foo-libs[device-all]", "gfx1151", f"{none} gfx1151 ({every})"),
        ("foo-libs[]", "gfx942", f'{without} gfx942: name "foo-libs[device-gfx942]"'),
        ("foo-libs", "gfx942", None),
        ("foo-libs[device-all]", "gfx942", None),
        ("foo-libs[device-gfx942]", "gfx942", None),
    ):
        project.write([root], targets=target("amd", f'gpu = ["{gpu}"]'), more=OURS)
        project.lock.unlink(missing_ok=True)
        told = [line for line in project.run("lock").err.splitlines() if line.startswith("warning: ")]
        assert told == ([f"warning: {expected}"] if expected else [])


def test_each_target_gets_its_variant(project: Project) -> None:
    """Variants that repack made are chosen by GPU; who has none gets the plain wheel; a variant cannot be exported."""
    dist = project.root / "dist"
    every = ["--variant-namespace", "nvidia", "--variant-namespace", "amd", "--to", "wheel", "--output", dist]
    claims = {"rocm": ("amd :: gfx_arch :: gfx942", "gfx942"), "other": ("amd :: gfx_arch :: gfx90a", "gfx90a")}
    for label, (claim, arch) in claims.items():
        files: dict[str, bytes | str] = {
            "demo/__init__.py": "",
            "demo/lib.so": library("lib.so", ["libc.so.6"], sections=[(".hip_fatbin", offload(arch))]),
        }
        wheel = project.wheel("demo", folder=project.base / label, files=files, tags="py3-none-manylinux_2_17_x86_64")
        project.run("repack", *every, "--variant-label", label, "--variant", claim, wheel)
    project.wheel("demo", folder=dist, tags="py3-none-manylinux_2_17_x86_64")
    project.run("index", dist)
    project.write(["demo"], targets=target("mi300", 'gpu = ["gfx942"]') + target("cpu"), more=OURS)
    project.run("lock")
    stem = "demo-1.0-py3-none-manylinux_2_17_x86_64"
    assert taken(project) == {"mi300": [f"{stem}-rocm.whl"], "cpu": [f"{stem}.whl"]}
    refused = project.run("export", "--target", "mi300", rc=1)
    assert "is a wheel variant, and PEP 751 has no such file names" in refused.err
    assert not (project.root / "pylock.mi300.toml").exists()
    project.run("export", "--target", "cpu")
