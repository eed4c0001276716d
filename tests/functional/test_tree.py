"""`gpuenv tree`: the locked graph as people and scripts ask for it."""

import pytest

from tests.support.binaries import fatbin, library
from tests.support.project import HERE, Project, target

NATIVE = "py3-none-manylinux2014_x86_64"
H100 = target("h100", 'gpu = ["sm_90"]', 'cuda = "12.8"')
GROUPS = """
[project.optional-dependencies]
plots = ["leaf"]

[dependency-groups]
dev = ["trainer"]
test = ["trainer[all]", "helper"]

[tool.gpuenv]
default-groups = ["dev"]

[tool.gpuenv.default-extras]
trainer = { nvidia = ["fast-{sm}"] }
"""


@pytest.fixture
def locked(project: Project) -> Project:
    """A lock of two targets: one has a GPU, and with it an extra and a library of another package."""
    runtime = {"nvidia/cuda_runtime/lib/libcudart.so.12": library("libcudart.so.12")}
    project.offer("nvidia-cuda-runtime-cu12", "12.9", files=runtime, tags=NATIVE)
    code = [(".nv_fatbin", fatbin(("sass", 90)))]
    library_k = library("libk.so", ["libcudart.so.12"], sections=code)
    project.offer("kernels-gpu", "2.0", files={"k/libk.so": library_k}, tags=NATIVE)
    extras = ['helper; extra == "all"', 'kernels-gpu; extra == "fast-sm_90"']
    project.offer("trainer", "3.1", requires=["leaf", *extras], extras=["all", "fast-sm_90"])
    project.offer("helper", "0.4", requires=["leaf"])
    project.offer("leaf", "5.0")
    project.write(["trainer"], targets=H100 + HERE, more=GROUPS)
    project.run("lock", "-q")
    return project


def lines(project: Project, *arguments: str) -> list[str]:
    """What `gpuenv tree` says, on stdout alone."""
    return project.lines("tree", *arguments)


def test_tree(locked: Project) -> None:
    """The project and its default groups, target by target, with rules, libraries and what was shown before."""
    assert lines(locked) == [
        "h100:",
        "train",
        "├── trainer[fast-sm-90] 3.1 (default: project, nvidia = fast-{sm})",
        "│   ├── kernels-gpu 2.0",
        "│   │   └┄┄ nvidia-cuda-runtime-cu12 12.9 (for libcudart.so.12)",
        "│   └── leaf 5.0",
        "└── trainer[fast-sm-90] 3.1 (group dev; default: project, nvidia = fast-{sm}) (*)",
        "",
        "here:",
        "train",
        "├── trainer 3.1",
        "│   └── leaf 5.0",
        "└── trainer 3.1 (group dev) (*)",
        "",
        "(*) is shown above with what is below it",
    ]


def test_selection(locked: Project) -> None:
    """Extras and groups are chosen as for sync; targets with the same tree share it."""
    assert lines(locked, "--depth", "1", "--no-default-groups", "--group", "test", "--extra", "plots") == [
        "h100:",
        "train",
        "├── trainer[fast-sm-90] 3.1 (default: project, nvidia = fast-{sm})",
        "├── leaf 5.0 (extra plots)",
        "├── helper 0.4 (group test)",
        "└── trainer[all] 3.1 (group test)",
        "",
        "here:",
        "train",
        "├── trainer 3.1",
        "├── leaf 5.0 (extra plots)",
        "├── helper 0.4 (group test)",
        "└── trainer[all] 3.1 (group test)",
    ]
    assert lines(locked, "Helper", "--group", "test") == ["h100, here:", "helper 0.4", "└── leaf 5.0"]
    assert lines(locked, "--target", "here", "trainer", "leaf") == ["here:", "trainer 3.1", "└── leaf 5.0", "leaf 5.0"]


def test_who_needs_it(locked: Project) -> None:
    """--invert leads from a package to the project, through requirements, extras and libraries."""
    assert lines(locked, "-i", "nvidia-cuda-runtime-cu12", "--no-default-groups") == [
        "h100:",
        "nvidia-cuda-runtime-cu12 12.9",
        "└┄┄ kernels-gpu 2.0 (for libcudart.so.12)",
        "    └── trainer[fast-sm-90] 3.1 (default: project, nvidia = fast-{sm})",
        "        └── train",
        "",
        "here:",
        "no nvidia-cuda-runtime-cu12",
    ]
    assert lines(locked, "--invert", "leaf", "--target", "here", "--extra", "plots", "--group", "test") == [
        "here:",
        "leaf 5.0",
        "├── helper 0.4",
        "│   ├── trainer[all] 3.1",
        "│   │   └── train (group test)",
        "│   └── train (group test)",
        "├── trainer 3.1",
        "│   ├── train",
        "│   ├── train (group dev)",
        "│   └── train (group test)",
        "└── train (extra plots)",
    ]


