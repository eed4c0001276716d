"""`gpuenv target detect --plugins`: what variant providers of an index say becomes part of a target."""

import tomllib

import pytest

from tests.support.project import Project

PLUGIN = """
class Feature:
    def __init__(self, name, *values):
        self.name, self.values = name, list(values)
class Plugin:
    namespace = "{namespace}"
    @classmethod
    def get_supported_configs(cls):
        print("not an answer")
        return [{features}]
"""
ENV = {"GPUENV_OVERRIDE_GPU": "gfx942", "GPUENV_OVERRIDE_GLIBC": "2.31"}


def offer(project: Project, name: str, namespace: str, features: str) -> None:
    """A provider on the project's index that reports these features."""
    module = name.replace("-", "_")
    points = f"[variant_plugins]\n{namespace} = {module}:Plugin\n"
    files = {
        f"{module}.py": PLUGIN.format(namespace=namespace, features=features),
        f"{module}-1.0.dist-info/entry_points.txt": points,
    }
    project.offer(name, files=files)


@pytest.fixture
def providers(project: Project) -> Project:
    """An index with a provider of a vendor that gpuenv knows, one of another, and one that fails."""
    offer(project, "amd-provider", "amd", 'Feature("gfx_arch", "gfx942")')
    offer(project, "npu-provider", "npu", 'Feature("type", "910b", "910"), Feature("driver")')
    offer(project, "bad-provider", "bad", 'Feature("type", "A B")')
    return project


def test_properties_are_written_down(providers: Project) -> None:
    """What follows from the target is not repeated; the rest is in the table, which a manifest takes."""
    result = providers.run("target", "detect", "--plugins", "amd-provider", "--plugins", "npu-provider>=1", env=ENV)
    assert result.err == ""
    assert "\namd-provider says  amd :: gfx_arch :: gfx942\nnpu-provider says  npu :: type :: 910b, 910\n" in result.out
    table = result.out[result.out.index("[tool") :]
    assert tomllib.loads(table)["tool"]["gpuenv"]["targets"]["gfx942"]["properties"] == [
        "npu :: type :: 910b",
        "npu :: type :: 910",
    ]
    providers.write([], targets=table)
    shown = providers.run("target", "show", env=ENV).out
    assert "\nproperties    npu :: type :: 910b, npu :: type :: 910\n" in shown
    assert "\nsupports      amd :: gfx_arch :: gfx942\n" in shown
    document = providers.run("target", "show", "--json", env=ENV).json
    assert document["supports"][0]["gpu"] == "gfx942"
    assert document["supports"][0]["properties"]["npu"] == {"type": ["910b", "910"]}


def test_document(providers: Project) -> None:
    """--json has what each provider said; nothing stays of its environment, and the project has no lock of it."""
    found = providers.run("target", "detect", "--json", "--plugins", "amd-provider", env=ENV).json
    said = {"package": "amd-provider", "namespace": "amd", "properties": ["amd :: gfx_arch :: gfx942"]}
    assert found["plugins"] == [said]
    assert "properties" not in found["targets"][0]["toml"]
    assert not providers.store.exists()
    assert list(providers.root.iterdir()) == []


def test_indexes_of_the_project(providers: Project) -> None:
    """Providers come from the project's own indexes, too."""
    providers.wheel("npu-provider", "2.0", folder=providers.root / "wheels", files={"npu_provider.py": "Plugin = None"})
    providers.write([], more='[[tool.gpuenv.index]]\nname = "own"\npath = "wheels"\npackages = ["npu-*"]\n')
    error = providers.run("target", "detect", "--plugins", "npu-provider", env=ENV, rc=1).err
    assert "'npu_provider' has no attribute 'get_supported_configs'" in error


def test_a_provider_that_says_no_properties(providers: Project) -> None:
    """What is no property is an error of the provider, with the exit code 1."""
    error = providers.run("target", "detect", "--plugins", "bad-provider", env=ENV, rc=1).err
    assert error.startswith("error: the variant provider bad-provider does not tell what this machine supports\n")
    assert "bad :: type :: A B" in error


@pytest.mark.parametrize(
    ("arguments", "rc", "words"),
    [
        (["detect", "--plugins", "absent-provider"], 1, "absent-provider"),
        (["detect", "--plugins", "not a name"], 2, "`not a name` is not a requirement"),
        (["show", "--plugins", "amd-provider"], 2, "`--plugins` goes with `detect`"),
    ],
)
def test_wrong_usage(arguments: list[str], rc: int, words: str, providers: Project) -> None:
    """A provider that no index has, or that is none, is an error that names it."""
    assert words in providers.run("target", *arguments, env=ENV, rc=rc).err


def test_no_provider_runs_to_lock(providers: Project) -> None:
    """A project that requires a provider locks and syncs without running it."""
    offer(providers, "loud-provider", "loud", 'open("ran", "w")')
    providers.write(["loud-provider"])
    providers.run("lock")
    providers.run("sync")
    assert not list(providers.base.rglob("ran"))
