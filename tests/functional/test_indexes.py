"""Which index a package comes from, and who may look where: the road to dependency confusion is closed."""

from collections.abc import Iterator

import pytest

from gpuenv.lock import decode
from gpuenv.model.lock import Lock, LockedArtifact
from tests.support.project import HERE, Project, target
from tests.support.simple_server import SimpleServer


@pytest.fixture
def other() -> Iterator[SimpleServer]:
    """A second index."""
    with SimpleServer() as running:
        yield running


def locked(project: Project, *flags: str, env: dict[str, str | None] | None = None) -> Lock:
    """The lock that a fresh `lock` writes."""
    project.lock.unlink(missing_ok=True)
    project.run("lock", *flags, env=env)
    return decode(project.lock.read_text("utf-8"))


def artifact(lock: Lock, name: str, on: str = "here") -> LockedArtifact:
    """What a target takes for a name."""
    return lock.artifacts[lock.targets[on].packages[name].artifact]


def table(name: str, server: SimpleServer, *more: str) -> str:
    """[[tool.gpuenv.index]]."""
    return "\n".join(["[[tool.gpuenv.index]]", f'name = "{name}"', f'url = "{server.url}"', *more]) + "\n"


def test_the_first_index_that_knows_a_name_is_the_only_one(project: Project, other: SimpleServer) -> None:
    """A newer version of a private name on a later index is not even looked at."""
    project.offer("secret", "1.0", on=other)
    project.offer("secret", "99.0")
    project.offer("public")
    project.write(["secret", "public"], more=table("own", other))
    lock = locked(project)
    assert (artifact(lock, "secret").version, artifact(lock, "secret").index) == ("1.0", "own")
    assert artifact(lock, "public").index == "default"
    assert project.server.count("secret") == 0
    project.write(["secret>1"], more=table("own", other))
    project.run("lock", rc=1)
    assert project.server.count("secret") == 0


def test_order_of_indexes_decides(project: Project, other: SimpleServer) -> None:
    """Of two declared indexes that know a name the one written first is taken."""
    project.offer("alpha", "1.0", on=other)
    project.offer("alpha", "2.0")
    project.write(["alpha"], more=table("b", project.server) + table("a", other))
    assert artifact(locked(project), "alpha").version == "2.0"
    project.write(["alpha"], more=table("a", other) + table("b", project.server))
    assert artifact(locked(project), "alpha").version == "1.0"


def test_explicit_indexes_serve_only_what_sources_send_there(project: Project, other: SimpleServer) -> None:
    """An explicit index is not asked for anything else, whatever it has."""
    for name in ("alpha", "beta"):
        project.offer(name, "1.0", requires=["beta"] if name == "alpha" else [])
        project.offer(name, "2.0", on=other, requires=["beta"] if name == "alpha" else [])
    sources = '[tool.gpuenv.sources]\nalpha = { index = "own" }\n'
    project.write(["alpha"], more=sources + table("own", other, "explicit = true"))
    lock = locked(project)
    assert artifact(lock, "alpha").version == "2.0"
    assert artifact(lock, "beta").version == "1.0"
    assert other.count("beta") == 0


def test_patterns_claim_names(project: Project, other: SimpleServer) -> None:
    """Names that an index claims come from it and nowhere else, also when required by others; it gets no other name."""
    project.offer("app", requires=["rocm-core", "numpy"])
    project.offer("numpy")
    project.offer("rocm-core", "9.0")
    project.offer("rocm-core", "1.0", on=other)
    project.write(["app"], more=table("amd", other, 'packages = ["rocm*", "Torch"]'))
    lock = locked(project)
    assert artifact(lock, "rocm-core").index == "amd"
    assert {request.path for request in other.requests if "simple" in request.path} == {"/simple/rocm-core/"}
    project.write(["rocm-missing"], more=table("amd", other, 'packages = ["rocm*"]'))
    project.offer("rocm-missing")
    project.run("lock", rc=1)
    assert project.server.count("rocm") == 0


