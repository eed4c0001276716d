"""`gpuenv lock`: the file it writes, when it writes nothing, what it keeps."""

import datetime
import time
from collections.abc import Callable

import pytest

from gpuenv.lock import decode
from tests.support.project import HERE, PLATFORM, PYTHON, Project, snapshot, target

LATE = "2026-06-01T00:00:00Z"
EARLY = "2026-01-01T00:00:00Z"


def small(project: Project) -> None:
    """Two packages, one of which needs the other."""
    project.offer("alpha", requires=["beta>=1"])
    project.offer("beta", "2.0")
    project.write(["alpha"])


def versions(project: Project, name: str = "here") -> dict[str, str]:
    """name -> version of a locked target."""
    lock = decode(project.lock.read_text("utf-8"))
    return {key: lock.artifacts[package.artifact].version for key, package in lock.targets[name].packages.items()}


def test_first_lock(project: Project) -> None:
    """A fresh project gets a lock of exactly these bytes, and a summary on stderr."""
    small(project)
    result = project.run("lock")
    assert result.out == ""
    assert result.err == "locked here: 2 packages\n + alpha==1.0\n + beta==2.0\n"
    text = project.lock.read_text("utf-8")
    lock = decode(text)
    alpha, beta = (lock.artifacts[f"{stem}-py3-none-any.whl"] for stem in ("alpha-1.0", "beta-2.0"))
    environment = lock.environment(lock.targets["here"], lock.targets["here"].packages.values())
    assert text == (
        "# Made by gpuenv; edit pyproject.toml and run `gpuenv lock`.\n"
        "version = 1\n"
        "\n"
        "[inputs]\n"
        "dependencies = [\n"
        '  "alpha",\n'
        "]\n"
        "\n"
        "[[index]]\n"
        'name = "default"\n'
        f'files = "{project.server.root}/files/"\n'
        "\n"
        "[artifacts]\n"
        f'"alpha-1.0-py3-none-any.whl" = {{ index = "default", path = "alpha-1.0-py3-none-any.whl", '
        f'sha256 = "{alpha.sha256}", size = {alpha.size} }}\n'
        f'"beta-2.0-py3-none-any.whl" = {{ index = "default", path = "beta-2.0-py3-none-any.whl", '
        f'sha256 = "{beta.sha256}", size = {beta.size} }}\n'
        "\n"
        "[targets.here]\n"
        f'platform = "{PLATFORM}"\n'
        f'python = "{PYTHON}"\n'
        'glibc = "2.17"\n'
        f'environment = "{environment}"\n'
        'roots = { project = ["alpha"] }\n'
        "packages = [\n"
        '  { use = "alpha-1.0-py3-none-any.whl", requires = ["beta"] },\n'
        '  { use = "beta-2.0-py3-none-any.whl" },\n'
        "]\n"
    )


def test_second_lock_asks_nobody(project: Project) -> None:
    """An answered manifest is up to date without one request, also with a cold cache and a server that is gone."""
    small(project)
    project.run("lock")
    before, asked = snapshot(project.root), len(project.server.requests)
    assert project.run("lock").err == "gpuenv.lock is up to date\n"
    assert len(project.server.requests) == asked
    nowhere = {"GPUENV_DEFAULT_INDEX": "http://127.0.0.1:1/simple/", "GPUENV_CACHE_DIR": str(project.base / "other")}
    assert project.run("lock", env=nowhere).err == "gpuenv.lock is up to date\n"
    assert snapshot(project.root) == before


def many(project: Project) -> None:
    """Several targets, extras, groups, two indexes and a chain of packages."""
    for name, requires in {"alpha": ["beta", "gamma[fast]"], "beta": [], "gamma": ["delta; extra == 'fast'"]}.items():
        project.offer(name, requires=requires, extras=["fast"] if name == "gamma" else [])
    for name in ("delta", "epsilon", "zeta"):
        project.offer(name)


ORDERED = (
    ["alpha", "zeta"],
    HERE + target("other", 'glibc = "2.35"') + target("third", 'glibc = "2.40"'),
    '[project.optional-dependencies]\nx = ["epsilon"]\ny = ["beta"]\n[dependency-groups]\ndev = ["zeta", "beta"]\n'
    '[tool.gpuenv.sources]\nbeta = { index = "one" }\nzeta = { index = "two" }\n',
)
SHUFFLED = (
    ["zeta", "alpha"],
    target("third", 'glibc = "2.40"') + HERE + target("other", 'glibc = "2.35"'),
    '[tool.gpuenv.sources]\nzeta = { index = "two" }\nbeta = { index = "one" }\n'
    '[dependency-groups]\ndev = ["beta", "zeta"]\n[project.optional-dependencies]\ny = ["beta"]\nx = ["epsilon"]\n',
)


