"""Which indexes a name is looked for in."""

import pytest

from gpuenv.manifest.decode import decode
from gpuenv.model.manifest import Index
from gpuenv.workflow.route import Routes

TEXT = """\
[project]
name = "train"
[tool.gpuenv.targets.mi300]
[tool.gpuenv.targets.cpu]
[[tool.gpuenv.index]]
name = "first"
url = "https://first.example/"
[[tool.gpuenv.index]]
name = "amd"
url = "https://amd.example/"
packages = ["torch*", "rocm*"]
targets = ["mi300"]
[[tool.gpuenv.index]]
name = "hidden"
url = "https://hidden.example/"
explicit = true
packages = ["secret"]
[tool.gpuenv.sources]
torchvision = [{ index = "hidden", target = "mi300" }, { index = "first" }]
wheel = { url = "https://x.example/wheel-1.0-py3-none-any.whl", target = "cpu" }
"""


@pytest.mark.parametrize(
    ("package", "target", "indexes"),
    [
        ("numpy", "cpu", ["first", "default"]),
        ("torch", "mi300", ["amd"]),
        ("torch", "cpu", ["first", "default"]),
        ("torchvision", "mi300", ["hidden"]),
        ("torchvision", "cpu", ["first"]),
        ("secret", "cpu", ["first", "default"]),
    ],
)
def test_routes(package: str, target: str, indexes: list[str]) -> None:
    """Sources first, then patterns, then every index that serves the target, in their order, the default last."""
    routes = Routes(decode(TEXT), Index("default", "https://default.example/", default=True))
    assert [index.name for index in routes.of(package, target)] == indexes


def test_urls_of_a_target() -> None:
    """A URL source counts for its target alone."""
    routes = Routes(decode(TEXT), Index("default", "https://default.example/", default=True))
    assert routes.urls("cpu") == {"wheel": "https://x.example/wheel-1.0-py3-none-any.whl"}
    assert routes.urls("mi300") == {}


def test_a_replaced_default_comes_last() -> None:
    """`default = true` takes the machine's default index out, wherever it is written."""
    table = '[[tool.gpuenv.index]]\nname = "corp"\nurl = "https://corp.example/"\ndefault = true\n'
    text = TEXT.replace('[[tool.gpuenv.index]]\nname = "first"', f'{table}[[tool.gpuenv.index]]\nname = "first"')
    routes = Routes(decode(text), Index("default", "https://default.example/", default=True))
    assert [index.name for index in routes.of("numpy", "cpu")] == ["first", "corp"]
    assert "default" not in routes.by_name
