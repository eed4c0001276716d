"""Default extras and alternatives through the command: lock, its summary and document, why, sync, freshness."""

import json

import pytest

from gpuenv.lock import decode
from gpuenv.model.default_extras import KEYWORD
from tests.support.project import HERE, Project, target
from tests.support.wheels import metadata_text

MI300 = target("mi300", 'gpu = ["gfx942"]', 'rocm = "7.2"')
TABLE = '[tool.gpuenv.default-extras]\nkernels = { amd = ["device-{gfx}"] }\n'
GPUS = ("gfx1100", "gfx90a", "gfx942", "gfx950")


def offer_kernels(project: Project, *, said: dict[str, object] | None = None) -> dict[str, int]:
    """A distribution in AMD's shape: extras by architecture, and one for all; the sizes of its device wheels."""
    extras = [f"device-{gpu}" for gpu in GPUS]
    lines = [f"kernels-{extra}==1.0; extra == '{extra}'" for extra in extras]
    everything = f"kernels[{','.join(extras)}]; extra == 'device-all'"
    project.offer("kernels", requires=[*lines, everything], extras=[*extras, "device-all"])
    sizes = {}
    for place, gpu in enumerate(GPUS):
        name = f"kernels-device-{gpu}"
        project.offer(name, files={f"k/{gpu}.bin": b"%d" % place * 1000 * (place + 1)}, stored=True, said=said)
        wheel = project.base / "offered" / project.server.root.rpartition(":")[2]
        sizes[gpu] = (wheel / f"{name.replace('-', '_')}-1.0-py3-none-any.whl").stat().st_size
    return sizes


@pytest.fixture
def kernels(project: Project) -> Project:
    """A project whose rule takes the device code of its GPU."""
    offer_kernels(project)
    project.offer("app-lib", requires=["kernels"])
    project.write(["app-lib"], targets=HERE + MI300, more=TABLE)
    return project


def packages(project: Project, name: str) -> dict[str, str]:
    """The lines of a target's packages in the lock, by name."""
    text = project.lock.read_text("utf-8").partition(f"\n[targets.{name}]\n")[2].partition("\n]\n")[0]
    return {line.split('"')[1].split("-")[0]: line.strip(" ,") for line in text.splitlines() if line.startswith("  {")}


def test_lock_and_sync(kernels: Project) -> None:
    """The lock says what was taken and which rule chose it; the environment has it, and none of the others."""
    kernels.run("lock")
    lines = packages(kernels, "mi300")
    assert lines["app_lib"] == '{ use = "app_lib-1.0-py3-none-any.whl", requires = ["kernels[device-gfx942]"] }'
    assert lines["kernels"] == (
        '{ use = "kernels-1.0-py3-none-any.whl", extras = { device-gfx942 = ["kernels-device-gfx942"] }, '
        'default-extras = { device-gfx942 = "project, amd = device-{gfx}" } }'
    )
    assert sorted(packages(kernels, "here")) == ["app_lib", "kernels"]
    assert packages(kernels, "here")["app_lib"].endswith('requires = ["kernels"] }')
    kernels.run("sync", "--target", "mi300")
    assert [path.name for path in (kernels.site / "k").iterdir()] == ["gfx942.bin"]
    before = kernels.lock.read_bytes()
    asked = len(kernels.server.requests)
    assert kernels.run("lock").err == "gpuenv.lock is up to date\n"
    assert kernels.quiet_since(asked)
    kernels.lock.unlink()
    kernels.run("lock")
    assert kernels.lock.read_bytes() == before


def test_saved_bytes(project: Project) -> None:
    """Summary and document say what all extras of the rule would have brought; where nothing changed, nothing."""
    sizes = offer_kernels(project)
    project.write(["kernels"], targets=HERE + MI300, more=TABLE)
    spared = sum(sizes.values()) - sizes["gfx942"]
    assert project.run("lock", "--dry-run", "--json").json["saved"] == {"mi300": spared}
    assert project.run("lock").err.splitlines()[:2] == [
        "locked here: 1 package",
        f"locked mi300: 2 packages, {spared / 1000:.1f} kB saved by default extras",
    ]
    asked = len(project.server.requests)
    assert project.run("lock", "--json").json["saved"] == {}
    assert project.quiet_since(asked)


