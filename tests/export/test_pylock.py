"""A locked target as PEP 751 and as requirements: what is written, checked by the standard's own reader."""

import tomllib
from pathlib import PurePosixPath

import pytest
from packaging.pylock import Pylock, PylockSelectError
from packaging.tags import Tag

from gpuenv.errors import Inexpressible
from gpuenv.export.pylock import Placed, pylock, requirements
from gpuenv.model.lock import LockedArtifact
from gpuenv.model.target import Target

TARGET = Target("h100", platform="linux-x86_64", python="3.12", gpu=("sm_90",))
SHA = "0" * 64


def placed(filename: str, *, url: str | None = "https://index.example/", index: str | None = "ours") -> Placed:
    name, version = filename.split("-")[:2]
    where = f"{url}{filename.replace('+', '%2B')}" if url else filename
    artifact = LockedArtifact(filename, name.replace("_", "-"), version, index, where, SHA, 7)
    path = None if url else PurePosixPath("wheels", filename).as_posix()
    return Placed(artifact, where if url else None, path, "https://index.example/simple/" if index and url else None)


ROWS = (
    placed("torch-2.9+cu13-cp312-cp312-manylinux_2_28_x86_64.whl"),
    placed("a_b-1.0-1-py3-none-any.whl", url=None),
    placed("direct-1.0-py3-none-any.whl", index=None),
    placed("near-1.0-py3-none-any.whl", index=None, url=None),
)


def test_a_reader_of_the_standard_selects_just_these_wheels() -> None:
    """For the target's environment and tags every package has its wheel; for another Python or system there is none."""
    read = Pylock.from_dict(tomllib.loads(pylock(TARGET, ROWS)))
    tags = [Tag("cp312", "cp312", "manylinux_2_28_x86_64"), Tag("py3", "none", "any")]
    environment = dict(TARGET.marker_environment)
    chosen = {str(package.name): wheel for package, wheel in read.select(environment=environment, tags=tags)}  # type: ignore[arg-type]
    assert sorted(chosen) == ["a-b", "direct", "near", "torch"]
    torch, other = chosen["torch"], chosen["a-b"]
    assert (torch.filename, torch.hashes, torch.size) == (ROWS[0].artifact.filename, {"sha256": SHA}, 7)  # type: ignore[union-attr]
    assert (other.path, other.url) == ("wheels/a_b-1.0-1-py3-none-any.whl", None)  # type: ignore[union-attr]
    for change in ({"python_version": "3.11", "python_full_version": "3.11.4"}, {"sys_platform": "darwin"}):
        with pytest.raises(PylockSelectError):
            list(read.select(environment={**environment, **change}, tags=tags))  # type: ignore[arg-type]


def test_the_same_rows_give_the_same_text() -> None:
    """In any order; the index is named where it has a URL, and a folder's or a direct wheel's is not."""
    assert pylock(TARGET, ROWS) == pylock(TARGET, reversed(ROWS))
    indexes = [one.get("index") for one in tomllib.loads(pylock(TARGET, ROWS))["packages"]]
    assert indexes == [None, None, None, "https://index.example/simple/"]
    assert tomllib.loads(pylock(TARGET, []))["packages"] == []


def test_requirements_name_what_they_can() -> None:
    """Versions of indexes, URLs and paths of what comes from none."""
    lines = requirements(TARGET, ROWS).splitlines()
    assert [line.removesuffix(f" --hash=sha256:{SHA}") for line in lines[1:]] == [
        "a-b==1.0",
        "direct @ https://index.example/direct-1.0-py3-none-any.whl",
        "./wheels/near-1.0-py3-none-any.whl",
        "torch==2.9+cu13",
    ]


@pytest.mark.parametrize("write", [pylock, requirements])
def test_variants_and_bundles_are_refused_with_the_reason(write: object) -> None:
    """All that no other format can name is told at once, five by name."""
    wrong = [placed("demo-1.0-py3-none-any-rocm.whl"), placed("b-1.0-py3-none-any.whl.tar.zst")]
    with pytest.raises(Inexpressible) as caught:
        write(TARGET, [*ROWS, *wrong])  # type: ignore[operator]
    assert caught.value.causes == (
        "b-1.0-py3-none-any.whl.tar.zst is a bundle, and other installers take wheels alone",
        "demo-1.0-py3-none-any-rocm.whl is a wheel variant, and PEP 751 has no such file names",
    )
    with pytest.raises(Inexpressible) as caught:
        write(TARGET, [placed(f"demo{n}-1.0-py3-none-any-rocm.whl") for n in range(7)])  # type: ignore[operator]
    assert caught.value.causes[5:] == ("and 2 more",)
    assert caught.value.hints == ()
    with pytest.raises(Inexpressible) as caught:  # a wheel made of it would be a variant all the same
        write(TARGET, [placed("demo-1.0-py3-none-any-rocm.whl.tar.zst")])  # type: ignore[operator]
    assert caught.value.hints == ()


def test_what_the_standard_does_not_take_is_no_file() -> None:
    """A wheel whose name has another version than the lock says: publishers of GPU builds rename theirs."""
    row = placed("demo-1.0-py3-none-any.whl")
    artifact = LockedArtifact("demo-1.0-py3-none-any.whl", "other", "1.0", "ours", row.artifact.url, SHA, 7)
    with pytest.raises(Inexpressible, match=r"no pylock\.toml can say what target h100 has"):
        pylock(TARGET, [row._replace(artifact=artifact)])