def test_indexes_of_some_targets(project: Project, other: SimpleServer) -> None:
    """An index with `targets` is asked for those alone; one file name with two contents keeps both apart."""
    project.offer("alpha", files={"alpha.py": "x = 'cpu'"})
    project.offer("alpha", files={"alpha.py": "x = 'gpu'"}, on=other)
    project.write(["alpha"], targets=HERE + target("gpu"), more=table("amd", other, 'targets = ["gpu"]'))
    lock = locked(project)
    assert artifact(lock, "alpha").index == "default"
    assert artifact(lock, "alpha", "gpu").index == "amd"
    assert artifact(lock, "alpha").filename == artifact(lock, "alpha", "gpu").filename
    assert sorted(key.partition("#")[2] for key in lock.artifacts) == sorted(
        artifact(lock, "alpha", on).sha256[:8] for on in ("here", "gpu")
    )
    for name, text in (("here", "cpu"), ("gpu", "gpu")):
        project.run("sync", "--target", name)
        assert project.inside("python", "-c", "import alpha; print(alpha.x)") == f"{text}\n"


def test_sources_of_one_target(project: Project, other: SimpleServer) -> None:
    """A source with a target counts there, and the one without elsewhere."""
    project.offer("alpha", "1.0")
    project.offer("alpha", "2.0", on=other)
    sources = '[tool.gpuenv.sources]\nalpha = { index = "own", target = "gpu" }\n'
    more = sources + table("own", other, "explicit = true")
    project.write(["alpha"], targets=HERE + target("gpu"), more=more)
    lock = locked(project)
    assert artifact(lock, "alpha").version == "1.0"
    assert artifact(lock, "alpha", "gpu").version == "2.0"


def test_index_flags_come_first(project: Project, other: SimpleServer) -> None:
    """`--index` is asked before all others, by name if it has one; a folder will do."""
    project.offer("alpha", "2.0")
    project.offer("alpha", "1.0", on=other)
    project.write(["alpha"], more=table("same", project.server))
    lock = locked(project, "--index", f"Mine={other.url}")
    assert (artifact(lock, "alpha").index, artifact(lock, "alpha").version) == ("mine", "1.0")
    lock = locked(project, "--index", other.url)
    assert artifact(lock, "alpha").index == "flag-1"
    project.wheel("alpha", "0.5", folder=project.root / "wheels")
    lock = locked(project, "--index", "wheels")
    assert artifact(lock, "alpha").version == "0.5"


@pytest.mark.parametrize("variable", ["GPUENV_INDEX", "UV_INDEX"])
def test_index_variables(variable: str, project: Project, other: SimpleServer) -> None:
    """Indexes from the environment count like flags; without them the lock is stale."""
    project.offer("alpha", "1.0", on=other)
    project.offer("alpha", "2.0")
    project.write(["alpha"])
    given: dict[str, str | None] = {variable: f"own={other.url}"}
    assert artifact(locked(project, env=given), "alpha").version == "1.0"
    assert project.run("lock", env=given).err == "gpuenv.lock is up to date\n"
    assert "indexes: `own` was removed" in project.run("lock", "--check", rc=1).err


def test_the_default_index_of_a_machine(project: Project, other: SimpleServer) -> None:
    """Flag, variables, then pip's file name the default index; the lock says `default` and no address of it."""
    project.offer("alpha", "2.0", on=other)
    project.write(["alpha"])
    config = project.home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"[global]\nindex-url = {other.url}\n")
    none: dict[str, str | None] = {"GPUENV_DEFAULT_INDEX": None, "PIP_CONFIG_FILE": None}
    ways: list[tuple[list[str], dict[str, str | None]]] = [
        (["--default-index", other.url], {}),
        ([], {"GPUENV_DEFAULT_INDEX": other.url}),
        ([], {**none, "UV_DEFAULT_INDEX": other.url}),
        ([], {**none, "PIP_INDEX_URL": other.url}),
        ([], none),
    ]
    found = set()
    for flags, env in ways:
        found.add(project.lock.read_text() if locked(project, *flags, env=env) else "")
    assert len(found) == 1
    assert '[[index]]\nname = "default"\nfiles = ' in found.pop()
    assert project.server.requests == []


