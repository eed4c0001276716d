"""Edits of pyproject.toml: whole texts before and after."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuenv.errors import ManifestError, UsageError
from gpuenv.manifest.decode import decode
from gpuenv.manifest.edit import add_requirements, init_table, remove_requirements
from gpuenv.model.target import Target

HEAD = '[project]\nname = "train"\n'
LINES = HEAD + 'dependencies = [\n    "numpy",  # keep\n    # about torch\n    "torch>=2",\n]  # end\n\n[tool.x]\n'

ADDED = [
    ("one line", HEAD + 'dependencies = ["a", "c"] # x\n', ["b"], HEAD + 'dependencies = ["a", "b", "c"] # x\n'),
    ("unsorted", HEAD + 'dependencies = ["c", "a"]\n', ["b"], HEAD + 'dependencies = ["c", "a", "b"]\n'),
    ("empty", HEAD + "dependencies = []\n", ["b", "a"], HEAD + 'dependencies = ["a", "b"]\n'),
    ("last line", LINES, ["zlib"], LINES.replace('torch>=2",\n', 'torch>=2",\n    "zlib",\n')),
    ("between", LINES, ["Pandas"], LINES.replace("    # about", '    "Pandas",\n    # about')),
    ("first line", LINES, ["aaa"], LINES.replace('[\n', '[\n    "aaa",\n')),
    ("replaced", LINES, ["Torch==2.8"], LINES.replace("torch>=2", "Torch==2.8")),
    ("nothing new", LINES, ["torch"], LINES),
    ("extras kept", HEAD + 'dependencies = ["a[x]>1"]\n', ["a<3"], HEAD + 'dependencies = ["a[x]<3"]\n'),
    (
        "marker kept",
        HEAD + "dependencies = ['a>1; os_name == \"nt\"']\n",
        ["a[y]"],
        HEAD + "dependencies = ['a[y]>1; os_name == \"nt\"']\n",
    ),
    (
        "same marker replaced, other marker added",
        HEAD + "dependencies = ['a>1; os_name == \"nt\"', 'a>2; os_name == \"posix\"']\n",
        ['a>3; os_name == "posix"', "a>4; sys_platform == 'linux'"],
        HEAD
        + "dependencies = ['a>1; os_name == \"nt\"', 'a>3; os_name == \"posix\"', \"a>4; sys_platform == 'linux'\"]\n",
    ),
    (
        "no comma at the end",
        HEAD + 'dependencies = [\n\t"a"  # x\n]\n',
        ["b"],
        HEAD + 'dependencies = [\n\t"a",  # x\n\t"b"\n]\n',
    ),
    (
        "no array yet",
        HEAD + "\n# about x\n[tool.x]\ny=1\n",
        ["b"],
        HEAD + 'dependencies = [\n    "b",\n]\n\n# about x\n[tool.x]\ny=1\n',
    ),
    ("CRLF", 'project.name = "x"\r\n', ["b"], 'project.name = "x"\r\nproject.dependencies = [\r\n    "b",\r\n]\r\n'),
    ("inline table", 'project = {name="x", dependencies = [] }', ["b"], 'project = {name="x", dependencies = ["b"] }'),
]  # fmt: skip


@pytest.mark.parametrize(("before", "requirements", "after"), [case[1:] for case in ADDED], ids=[c[0] for c in ADDED])
def test_add(before: str, requirements: list[str], after: str) -> None:
    """A requirement goes where it belongs, and nothing else moves."""
    assert add_requirements(before, requirements) == after


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        (LINES, ["Numpy"], LINES.replace('    "numpy",  # keep\n', "")),
        (LINES, ["torch"], LINES.replace('    "torch>=2",\n', "")),
        (LINES, ["torch", "numpy"], HEAD + "dependencies = [\n    # about torch\n]  # end\n\n[tool.x]\n"),
        (HEAD + 'dependencies = ["a", "b", "c"]\n', ["a", "c"], HEAD + 'dependencies = ["b"]\n'),
        (HEAD + "dependencies = ['a; os_name == \"nt\"', 'b', 'a']\n", ["a"], HEAD + "dependencies = ['b']\n"),
        (HEAD + 'dependencies = [\n  "a",\n  "b"\n]\n', ["b"], HEAD + 'dependencies = [\n  "a"\n]\n'),
    ],
)
def test_remove(before: str, names: list[str], after: str) -> None:
    """Every requirement on the name goes with the comment on its line; other comments stay."""
    assert remove_requirements(before, names) == after


GROUP = HEAD + '[dependency-groups]\nDev_Tools = ["ruff", { include-group = "test" }]\ntest = []\n'


def test_groups() -> None:
    """A group is found under any spelling of its name, and made where it is missing."""
    added = add_requirements(GROUP, ["mypy", "zlib"], group="dev-tools")
    assert added == GROUP.replace('["ruff", {', '["mypy", "ruff", "zlib", {')
    assert remove_requirements(added, ["mypy", "zlib"], group="dev-tools") == GROUP
    assert add_requirements(GROUP, ["x"], group="new") == GROUP + 'new = [\n    "x",\n]\n'
    assert add_requirements(HEAD, ["x"], group="dev") == HEAD + '\n[dependency-groups]\ndev = [\n    "x",\n]\n'


def test_targets() -> None:
    """What only one target requires stands in its own table."""
    text = HEAD + '\n[tool.gpuenv.targets.mi300]\ngpu = ["gfx942"]\n\n# CPU\n[tool.gpuenv.targets.cpu]\n'
    added = add_requirements(text, ["rocm-sdk"], target="mi300")
    assert added == text.replace('gpu = ["gfx942"]\n', 'gpu = ["gfx942"]\ndependencies = [\n    "rocm-sdk",\n]\n')
    assert [str(item) for item in decode(added).target_dependencies["mi300"]] == ["rocm-sdk"]
    emptied = remove_requirements(added, ["rocm-sdk"], target="mi300")
    assert emptied == text.replace('gpu = ["gfx942"]\n', 'gpu = ["gfx942"]\ndependencies = [\n]\n')


@pytest.mark.parametrize(
    ("names", "group", "message", "hints"),
    [
        (["tourch"], None, "project.dependencies: `tourch` is not there", ("did you mean `torch`?",)),
        (["torch"], "dev", "dependency-groups.dev: `torch` is not there", ("gpuenv remove torch",)),
        (["ruff"], None, "project.dependencies: `ruff` is not there", ("gpuenv remove ruff --group dev",)),
    ],
)
def test_removing_what_is_not_there_names_the_nearest(
    names: list[str], group: str | None, message: str, hints: tuple[str, ...]
) -> None:
    """The error says where else the name stands, or which name was meant."""
    text = HEAD + 'dependencies = ["torch", "numpy"]\n[dependency-groups]\ndev = ["ruff"]\n'
    with pytest.raises(ManifestError) as failure:
        remove_requirements(text, names, group=group)
    assert (failure.value.message, failure.value.hints) == (message, hints)


def test_adding_refuses_what_it_cannot_place() -> None:
    """Bad requirements, unknown targets, two places at once and an unclear entry are refused."""
    with pytest.raises(UsageError, match=r"`torch >>2` is not a requirement"):
        add_requirements(HEAD, ["torch >>2"])
    with pytest.raises(UsageError, match="exclude each other"):
        add_requirements(HEAD, ["torch"], group="a", target="b")
    with pytest.raises(ManifestError, match=r"unknown target `mi30`"):
        add_requirements(HEAD + "[tool.gpuenv.targets.mi300]\n", ["torch"], target="mi30")
    with pytest.raises(ManifestError, match=r"project.dependencies: `a` is there 2 times"):
        add_requirements(HEAD + "dependencies = ['a; os_name == \"nt\"', 'a>1']\n", ["a>2"])
    with pytest.raises(ManifestError, match=r"cannot be edited here"):
        add_requirements(HEAD, ["Train[x]"])
    with pytest.raises(ManifestError, match=r"is not TOML"):
        add_requirements("[project", ["x"])


def test_init_writes_a_new_file() -> None:
    """Without a file, a project with its first target is written."""
    target = Target("mi300", gpu=("gfx942",), rocm="7.2")
    assert init_table(None, name="train", targets=[target]) == (
        '[project]\nname = "train"\nversion = "0.1.0"\ndependencies = []\n\n'
        '[tool.gpuenv.targets.mi300]\nplatform = "linux-x86_64"\npython = "3.12"\nglibc = "2.28"\n'
        'gpu = ["gfx942"]\nrocm = "7.2"\n'
    )


def test_init_writes_every_fact() -> None:
    """Whatever a target can say is written as the manifest reads it, and nothing that goes without saying."""
    cluster = Target(
        "cluster",
        python="3.13",
        gpu=("sm_90",),
        cuda="13.0",
        driver="580.65",
        cpu="x86-64-v3",
        cpu_fallback=("bitsandbytes", "xgboost"),
        ptx=False,
        host_libraries=("/opt/cuda/lib64", "libnccl.so.*"),
        properties=("x86_64 :: avx512_vnni :: on",),
    )
    plain = Target("plain", glibc=None, musl="1.2", gpu_code="forbid")
    either = Target("either", gpu=("gfx90a:xnack+",), cpu_fallback=True)
    assert init_table(HEAD, name="train", targets=[cluster, plain, either]) == (
        HEAD + '\n[tool.gpuenv.targets.cluster]\nplatform = "linux-x86_64"\npython = "3.13"\nglibc = "2.28"\n'
        'gpu = ["sm_90"]\ncuda = "13.0"\ndriver = "580.65"\ncpu = "x86-64-v3"\n'
        'cpu-fallback = ["bitsandbytes", "xgboost"]\nptx = false\n'
        'host-libraries = ["/opt/cuda/lib64", "libnccl.so.*"]\n'
        'properties = ["x86_64 :: avx512_vnni :: on"]\n'
        '\n[tool.gpuenv.targets.plain]\nplatform = "linux-x86_64"\npython = "3.12"\nmusl = "1.2"\n'
        'gpu-code = "forbid"\n'
        '\n[tool.gpuenv.targets.either]\nplatform = "linux-x86_64"\npython = "3.12"\nglibc = "2.28"\n'
        'gpu = ["gfx90a:xnack+"]\ncpu-fallback = true\n'
    )


def test_init_completes_a_file() -> None:
    """A file keeps all it has; targets come at the end, and one that is there is never overwritten."""
    targets = [Target("cpu", python="3.13"), Target("mac", "macos-arm64", glibc=None, macos="14.0")]
    before = '# mine\n[tool.ruff]\nx = 1 # y\n\n\n[project]\nname = "x"\n'
    after = init_table(before, name="unused", targets=targets)
    assert after.startswith(before + "\n[tool.gpuenv.targets.cpu]\n")
    assert list(decode(after).targets.values()) == targets
    with pytest.raises(ManifestError, match="there is such a target already"):
        init_table(after, name="x", targets=targets[:1])
    with pytest.raises(ManifestError, match=r"tool.gpuenv.targets: cannot be edited here"):
        init_table("tool.gpuenv.targets = {}\n" + HEAD, name="x", targets=targets)
    headless = init_table("[tool.ruff]\n", name="x", targets=[])
    assert headless == '[project]\nname = "x"\nversion = "0.1.0"\ndependencies = []\n\n[tool.ruff]\n'


NAMES = st.sampled_from(["a", "b-c", "numpy", "torch", "zlib"])
LAYOUTS = st.sampled_from(
    [HEAD, LINES, HEAD + 'dependencies = ["zlib", "a"]\n', HEAD + "dependencies = [\n\n  'b_c', # x\n\n]\n[tool.y]\n"]
)


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, st.lists(NAMES, unique=True, max_size=4), st.sampled_from(["", "==1", "[x]>2", '; os_name == "nt"']))
def test_edit_then_decode(text: str, names: list[str], rest: str) -> None:
    """After any additions decode finds them, and after removing all of them no comment of another line is lost."""
    added = add_requirements(text, [name + rest for name in names])
    before = {item.name for item in decode(text).dependencies}
    found = {item.name for item in decode(added).dependencies}
    assert found == before | set(names)
    new = [name for name in names if name not in before]
    removed = remove_requirements(added, new)
    assert {item.name for item in decode(removed).dependencies} == before
    assert removed.count("#") == text.count("#")