def test_document(locked: Project) -> None:
    """--json has each node once, beyond the depth without branches; a target without the package says so."""
    document = locked.run("tree", "kernels-gpu", "--depth", "1", "--json").json
    runtime = {"node": "nvidia-cuda-runtime-cu12", "part": None, "required": False, "sonames": ["libcudart.so.12"]}
    plain: dict[str, object] = {"extras": [], "variant": None, "default_extras": {}, "instead_of": []}
    assert document == {
        "inverted": False,
        "depth": 1,
        "targets": {
            "h100": {
                "roots": [{"node": "kernels-gpu", "part": None, "required": False, "sonames": []}],
                "nodes": {
                    "kernels-gpu": {"name": "kernels-gpu", "version": "2.0", "branches": [runtime], **plain},
                    "nvidia-cuda-runtime-cu12": {
                        "name": "nvidia-cuda-runtime-cu12", "version": "12.9", "branches": [], **plain,
                    },
                },
                "absent": [],
            },
            "here": {"roots": [], "nodes": {}, "absent": ["kernels-gpu"]},
        },
        "warnings": [],
    }  # fmt: skip
    cut = locked.run("tree", "--depth", "1", "--json", "--target", "h100").json["targets"]["h100"]
    assert [one["part"] for one in cut["roots"]] == ["project", "group:dev"]
    trainer = cut["nodes"]["trainer[fast-sm-90]"]
    assert trainer["branches"] is None
    assert trainer["default_extras"] == {"fast-sm-90": "project, nvidia = fast-{sm}"}
    up = locked.run("tree", "-i", "trainer[all]", "--json", "--target", "here", "--all-groups").json["targets"]["here"]
    assert up["nodes"]["trainer[all]"]["branches"] == [
        {"node": None, "part": "group:test", "required": True, "sonames": []}
    ]


@pytest.mark.parametrize(
    ("arguments", "rc", "said"),
    [
        (["helpr"], 1, "error: `helpr` is not in the lock\nhint: did you mean `helper`?\n"),
        (["trainer[al]"], 1, "error: `trainer[al]` is not in the lock\nhint: did you mean `trainer[all]`?\n"),
        (["kernels-gpu", "--target", "here"], 1, "error: `kernels-gpu` is not in the lock for target here\n"),
        (
            ["helper"],
            1,
            "error: `helper` is not among what the flags ask for\nhint: gpuenv tree helper --group test\n",
        ),
        (["--invert"], 2, "error: --invert is about packages\nhint: gpuenv tree --invert PACKAGE\n"),
        (["--target", "h10"], 2, "error: there is no target `h10` in gpuenv.lock\nhint: --target h100\n"),
        (["--group", "docs"], 2, "error: the project has no group docs\nhint: pyproject.toml has dev, test\n"),
    ],
)
def test_refusals(locked: Project, arguments: list[str], rc: int, said: str) -> None:
    """What cannot be shown is said, with what was probably meant."""
    assert locked.run("tree", *arguments, rc=rc).err == said


def test_stale(locked: Project) -> None:
    """The tree is that of the lock, also where pyproject.toml has changed since; without a lock there is none."""
    before = lines(locked, "--target", "here")
    locked.write(["trainer", "leaf"], targets=H100 + HERE, more=GROUPS)
    result = locked.run("tree", "--target", "here")
    assert result.out.splitlines() == before
    assert result.err.startswith("warning: gpuenv.lock does not answer pyproject.toml: ")
    locked.lock.unlink()
    assert locked.run("tree", rc=1).err == "error: there is no gpuenv.lock\nhint: run `gpuenv lock`\n"


def test_terminals_without_lines(locked: Project) -> None:
    """Where stdout has no characters for lines, ASCII draws them."""
    locked.environment["PYTHONIOENCODING"] = "latin-1"
    assert (
        lines(locked, "kernels-gpu", "--target", "h100")[2] == "`.. nvidia-cuda-runtime-cu12 12.9 (for libcudart.so.12)"
    )