def test_a_lock_serves_machines_with_other_defaults(project: Project, other: SimpleServer) -> None:
    """A lock made with one default index is fresh with another one; files are found by digest where those moved."""
    project.offer("alpha")
    project.offer("alpha", on=other)
    project.write(["alpha"])
    project.run("lock")
    moved = {"GPUENV_DEFAULT_INDEX": other.url}
    assert project.run("lock", env=moved).err == "gpuenv.lock is up to date\n"
    project.server.files.clear()
    project.run("sync", env=moved)
    assert project.installed() == {"alpha": "1.0"}


def test_replaced_default_index(project: Project, other: SimpleServer) -> None:
    """`default = true` replaces the machine's default index, and is locked by name and address."""
    project.offer("alpha", on=other)
    project.write(["alpha"], more=table("corp", other, "default = true"))
    lock = locked(project)
    assert artifact(lock, "alpha").index == "corp"
    assert lock.indexes[0].location == other.url
    assert project.server.requests == []


def test_folders_of_wheels(project: Project) -> None:
    """A folder index is locked by relative path, moves with the project, and asks no network."""
    project.wheel("alpha", folder=project.root / "wheels", requires=["beta"])
    project.wheel("beta", folder=project.root / "wheels")
    project.write(["alpha"], more='[[tool.gpuenv.index]]\nname = "local"\npath = "wheels"\n')
    lock = locked(project)
    assert artifact(lock, "alpha").url == "alpha-1.0-py3-none-any.whl"
    assert str(project.base) not in project.lock.read_text()
    moved = project.base / "moved"
    project.root.rename(moved)
    project.run("--project", moved, "lock", "--check", cwd=project.base)
    project.run("--project", moved, "--offline", "sync", cwd=project.base)
    assert (moved / ".venv").is_symlink()
    assert project.server.requests == []


def test_wheels_by_url(project: Project, other: SimpleServer) -> None:
    """A direct URL is locked as it is, with the digest of what was downloaded, and once only."""
    url = project.offer("alpha", "3.0", on=other, requires=["beta"])
    project.offer("beta")
    project.write([f"alpha @ {url}"])
    lock = locked(project)
    assert (artifact(lock, "alpha").index, artifact(lock, "alpha").url) == (None, url)
    project.run("sync")
    assert project.installed() == {"alpha": "3.0", "beta": "1.0"}
    assert '"url": "' + url in (project.site / "alpha-3.0.dist-info" / "direct_url.json").read_text()
    assert sum(request.path.endswith(".whl") and "range" not in request.headers for request in other.requests) == 1


def test_wheels_by_path(project: Project) -> None:
    """A path source is locked relative to the project, so that a checkout elsewhere has the same lock."""
    wheel = project.wheel("alpha", folder=project.root / "vendor", requires=["beta"])
    project.offer("beta")
    project.write(["alpha"], more=f'[tool.gpuenv.sources]\nalpha = {{ path = "vendor/{wheel.name}" }}\n')
    lock = locked(project)
    assert artifact(lock, "alpha").url == f"vendor/{wheel.name}"
    assert str(project.base) not in project.lock.read_text()
    project.run("sync")
    assert project.installed() == {"alpha": "1.0", "beta": "1.0"}
    project.wheel("alpha", folder=project.root / "vendor", requires=["gamma"])
    project.run("lock")
    assert decode(project.lock.read_text()) == lock


def test_indexes_without_digests(project: Project) -> None:
    """Where a page states neither digest nor size the wheel is read once, and the lock holds both all the same."""
    project.offer("alpha")
    project.server.digests = project.server.sizes = False
    project.write(["alpha"])
    lock = locked(project)
    wheel = project.server.files["alpha-1.0-py3-none-any.whl"].path
    assert artifact(lock, "alpha").size == wheel.stat().st_size
    project.run("sync")
    assert project.installed() == {"alpha": "1.0"}