def test_saved_bytes_where_others_bring_them(project: Project) -> None:
    """Files that are in the lock anyway are not spared; those that a named extra of another package brings are."""
    sizes = offer_kernels(project)
    extras = [f"device-{gpu}" for gpu in GPUS]
    project.offer("torch", requires=[f"kernels[{extra}]; extra == '{extra}'" for extra in extras], extras=extras)
    project.offer("tools", requires=["kernels", "kernels-device-gfx90a"])
    table = '[tool.gpuenv.default-extras]\ntorch = { amd = ["device-{gfx}"] }\n'
    project.write(["torch", "tools"], targets=MI300, more=table)
    assert project.run("lock", "--json").json["saved"] == {"mi300": sizes["gfx1100"] + sizes["gfx950"]}


def test_saved_bytes_unknown(project: Project) -> None:
    """Where the index states neither size nor digest nothing is said, and nothing is downloaded to say it."""
    offer_kernels(project, said={"hashes": {}, "size": None})
    project.write(["kernels"], targets=MI300, more=TABLE)
    assert project.run("lock", "--json").json["saved"] == {}
    asked = {request.path.rpartition("/")[2] for request in project.server.requests if request.path.endswith(".whl")}
    assert asked <= {"kernels-1.0-py3-none-any.whl", "kernels_device_gfx942-1.0-py3-none-any.whl"}


def test_plain_rules_ask_for_nothing_more(project: Project) -> None:
    """A rule without a placeholder could have named nothing else: no page is fetched for what it spares."""
    offer_kernels(project)
    project.write(["kernels"], targets=MI300, more=TABLE.replace("{gfx}", "gfx942"))
    assert project.run("lock", "--json").json["saved"] == {}
    asked = [request.path for request in project.server.requests]
    assert not any("gfx950" in path or "gfx1100" in path for path in asked)


def test_why(kernels: Project) -> None:
    """The chain says which rule chose the extra, in words and in the document."""
    kernels.run("lock")
    assert kernels.run("why", "kernels-device-gfx942").out.splitlines()[:3] == [
        "mi300: train requires app-lib",
        "       app-lib 1.0 requires kernels[device-gfx942] (default: project, amd = device-{gfx})",
        "       kernels[device-gfx942] 1.0 requires kernels-device-gfx942",
    ]
    found = kernels.run("why", "kernels", "--json").json["targets"]
    assert found["mi300"]["default_extras"] == {"device-gfx942": "project, amd = device-{gfx}"}
    assert [link["note"] for link in found["mi300"]["chain"]] == [None, "default: project, amd = device-{gfx}"]
    assert found["here"]["default_extras"] == {}


def test_freshness(kernels: Project) -> None:
    """Each change of the tables makes the lock stale, with the row that changed."""
    kernels.run("lock")
    for more, reason in (
        (TABLE.replace("device-{gfx}", "device-all"), "default-extras.kernels.amd: `device-all` was added"),
        (TABLE.replace('["device-{gfx}"]', "[]"), "default-extras.kernels.amd: `device-{gfx}` was removed"),
        (TABLE.replace(" }", ", any = [] }"), "default-extras.kernels.any is new"),
        ("", "default-extras.kernels.amd: `device-{gfx}` was removed"),
        (f'{TABLE}[tool.gpuenv.alternatives]\nx = {{ amd = "y" }}\n', "alternatives.x.amd is new"),
    ):
        kernels.write(["app-lib"], targets=HERE + MI300, more=more)
        assert kernels.run("lock", "--check", "--json", rc=1).json == {"fresh": False, "reason": reason}
    kernels.write(["app-lib"], targets=HERE + MI300, more=TABLE)
    assert kernels.run("lock", "--check").rc == 0


