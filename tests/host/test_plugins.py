"""Variant providers are asked, and nothing that they do gets in the way."""

import os
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuenv.errors import PluginError
from gpuenv.host.plugins import Reported, ask_plugins

ENTRY = "[variant_plugins]\ndemo = demo_provider:Plugin\n"
FEATURE = """
class Feature:
    def __init__(self, name, *values):
        self.name, self.values, self.multi_value = name, list(values), True
"""
GOOD = (
    FEATURE
    + """
class Plugin:
    namespace = "demo"
    @classmethod
    def get_supported_configs(cls):
        print("found two")
        return [Feature("kind", "b.2", "a"), Feature("speed")]
"""
)

# writes into every pipe that the process has
SPOILER = """
        import os
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
                if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                    os.write(int(name), b"{")
"""

Ask = Callable[..., tuple[Reported, ...]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing in it."""
    place = tmp_path_factory.mktemp("plugins") / "venv"
    venv.create(place, symlinks=True)
    return place


@pytest.fixture
def ask(environment: Path, tmp_path: Path) -> Ask:
    """Put a provider called `demo-provider` into the environment, and ask it."""

    def asked(
        module: str, *, entry_points: str = ENTRY, patience: float = 30.0, **variables: str
    ) -> tuple[Reported, ...]:
        (site,) = environment.glob("lib/python*/site-packages")
        info = site / "demo_provider-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo-provider\nVersion: 1\n")
        (info / "entry_points.txt").write_text(entry_points)
        (site / "demo_provider.py").write_text(module)
        python = environment / "bin" / "python"
        return ask_plugins(python, "demo-provider", variables, folder=tmp_path, patience=patience)

    return asked


def test_what_a_plugin_says(ask: Ask) -> None:
    """Features and values in the plugin's order; what it prints is dropped."""
    assert ask(GOOD) == (Reported("demo-provider", "demo", (("kind", ("b.2", "a")), ("speed", ()))),)


def test_namespace_of_the_entry_point(ask: Ask) -> None:
    """A plugin without a namespace of its own has the name of its entry point, and each entry point is asked."""
    module = GOOD.replace('namespace = "demo"', "")
    points = f"{ENTRY}other = demo_provider:Plugin\n[console_scripts]\nx = demo_provider:x\n"
    assert [one.namespace for one in ask(module, entry_points=points)] == ["demo", "other"]


def test_module_as_plugin(ask: Ask) -> None:
    """Without entry points the module named like the distribution is the plugin."""
    module = FEATURE + "def get_supported_configs(): return [Feature('kind', 'a')]"
    assert ask(module, entry_points="") == (Reported("demo-provider", "demo_provider", (("kind", ("a",)),)),)


def test_first_protocol(ask: Ask) -> None:
    """Methods of instances are called, also those that want to know which properties the wheels have."""
    module = GOOD.replace("@classmethod", "").replace("(cls)", "(self, known_properties)")
    assert ask(module)[0].features[0] == ("kind", ("b.2", "a"))


def test_variables(ask: Ask) -> None:
    """Plugins see the variables given, such as those that name a GPU, and no others."""
    module = GOOD.replace("[Feature(", "[Feature('seen', *sorted(os.environ)), Feature(").replace(
        "class Plugin", "import os\nclass Plugin"
    )
    assert "DEMO_FORCE" in ask(module, DEMO_FORCE="1")[0].features[0][1]
    assert "HOME" not in ask(module)[0].features[0][1]


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("Plugin = None", "AttributeError: 'NoneType' object has no attribute 'get_supported_configs'"),
        (GOOD.replace('print("found two")', 'raise SystemExit("no")'), "SystemExit: no"),
        (GOOD.replace('print("found two")', "import os; os._exit(0)"), "it ended without an answer"),
        (GOOD.replace('print("found two")', "import os; os.kill(os.getpid(), 11)"), "it ended without an answer"),
        (GOOD.replace('print("found two")', SPOILER), "its answer is not one"),
        (GOOD.replace('"b.2", "a"', "1, 2"), "its answer is not one"),
        (GOOD.replace('"b.2", "a"', "object()"), "TypeError: Object of type object is not JSON serializable"),
        (GOOD.replace('"b.2", "a"', '*["v" * 99] * 20000'), "its answer is larger than 1 MiB"),
        (GOOD.replace('print("found two")', "raise ValueError('x\\n' * 5000)"), None),
    ],
)  # fmt: skip
def test_plugins_that_fail(module: str, why: str | None, ask: Ask) -> None:
    """Whatever a plugin does instead of answering is one clear error."""
    with pytest.raises(PluginError, match="variant provider demo-provider does not tell") as failure:
        ask(module)
    (cause,) = failure.value.causes
    assert why is None or cause == why
    assert len(cause) <= 500
    assert failure.value.hints


def test_a_plugin_that_hangs(ask: Ask, tmp_path: Path) -> None:
    """Time is limited, and what the plugin started ends with it."""
    told = tmp_path / "pid"
    lines = "import subprocess, time; child = subprocess.Popen(['sleep', '60'])"
    lines += f"; open({str(told)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    before = time.monotonic()
    with pytest.raises(PluginError) as failure:
        ask(GOOD.replace('print("found two")', lines), patience=4.0, PATH=os.defpath)
    assert failure.value.causes == ("it has not answered within 4 seconds",)
    assert time.monotonic() - before < 40
    status = Path("/proc", told.read_text(), "stat")
    while status.exists() and status.read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() - before < 50
        time.sleep(0.05)


def test_an_interpreter_that_does_not_start(tmp_path: Path) -> None:
    """An interpreter that is not there is an error, too."""
    with pytest.raises(PluginError) as failure:
        ask_plugins(tmp_path / "python", "demo-provider", {}, folder=tmp_path)
    assert failure.value.causes == (f"{tmp_path / 'python'} does not start: No such file or directory",)


def test_a_distribution_that_is_not_there(environment: Path, tmp_path: Path) -> None:
    """Nothing is imported for a distribution that the environment does not have."""
    with pytest.raises(PluginError, match="variant provider absent"):
        ask_plugins(Path(sys.executable), "absent", {}, folder=tmp_path)
