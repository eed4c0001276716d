"""Values as words: summaries of locks and syncs, and their documents."""

from pathlib import PurePosixPath

from gpuenv.model.answer import PassedOver, Refusal
from gpuenv.model.difference import Change
from gpuenv.model.lock import Lock, LockedArtifact, LockedPackage, LockedTarget
from gpuenv.model.plan import Installed, Plan
from gpuenv.model.target import Target
from gpuenv.report.difference import lock_summary, passed_over, sign
from gpuenv.report.document import lock_document, sync_document
from gpuenv.report.plan import sync_summary

WHEEL = LockedArtifact("a-1-py3-none-any.whl", "a", "1", None, "u", "f" * 64, 1)
OLDER = PassedOver("a", "1", (Refusal("3", "has no code"), Refusal("2", "is damaged")))
PACKAGES = {"a": LockedPackage("a", WHEEL.filename, (), {})}
LOCK = Lock(
    {},
    None,
    (),
    {WHEEL.filename: WHEEL},
    {"y": LockedTarget(Target("y"), {}, PACKAGES), "x": LockedTarget(Target("x"), {}, {})},
)


def test_lock_summary() -> None:
    """Targets sorted with their sizes; changes of all targets once, of some with their names."""
    changes = [Change("x", "a", "1", "2"), Change("y", "a", "1", "2"), Change("y", "b", "", "1")]
    assert lock_summary(LOCK, changes, dry_run=False) == (
        "locked x: 0 packages\nlocked y: 1 package\n ~ a==1 -> 2\n + b==1  (y)"
    )
    assert lock_summary(LOCK, [], dry_run=True) == "would lock x: 0 packages\nwould lock y: 1 package"
    assert lock_summary(LOCK, [], dry_run=False, saved={"y": 9_800_000_000}) == (
        "locked x: 0 packages\nlocked y: 1 package, 9.8 GB saved by default extras"
    )


def test_signs() -> None:
    """Added, removed, changed."""
    assert [sign("a", "", "1"), sign("a", "1", ""), sign("a", "1", "2")] == ["+ a==1", "- a==1", "~ a==1 -> 2"]


def test_sync_summary() -> None:
    """What came, went and changed; the same version with other bytes is a change too."""
    plan = Plan((WHEEL,), (Installed("a", "1", "f"),), (Installed("b", "2", "0"),), 0)
    assert sync_summary("x", 1, True, plan, dry_run=False) == (
        "synced .venv to target x: 1 package, 1 fetched\n + a==1\n - b==2"
    )
    assert sync_summary("x", 1, True, plan, dry_run=True).startswith("would sync .venv to target x: 1 package, 1 f")
    assert sync_summary("x", 2, False, None, dry_run=False) == ".venv is up to date with target x (2 packages)"


def test_passed_over() -> None:
    """A note names the newest version that was left, how many more, and the reason; targets share it."""
    one = PassedOver("b", "1", (Refusal("2", "has no code"),))
    assert list(passed_over({"y": [OLDER, one], "x": [OLDER]})) == [
        "a 1 for x, y, not 3 (nor 1 before it): it has no code",
        "b 1 for y, not 2: it has no code",
    ]


def test_documents() -> None:
    """Every field is there, empty or not; what was absent is null."""
    document = lock_document(LOCK, True, [Change("y", "a", "", "1")], ["w"], {"y": [OLDER]}, {"y": 9, "x": 8})
    environments = {name: LOCK.environment(one, one.packages.values()) for name, one in LOCK.targets.items()}
    assert document == {
        "changed": True,
        "targets": {
            "x": {"environment": environments["x"], "packages": {}},
            "y": {"environment": environments["y"], "packages": {"a": "1"}},
        },
        "changes": [{"target": "y", "package": "a", "before": None, "now": "1"}],
        "passed_over": [
            {
                "target": "y",
                "package": "a",
                "version": "1",
                "newer": [{"version": "3", "reason": "has no code"}, {"version": "2", "reason": "is damaged"}],
            }
        ],
        "saved": {"x": 8, "y": 9},
        "warnings": ["w"],
    }
    assert sync_document("x", "sha256:0", PurePosixPath("/v"), False, None, []) == {
        "target": "x",
        "environment": "sha256:0",
        "view": "/v",
        "changed": False,
        "fetched": 0,
        "installed": [],
        "removed": [],
        "warnings": [],
    }