def test_empty_brackets(project: Project) -> None:
    """`add` writes empty brackets as they are; they take no extras, and a lock knows them from a bare name."""
    offer_kernels(project)
    project.write([], targets=MI300, more=TABLE)
    project.run("add", "kernels[]", "--no-sync")
    assert '"kernels[]"' in project.manifest.read_text("utf-8")
    assert sorted(packages(project, "mi300")) == ["kernels"]
    for command in ("why", "tree"):
        assert project.run(command, "kernels[]").out == project.run(command, "kernels").out
    project.write(["kernels"], targets=MI300, more=TABLE)
    assert project.run("lock", "--check", "--json", rc=1).json["reason"] == "dependencies: `kernels` was added"


def test_refusal(project: Project) -> None:
    """No extra for the GPU: the error names rule and extras, with rows that can be pasted, and each of them helps."""
    offer_kernels(project)
    strix = target("strix", 'gpu = ["gfx1151"]')
    project.write(["kernels"], targets=strix, more=TABLE)
    result = project.run("lock", rc=1)
    assert "kernels 1.0 has no extra device-gfx1151, which tool.gpuenv.default-extras asks for on gfx1151" in result.err
    hints = [line.removeprefix("hint: ") for line in result.err.splitlines() if line.startswith("hint: ")]
    assert [hint.partition(": ")[0] for hint in hints] == ["if device-all serves gfx1151, take it", "take none"]
    for hint in hints:
        row = hint.partition(": ")[2].partition(" in [tool")[0]
        project.write(["kernels"], targets=strix, more=f"[tool.gpuenv.default-extras]\n{row}\n")
        project.run("lock")


def test_publishers_file(project: Project) -> None:
    """A wheel that says so by a keyword has its publisher's rules in a file; the project's come before them."""
    said = json.dumps({"version": 1, "default-extras": {"amd": ["device-{gfx}"], "any": []}})
    extras = ["device-gfx942", "all"]
    requires = ["alpha; extra == 'device-gfx942'", "beta; extra == 'all'"]
    text = metadata_text("kernels", "1.0", requires, extras).replace("\n\n", f"\nKeywords: {KEYWORD}\n\n", 1)
    text = text.replace("\n\n", "\nDefault-Extra: all\n\n", 1)
    project.offer("kernels", metadata=text, files={"k.py": "", "kernels-1.0.dist-info/default-extras.json": said})
    for name in ("alpha", "beta"):
        project.offer(name)
    project.write(["kernels"], targets=HERE + MI300)
    project.run("lock")
    assert sorted(packages(project, "mi300")) == ["alpha", "kernels"]
    assert (
        'default-extras = { device-gfx942 = "publisher, amd = device-{gfx}" }' in packages(project, "mi300")["kernels"]
    )
    assert sorted(packages(project, "here")) == ["kernels"]
    project.write(["kernels"], targets=HERE + MI300, more='[tool.gpuenv.default-extras]\nkernels = { any = ["all"] }\n')
    project.run("lock")
    assert sorted(packages(project, "mi300")) == sorted(packages(project, "here")) == ["beta", "kernels"]


