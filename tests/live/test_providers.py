"""Rows of the shipped table of providers against the newest wheels of the real index, read by parts."""

import asyncio
import re
from pathlib import Path

import pytest

from gpuenv.archive.tree import open_tree_from
from gpuenv.binaries.artifact import read_artifact
from gpuenv.index import IndexClient, default_index
from gpuenv.index.remote import open_remote
from gpuenv.model.distribution import Page, WheelFile
from gpuenv.model.providers import ProviderTable
from gpuenv.model.requirement import Requirement
from gpuenv.model.version import parse_specifier, parse_version
from gpuenv.workflow.published import shipped_providers

pytestmark = pytest.mark.live


def ask(name: str, folder: Path) -> tuple[Page | None, ProviderTable | None]:
    """The default index's page of a name, and what the index itself says of providers."""

    async def both() -> tuple[Page | None, ProviderTable | None]:
        async with IndexClient(cache_dir=folder, project_dir=folder) as client:
            return await client.page(name, default_index()), await client.provides(default_index())

    return asyncio.run(both())


def newest(provider: Requirement, folder: Path) -> WheelFile:
    """A wheel for Linux of the newest stable release that a provider allows."""
    page, _ = ask(provider.name, folder)
    allowed = parse_specifier(provider.specifier)
    for release in page.releases if page else ():
        wheels = [wheel for wheel in release.wheels if re.search(r"linux.*x86_64|x86_64.*linux", wheel.filename)]
        if wheels and allowed.contains(parse_version(release.version), prereleases=False):
            return wheels[0]
    pytest.fail(f"the index has no wheel of {provider}")


def holds(soname: str, runtime: tuple[str, int] | None, folder: Path) -> None:
    """The first provider's newest wheel has a library of this SONAME."""
    (provider, *_) = shipped_providers().of(soname, runtime)  # type: ignore[arg-type]
    wheel = newest(provider, folder)
    with open_tree_from(wheel.filename, open_remote(wheel.url)) as tree:
        facts = read_artifact(tree, None)
    assert soname in {found.soname for found in facts.objects}, wheel.filename


@pytest.mark.parametrize("soname", ["libcudart.so.13", "libnvJitLink.so.12", "libtbb.so.12", "librapids_logger.so"])
def test_smoke_providers(soname: str, live_cache: Path) -> None:
    """Small wheels that the table names carry what it says, also those released since."""
    holds(soname, None, live_cache)


@pytest.mark.parametrize(
    ("soname", "runtime"),
    [
        ("libcurand.so.10", ("nvidia", 12)),
        ("libcurand.so.10", ("nvidia", 13)),
        ("libcusparse.so.12", ("nvidia", 13)),
        ("libcutensor.so.2", ("nvidia", 13)),
        ("libcudnn.so.9", ("nvidia", 13)),
        ("libnvcomp.so.6", ("nvidia", 12)),
        ("libmpi.so.12", None),
        ("libmpi.so.40", None),
        ("libsycl.so.9", None),
        ("libmkl_rt.so.3", None),
        ("libkvikio.so", ("nvidia", 13)),
    ],
)
def test_providers(soname: str, runtime: tuple[str, int] | None, live_cache: Path) -> None:
    """The same for larger ones, and for those that depend on the major version of CUDA."""
    holds(soname, runtime, live_cache)


def test_smoke_default_index_says_nothing_of_providers(live_cache: Path) -> None:
    """The default index has no provides.json, and says so in a way that is understood."""
    page, table = ask("nvidia-nvjpeg", live_cache)
    assert page is not None
    assert table is None