def test_same_bytes_whatever_the_circumstances(project: Project) -> None:
    """Repetition, other folder, locale, time zone, cache, page style and order of the manifest change no byte."""
    many(project)
    indexes = "".join(
        f'[[tool.gpuenv.index]]\nname = "{n}"\nurl = "{project.server.url}"\nexplicit = true\n' for n in ("one", "two")
    )
    found = []

    def again(parts: tuple[list[str], str, str], **env: str) -> None:
        project.lock.unlink(missing_ok=True)
        dependencies, targets, more = parts
        project.write(dependencies, targets=targets, more=more + indexes)
        project.run("lock", env=env)
        found.append(project.lock.read_bytes())

    again(ORDERED)
    again(ORDERED, LC_ALL="C", TZ="Pacific/Kiritimati")
    again(SHUFFLED, GPUENV_CACHE_DIR=str(project.base / "cold"), PYTHONHASHSEED="7")
    project.server.style = "html"
    again(SHUFFLED, GPUENV_CACHE_DIR=str(project.base / "colder"), LANG="tr_TR.UTF-8", PYTHONHASHSEED="1")
    elsewhere = project.base / "some where"
    elsewhere.mkdir()
    (elsewhere / "pyproject.toml").write_bytes(project.manifest.read_bytes())
    project.run("--project", elsewhere, "lock", cwd=project.base)
    found.append((elsewhere / "gpuenv.lock").read_bytes())
    assert set(found) == {found[0]}
    assert b"[targets.third]" in found[0]


def test_order_of_indexes_is_part_of_the_question(project: Project) -> None:
    """Indexes are asked in their order, so a changed order makes the lock stale, and says so."""
    small(project)
    tables = [f'[[tool.gpuenv.index]]\nname = "{n}"\nurl = "{project.server.url}"\n' for n in ("one", "two")]
    project.write(["alpha"], more="".join(tables))
    project.run("lock")
    project.write(["alpha"], more="".join(reversed(tables)))
    assert "indexes: the order changed" in project.run("lock", "--check", rc=1).err


# whether it is fresh


def changed(project: Project, old: str, new: str) -> None:
    """Edit pyproject.toml."""
    text = project.manifest.read_text("utf-8")
    assert text.count(old) == 1
    project.manifest.write_text(text.replace(old, new), "utf-8")