@pytest.mark.parametrize("held", [None, '{"version": 2, "default-extras": {}}', "[" * 100_000])
def test_a_publishers_broken_file(project: Project, held: str | None) -> None:
    """It costs bare requirements that release and nobody anything else; where no other serves, the hint helps."""
    for version in ("1.0", "2.0"):
        text = metadata_text("kernels", version, ["alpha; extra == 'x'"], ["x"])
        announced = text.replace("\n\n", f"\nKeywords: {KEYWORD}\n\n", 1) if version == "2.0" else text
        said = {} if held is None else {f"kernels-{version}.dist-info/default-extras.json": held}
        project.offer("kernels", version, files={"k.py": "", **said}, metadata=announced)
    project.offer("alpha")
    project.offer("app-lib", requires=["kernels"])

    def version_for(*dependencies: str, more: str = "") -> str:
        project.lock.unlink(missing_ok=True)
        project.write(dependencies, more=more)
        return str(project.run("lock", "--json").json["targets"]["here"]["packages"]["kernels"])

    table = "[tool.gpuenv.default-extras]\n"
    assert version_for("app-lib") == "1.0"
    assert version_for("kernels[]") == version_for("kernels[x]") == "2.0"
    assert version_for("app-lib", more=f'{table}kernels = {{ linux = ["x"] }}\n') == "2.0"
    project.write(["app-lib", "kernels>1"])
    result = project.run("lock", rc=1)
    assert "kernels 2.0 announces default-extras.json, which " in result.err
    row = result.err.partition("hint: say yourself what to take: ")[2].partition(" in [tool")[0]
    assert version_for("app-lib", "kernels>1", more=f"{table}{row}\n") == "2.0"


def test_alternatives(project: Project) -> None:
    """One name is another distribution for each vendor, whoever requires it, and lock and why say so."""
    for name, version in (("onnxruntime", "1.23"), ("onnxruntime-gpu", "1.23"), ("onnxruntime-rocm", "1.22")):
        project.offer(name, version, files={f"onnxruntime/{name}.py": ""})
    project.offer("embedder", requires=["onnxruntime>=1.20"])
    table = '[tool.gpuenv.alternatives]\nonnxruntime = { amd = "onnxruntime-rocm", nvidia = "onnxruntime-gpu" }\n'
    h100 = target("h100", 'gpu = ["sm_90"]', 'cuda = "13.0"')
    project.write(["embedder"], targets=HERE + MI300 + h100, more=table)
    project.run("lock")
    lock = decode(project.lock.read_text("utf-8"))
    assert {name: sorted(one.packages) for name, one in lock.targets.items()} == {
        "here": ["embedder", "onnxruntime"],
        "h100": ["embedder", "onnxruntime-gpu"],
        "mi300": ["embedder", "onnxruntime-rocm"],
    }
    assert lock.targets["mi300"].packages["onnxruntime-rocm"].instead_of == ("onnxruntime",)
    assert project.run("why", "onnxruntime-rocm").out.splitlines()[1] == (
        "       embedder 1.0 requires onnxruntime-rocm (instead of onnxruntime, as tool.gpuenv.alternatives says)"
    )
    refused = project.run("why", "onnxruntime", "--target", "mi300", rc=1).err
    assert "onnxruntime-rocm stands for it, as tool.gpuenv.alternatives says" in refused
    assert refused.endswith("hint: gpuenv why onnxruntime-rocm\n")
    assert project.run("why", "onnxruntime-gpu", "--json").json["targets"]["h100"]["instead_of"] == ["onnxruntime"]
    project.run("sync", "--target", "mi300")
    assert [path.stem for path in (project.site / "onnxruntime").glob("*.py")] == ["onnxruntime-rocm"]


def test_idle_rules(project: Project) -> None:
    """A rule about what is not in the lock is warned about: its name may be misspelt."""
    project.offer("alpha")
    tables = '[tool.gpuenv]\ndefault-extras = { alhpa = { any = [] } }\nalternatives = { x = { linux = "y" } }\n'
    project.write(["alpha"], more=tables)
    assert project.run("lock").err.splitlines()[:2] == [
        "warning: [tool.gpuenv.default-extras.alhpa] is about no package of the lock",
        "warning: [tool.gpuenv.alternatives.x] is about no package of the lock",
    ]


def test_no_table_no_word(project: Project) -> None:
    """A project without rules, of distributions without default extras, has a lock without a trace of them."""
    project.offer("alpha", requires=["beta[x]"])
    project.offer("beta", extras=["x"])
    project.write(["alpha"])
    project.run("lock")
    text = project.lock.read_text("utf-8")
    assert "default-extras" not in text
    assert "instead-of" not in text
