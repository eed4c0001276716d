"""Every story in fixtures/scenarios ends as it says."""

from pathlib import Path

import pytest

from gpuenv.model.answer import Conflict, Pin, Solution
from gpuenv.report.difference import passed_over
from tests.support.scenario import answers, printed, read_story

STORIES = sorted((Path(__file__).resolve().parents[2] / "fixtures" / "scenarios").glob("*.toml"))


def test_there_are_stories() -> None:
    """The folder is found where it should be."""
    assert len(STORIES) >= 195


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story_ends_as_told(path: Path) -> None:
    """Every target gets exactly the versions, warnings and notes that the file expects, or its error in full."""
    story = read_story(path)
    found = answers(story)
    conflict = next((answer for answer in found.values() if isinstance(answer, Conflict)), None)
    assert (conflict and (conflict.target, printed(conflict))) == story.error
    if conflict is None:
        solutions = [answer for answer in found.values() if isinstance(answer, Solution)]
        chosen = {
            name: {pin.name: pin.version for pin in s.pins.values()} for name, s in zip(found, solutions, strict=True)
        }
        assert chosen == story.expected
        for target, solution in zip(found, solutions, strict=True):
            askers: dict[str, Solution | Pin] = {story.manifest.name: solution, **solution.pins}
            bound = {name: {k: list(v) for k, v in a.libraries.items()} for name, a in askers.items()}
            asked = {name: [demand.soname for demand in a.host] for name, a in askers.items()}
            if target in story.libraries:
                assert {name: libraries for name, libraries in bound.items() if libraries} == story.libraries[target]
            if target in story.host:
                assert {name: sonames for name, sonames in asked.items() if sonames} == story.host[target]
        assert [warning for solution in solutions for warning in solution.warnings] == story.warnings
        older = {name: solution.passed_over for name, solution in zip(found, solutions, strict=True)}
        assert list(passed_over(older)) == story.notes