STALE: dict[str, tuple[str, str, str]] = {
    "dependency added": ('  "alpha",\n', '  "alpha",\n  "Zeta>=1",\n', "dependencies: `zeta>=1` was added"),
    "dependency removed": ('  "alpha",\n', "", "dependencies: `alpha` was removed"),
    "dependency changed": ('"alpha"', '"alpha>1"', "dependencies: `alpha>1` was added"),
    "python changed": (f'python = "{PYTHON}"', 'python = "3.14"', f"targets.here.python changed from {PYTHON} to 3.14"),
    "glibc changed": ('glibc = "2.17"', 'glibc = "2.35"', "targets.here.glibc changed from 2.17 to 2.35"),
    "gpu set": ('glibc = "2.17"', 'glibc = "2.17"\ngpu = ["sm_90"]', "targets.here.gpu: `sm_90` was added"),
    "level set": ('glibc = "2.17"', 'glibc = "2.17"\ncuda = "13.0"', "targets.here.cuda is new"),
    "target renamed": ("targets.here]", "targets.there]", "targets.here is no longer in pyproject.toml"),
    "target added": ("# end", "[tool.gpuenv.targets.a]", "targets.a is new"),
    "requires-python": ('version = "0.1"', 'requires-python = ">=3.9"', "requires-python is new"),
    "index added": (
        "# end",
        '[[tool.gpuenv.index]]\nname = "amd"\nurl = "https://index.example/simple/"',
        "indexes: `amd` was added",
    ),
    "source added": (
        "# end",
        '[tool.gpuenv.sources]\nalpha = { url = "https://index.example/alpha-1.0-py3-none-any.whl" }',
        "sources: `alpha` was added",
    ),
    "exclude-newer": ("# end", '[tool.gpuenv]\nexclude-newer = "2026-11-01"', "exclude-newer is new"),
    "constraint": ("# end", '[tool.gpuenv]\nconstraints = ["beta<9"]', "constraints: `beta<9` was added"),
    "override": ("# end", '[tool.gpuenv]\noverrides = ["beta<9"]', "overrides: `beta<9` was added"),
    "group": ("# end", '[dependency-groups]\ndev = ["beta"]', "groups.dev: `beta` was added"),
    "extra": ("# end", '[project.optional-dependencies]\nfast = ["beta"]', "extras.fast: `beta` was added"),
    "only one target": (
        'glibc = "2.17"', 'glibc = "2.17"\ndependencies = ["beta"]', "target-dependencies.here: `beta` was added"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STALE)
def test_check_names_the_first_reason(case: str, project: Project) -> None:
    """After each kind of edit `--check` exits 1, names what changed first, and asks nobody."""
    small(project)
    project.write(["alpha"], more="# end\n")
    project.run("lock")
    asked = len(project.server.requests)
    old, new, reason = STALE[case]
    changed(project, old, new)
    before = project.lock.read_bytes()
    assert project.run("lock", "--check", rc=1).err == (
        f"error: gpuenv.lock does not answer pyproject.toml\n  cause: {reason}\nhint: run `gpuenv lock`\n"
    )
    assert project.run("lock", "--check", "--json", rc=1).json == {"fresh": False, "reason": reason}
    assert project.lock.read_bytes() == before
    assert len(project.server.requests) == asked


def test_check_of_a_fresh_lock(project: Project) -> None:
    """`--check` of an answered manifest exits 0; edits that change no input are none."""
    small(project)
    project.run("lock")
    changed(project, 'version = "0.1"', 'version = "0.2"\ndescription = "other"')
    assert project.run("lock", "--check").err == "gpuenv.lock answers pyproject.toml\n"
    assert project.run("lock", "--check", "--json").json == {"fresh": True, "reason": None}


def test_check_without_a_lock(project: Project) -> None:
    """No lock is stale, not broken."""
    project.write([])
    assert "cause: there is no gpuenv.lock" in project.run("lock", "--check", rc=1).err
    assert project.run("lock", "--check", "--json", rc=1).json == {"fresh": False, "reason": "there is no gpuenv.lock"}


def test_check_of_a_damaged_lock(project: Project) -> None:
    """A lock that cannot be read is an error of its own kind."""
    project.write([])
    project.lock.write_text("version = 1\n")
    assert project.run("lock", "--check", "--json", rc=2).json["error"]["kind"] == "lockfile"


# what it keeps


def test_pins_stay_until_an_upgrade(project: Project) -> None:
    """A newer release changes nothing, not even when something is added; `-P` frees one pin, `--upgrade` all."""
    small(project)
    project.offer("gamma")
    project.run("lock")
    for name in ("alpha", "beta"):
        project.offer(name, "3.0")
    project.server.cache_control = None
    project.write(["alpha", "gamma"])
    result = project.run("lock", "--refresh")
    assert result.err == "locked here: 3 packages\n + gamma==1.0\n"
    assert versions(project) == {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}
    result = project.run("lock", "-P", "Beta", "--refresh")
    assert result.err == "locked here: 3 packages\n ~ beta==2.0 -> 3.0\n"
    project.run("lock", "--upgrade", "--refresh")
    assert versions(project) == {"alpha": "3.0", "gamma": "1.0"}


def test_pins_give_way_to_what_is_required(project: Project) -> None:
    """A pin that a changed requirement forbids is replaced, the others stay."""
    small(project)
    project.offer("beta", "1.5")
    project.run("lock")
    project.offer("alpha", "2.0")
    project.write(["alpha", "beta<2"])
    project.run("lock", "--refresh")
    assert versions(project) == {"alpha": "1.0", "beta": "1.5"}


def test_refresh_believes_no_cached_page(project: Project) -> None:
    """A cached page hides a new release for as long as the server said; `--refresh` looks again."""
    small(project)
    project.run("lock")
    project.offer("beta", "3.0")
    project.run("lock", "--upgrade")
    assert versions(project)["beta"] == "2.0"
    project.run("lock", "--upgrade", "--refresh")
    assert versions(project)["beta"] == "3.0"


def test_dry_run_writes_nothing(project: Project) -> None:
    """`--dry-run` says what would change and leaves no file."""
    small(project)
    assert project.run("lock", "--dry-run").err == "would lock here: 2 packages\n + alpha==1.0\n + beta==2.0\n"
    assert [path.name for path in project.root.iterdir()] == ["pyproject.toml"]
    project.run("lock")
    before = project.lock.read_bytes()
    project.offer("beta", "3.0")
    document = project.run("lock", "--dry-run", "--upgrade", "--refresh", "--json").json
    assert document["changes"] == [{"target": "here", "package": "beta", "before": "2.0", "now": "3.0"}]
    assert document["changed"]
    assert project.lock.read_bytes() == before


def test_what_goes_is_said(project: Project) -> None:
    """Removed packages have a minus; what changes in every target alike stands once, else the targets are named."""
    small(project)
    project.offer("gamma")
    there = target("there", 'dependencies = ["gamma"]')
    project.write(["alpha"], targets=HERE + there)
    project.run("lock")
    project.offer("beta", "3.0")
    project.write(["beta"], targets=HERE + there.replace("gamma", "beta"))
    assert project.run("lock", "--upgrade", "--refresh").err == (
        "locked here: 1 package\nlocked there: 1 package\n - alpha==1.0\n ~ beta==2.0 -> 3.0\n - gamma==1.0  (there)\n"
    )


# locks that are not whole


def test_both_sides_of_a_merge_are_preferred(project: Project) -> None:
    """`lock` on conflict markers keeps what either side pinned, instead of taking the newest of everything."""
    small(project)
    project.offer("gamma")
    project.run("lock")
    ours = project.lock.read_text("utf-8")
    theirs = ours.replace("alpha-1.0", "gamma-1.0")
    for name in ("alpha", "beta", "gamma"):
        project.offer(name, "9.0")
    project.lock.write_text(f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> topic\n", "utf-8")
    project.write(["alpha", "gamma"])
    assert "conflict markers" in project.run("lock", "--check", rc=2).err
    project.run("lock", "--refresh")
    assert versions(project) == {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}


def test_newer_formats_are_left_alone(project: Project) -> None:
    """A lock of a newer gpuenv is refused by every way to lock, and keeps its bytes."""
    small(project)
    project.lock.write_text("version = 2\nwhatever = 1\n")
    for arguments in (["lock"], ["lock", "--upgrade"], ["lock", "--check"], ["sync"], ["sync", "--frozen"]):
        error = project.run(*arguments, rc=2).err
        assert error.startswith("error: gpuenv.lock has format 2; this gpuenv reads formats up to 1\nhint: upgrade")
    assert project.lock.read_text() == "version = 2\nwhatever = 1\n"


DAMAGES: dict[str, Callable[[str], str]] = {
    "half of it": lambda text: text[: len(text) // 2],
    "no TOML": lambda text: text + "= = =\n",
    "empty": lambda text: "",
    "other digest": lambda text: text.replace('environment = "sha256:', 'environment = "sha256:0'),
    "not UTF-8": lambda text: text.replace("alpha-1.0", "\udcff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_locks_are_made_again(damage: str, project: Project) -> None:
    """A lock that cannot be read is made anew, with the versions that its text still names."""
    small(project)
    project.run("lock")
    whole = project.lock.read_bytes()
    project.lock.write_text(DAMAGES[damage](whole.decode()), "utf-8", errors="surrogateescape")
    project.run("lock")
    assert project.lock.read_bytes() == whole


def test_a_failing_lock_leaves_the_old_one(project: Project) -> None:
    """No solution: exit 1, the chain and the fact, and the lock before keeps its bytes."""
    small(project)
    project.run("lock")
    before = project.lock.read_bytes()
    project.offer("beta", "0.5")
    project.write(["alpha", "beta<1"])
    assert project.run("lock", "--refresh", rc=1).err == (
        "error: no solution for target here\n"
        "  cause: train requires beta<1\n"
        "         train requires alpha\n"
        "         alpha 1.0 requires beta>=1\n"
        "         no version of beta satisfies all of these\n"
        "hint: change `beta<1` in pyproject.toml\n"
        'hint: if you know better, decide for all: overrides = ["beta==2.0"] in [tool.gpuenv]\n'
    )
    assert project.run("lock", "--json", rc=1).json["error"]["kind"] == "no-solution"
    assert project.lock.read_bytes() == before


def test_unknown_name(project: Project) -> None:
    """A name that no index knows is said as such."""
    project.write(["nowhere"])
    error = project.run("lock", rc=1).err
    assert error.startswith("error: no solution for target here\n  cause: train requires nowhere\n")
    assert "no configured index knows nowhere\nhint: check the spelling of `nowhere`" in error
    assert not project.lock.exists()


def test_server_failures_leave_the_old_lock(project: Project) -> None:
    """An index that cannot be reached is exit 2 with its address, and the lock before keeps its bytes."""
    small(project)
    project.run("lock")
    before = project.lock.read_bytes()
    nowhere = {"GPUENV_DEFAULT_INDEX": "http://127.0.0.1:1/simple/"}
    document = project.run("lock", "--upgrade", "--refresh", "--json", rc=2, env=nowhere).json
    assert document["error"]["kind"] == "network"
    assert "127.0.0.1:1" in document["error"]["message"]
    assert project.lock.read_bytes() == before


def test_manifest_errors_show_the_line(project: Project) -> None:
    """A typo under [tool.gpuenv] is exit 2 with key path, line and nearest key."""
    project.write([], more='[tool.gpuenv]\nexclude-newr = "7 days"\n')
    line = project.manifest.read_text().split("\n").index('exclude-newr = "7 days"') + 1
    assert project.run("lock", rc=2).err == (
        "error: tool.gpuenv.exclude-newr: unknown key\n"
        f'  cause: pyproject.toml:{line}: exclude-newr = "7 days"\n'
        "hint: did you mean `exclude-newer`?\n"
    )


# targets and time


def test_default_target(project: Project) -> None:
    """Without [tool.gpuenv] there is one target: linux-x86_64, glibc 2.28, the lowest Python admitted."""
    project.offer("alpha")
    project.manifest.write_text('[project]\nname = "train"\nrequires-python = ">=3.10"\ndependencies = ["alpha"]\n')
    project.run("lock")
    text = project.lock.read_text()
    assert '[targets.default]\nplatform = "linux-x86_64"\npython = "3.10"\nglibc = "2.28"\n' in text


def test_several_targets_share_versions(project: Project) -> None:
    """A version that one target cannot have is avoided there alone; elsewhere the newest is taken."""
    project.offer("alpha", "1.0")
    project.offer("alpha", "2.0", requires_python=">=3.12", said={"requires_python": ">=3.12"})
    project.offer("beta", requires=["gamma; python_version < '3.12'"])
    project.offer("gamma")
    targets = target("new", python="3.12") + target("old", python="3.10")
    project.write(["alpha", "beta"], targets=targets)
    project.run("lock")
    assert versions(project, "new") == {"alpha": "2.0", "beta": "1.0"}
    assert versions(project, "old") == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}


def test_dependencies_of_one_target(project: Project) -> None:
    """What stands in a target's own table is locked there and nowhere else."""
    small(project)
    project.offer("rocm-sdk")
    project.write(["alpha"], targets=HERE + target("amd", 'gpu = ["gfx942"]', 'dependencies = ["rocm-sdk"]'))
    project.run("lock")
    assert "rocm-sdk" in versions(project, "amd")
    assert "rocm-sdk" not in versions(project)


def test_exclude_newer_as_a_span_is_measured_once(project: Project) -> None:
    """A span is locked as an instant, stays while other things change, and moves with --upgrade."""
    now = datetime.datetime.now(datetime.UTC)
    for version, days in (("1.0", 30), ("2.0", 2)):
        uploaded = (now - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        project.offer("alpha", version, said={"uploaded": uploaded})
        project.offer("beta", version, said={"uploaded": uploaded})
    span = '[tool.gpuenv]\nexclude-newer = "7 days"\n'
    project.write(["alpha"], more=span)
    project.run("lock")
    first = decode(project.lock.read_text()).exclude_newer
    assert first
    assert first.endswith("Z")
    project.write(["alpha", "beta"], more=span)
    project.run("lock")
    assert versions(project) == {"alpha": "1.0", "beta": "1.0"}
    assert decode(project.lock.read_text()).exclude_newer == first
    time.sleep(1)  # instants are whole seconds
    project.run("lock", "--upgrade")
    assert str(decode(project.lock.read_text()).exclude_newer) > first


def test_exclude_newer_as_an_instant(project: Project) -> None:
    """Nothing uploaded later is looked at; what says no time is refused with the reason."""
    project.offer("alpha", "1.0", said={"uploaded": EARLY})
    project.offer("alpha", "2.0", said={"uploaded": LATE})
    project.write(["alpha"], more='[tool.gpuenv]\nexclude-newer = "2026-03-01T00:00:00Z"\n')
    project.run("lock")
    assert versions(project) == {"alpha": "1.0"}
    project.write(["alpha>1"], more='[tool.gpuenv]\nexclude-newer = "2026-03-01T00:00:00Z"\n')
    error = project.run("lock", rc=1).err
    assert "exclude-newer" in error
    assert "hint: move exclude-newer in [tool.gpuenv] to a later date" in error


def test_warnings_of_the_solve(project: Project) -> None:
    """A yanked pin is a warning on stderr, or in the document."""
    project.offer("alpha", said={"yanked": "broken"})
    project.write(["alpha==1.0"])
    assert "warning: " in project.run("lock").err
    project.lock.unlink()
    document = project.run("lock", "--json").json
    assert len(document["warnings"]) == 1
    assert "broken" in document["warnings"][0]
