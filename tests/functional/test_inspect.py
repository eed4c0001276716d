"""`gpuenv inspect` and `gpuenv facts`, as people and scripts call them."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.binaries import bundle, fatbin, library
from tests.support.bundles import facts_in, make_bundle
from tests.support.project import HERE, Project

FILES: dict[str, bytes | str] = {
    "kernels/__init__.py": "",
    "kernels/lib/libkernels.so.1": library(
        "libkernels.so.1",
        ["libcudart.so.13", "libc.so.6"],
        sections=[(".nv_fatbin", fatbin(("sass", 80), ("ptx", 90)) + fatbin(("sass", 80)))],
    ),
}


@pytest.fixture
def wheel(project: Project) -> Path:
    """A wheel with code for sm_80 and PTX."""
    return project.wheel("kernels", files=FILES)


def test_page(project: Project, wheel: Path) -> None:
    """What a wheel says is data: it goes to stdout, and says the same from the cache."""
    result = project.run("inspect", wheel)
    assert result.err == ""
    assert result.out.splitlines()[1:] == [
        "holds       1 binary for x86_64",
        "provides    libkernels.so.1",
        "needs       nvidia-cuda-runtime: libcudart.so.13",
        "            the system: libc.so.6",
        "device code                   images        containers       size",
        "            sm_80                  2            2 of 2      128 B",
        "            compute_90 PTX         1            1 of 2       64 B",
    ]
    assert project.run("inspect", wheel).out == result.out


def test_document(project: Project, wheel: Path) -> None:
    """--json gives every key that scripts may rely on, and where the facts were known."""
    (found,) = project.run("inspect", wheel, "--json").json["files"]
    assert found["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert (found["path"], found["origin"], found["symlinks"]) == (str(wheel), "read", [])
    (binary,) = found["objects"]
    assert binary["path"] == "kernels/lib/libkernels.so.1"
    assert (binary["soname"], binary["needed"]) == ("libkernels.so.1", ["libcudart.so.13", "libc.so.6"])
    assert (binary["rpath"], binary["runpath"], binary["versions_needed"]) == ([], [], {})
    assert [(code["vendor"], code["kind"], code["arch"], code["count"]) for code in binary["device_code"]] == [
        ("nvidia", "sass", "sm_80", 2),
        ("nvidia", "ptx", "compute_90", 1),
    ]
    assert project.run("inspect", wheel, "--json").json["files"][0]["origin"] == "kept"
    assert project.run("inspect", wheel, "--json", "--refresh").json["files"][0]["origin"] == "read"


@pytest.mark.parametrize(("gpu", "code"), [("sm_80", 0), ("sm_86", 0), ("sm_90", 0), ("sm_75", 1), ("gfx942", 1)])
def test_gpu(project: Project, wheel: Path, gpu: str, code: int) -> None:
    """--gpu fails where no code is for the GPU: with a page, with a document, and with nothing but the answer."""
    result = project.run("inspect", wheel, "--gpu", gpu, rc=code)
    assert f"for {gpu}" in result.out
    assert result.err == (f"error: no code for the GPU\n  cause: {wheel}: nothing that {gpu} runs\n" if code else "")
    result = project.run("inspect", wheel, "--gpu", gpu, "--json", rc=code)
    assert result.err == ""
    assert result.json["files"][0]["gpus"][gpu]["served"] is (code == 0)
    assert project.run("inspect", wheel, "--gpu", gpu, "-q", rc=code).out == ""


def test_target(project: Project, wheel: Path) -> None:
    """--target asks for the GPUs of a target of the project."""
    project.write(targets=f'{HERE}gpu = ["sm_86", "sm_90"]\n')
    result = project.run("inspect", wheel, "--target", "here")
    assert "for sm_86" in result.out
    assert "for sm_90" in result.out
    assert "`there` is not a target" in project.run("inspect", wheel, "--target", "there", rc=2).err


def test_wrong_gpu(project: Project, wheel: Path) -> None:
    """What is no architecture is refused, with the nearest one that is."""
    result = project.run("inspect", wheel, "--gpu", "gfx-942", rc=2)
    assert result.err == "error: `gfx-942` is not a GPU architecture\nhint: did you mean `gfx942`?\n"


def test_url(project: Project) -> None:
    """A wheel behind a URL is read by parts of it."""
    project.offer("kernels", files=FILES)
    url = f"{project.server.url.rsplit('/', 2)[0]}/files/kernels-1.0-py3-none-any.whl"
    (found,) = project.run("inspect", url, "--json").json["files"]
    assert found["sha256"] is None
    assert found["objects"][0]["soname"] == "libkernels.so.1"
    assert "the network is switched off" in project.run("inspect", url, "--offline", rc=2).err


def test_folder_of_wheels(project: Project, wheel: Path) -> None:
    """A folder that holds wheels stands for them; another is read as one tree."""
    project.wheel("other", files={"other/a.hipfb": bundle("gfx942")})
    found = project.run("inspect", wheel.parent, "--json").json["files"]
    assert [Path(file["path"]).name.partition("-")[0] for file in found] == ["kernels", "other"]
    tree = project.root / "tree"
    tree.mkdir()
    (tree / "a.fatbin").write_bytes(fatbin(("sass", 120)))
    (found,) = project.run("inspect", tree, "--json").json["files"]
    assert [binary["path"] for binary in found["objects"]] == ["a.fatbin"]


def test_sidecar(project: Project, wheel: Path) -> None:
    """--sidecar writes the facts beside the file, as the document has them."""
    result = project.run("inspect", wheel, "--sidecar")
    sidecar = wheel.with_name(f"{wheel.name}.native.json")
    assert result.err == f"wrote {sidecar}\n"
    document = project.run("inspect", wheel, "--json").json["files"][0]
    facts = json.loads(sidecar.read_text())
    assert facts == {key: document[key] for key in facts}
    assert facts["sha256"] == document["sha256"]


def test_damage(project: Project) -> None:
    """A damaged binary is named after the page, with exit code 1; a damaged archive is an error at once."""
    cut = FILES["kernels/lib/libkernels.so.1"][:-80]
    wheel = project.wheel("cut", files={**FILES, "kernels/lib/libcut.so": cut})
    result = project.run("inspect", wheel, rc=1)
    assert "error: damaged binaries\n  cause: cut-1.0-py3-none-any.whl: kernels/lib/libcut.so: " in result.err
    assert "libkernels.so.1" in result.out
    result = project.run("inspect", wheel, "--json", rc=1)
    assert [damage["path"] for damage in result.json["files"][0]["damaged"]] == ["kernels/lib/libcut.so"]
    wheel.write_bytes(wheel.read_bytes()[:-30])
    result = project.run("inspect", wheel, rc=1)
    assert result.out == ""
    assert result.err.startswith("error: cut-1.0-py3-none-any.whl is refused: ")


def test_bundle(project: Project) -> None:
    """A bundle is read whole, its links are counted, and what it says of itself is true or damage."""
    data = FILES["kernels/lib/libkernels.so.1"]
    wheel = project.wheel("kernels", files={**FILES, "kernels/lib/libkernels.so": data})
    facts = facts_in(wheel)
    made = make_bundle(wheel, restore_links=True, facts=facts)
    lines = project.run("inspect", made).out.splitlines()
    assert lines[1:3] == ["holds       1 binary for x86_64, 1 symbolic link", "provides    libkernels.so.1"]
    (found,) = project.run("inspect", made, "--json").json["files"]
    assert found["symlinks"] == [{"path": "kernels/lib/libkernels.so", "target": "libkernels.so.1", "source": "tar"}]
    assert (found["sha256"], found["damaged"]) == (hashlib.sha256(made.read_bytes()).hexdigest(), [])
    make_bundle(wheel, facts=facts.with_objects(facts.objects[1:]))
    for _ in range(2):
        (found,) = project.run("inspect", made, "--json", rc=1).json["files"]
        problem = "differs from the binaries: kernels/lib/libkernels.so is in the file and not stated"
        assert found["damaged"] == [{"path": "native.json", "problem": problem}]
    assert f"native.json: {problem}" in " ".join(project.run("inspect", made, rc=1).err.split())


def test_nothing_there(project: Project) -> None:
    """A path that does not exist is wrong usage."""
    assert project.run("inspect", "none.whl", rc=2).err == "error: there is no none.whl\n"


def test_facts(project: Project) -> None:
    """A list becomes a table, which is gone on with: the second run reads nothing."""
    project.offer("kernels", files=FILES)
    project.offer("kernels", "2.0", files=FILES)
    lines = project.root / "wheels.txt"
    lines.write_text("kernels >=1.0 *-none-any.whl\n")
    table = project.root / "facts.zip"
    first = project.run("facts", lines, "--output", table, "--json").json
    assert (first["wheels"], first["read"], first["failed"]) == (2, 2, [])
    assert first["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    second = project.run("facts", lines, "--output", table, "--json").json
    assert (second["wheels"], second["read"], second["sha256"]) == (2, 0, first["sha256"])
    assert project.run("facts", lines, "--output", table).err.startswith(f"{table}: 2 wheels, 0 of them new; sha256 ")
