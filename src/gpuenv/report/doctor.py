"""A diagnosis in words and as a document."""

from collections.abc import Iterator

from gpuenv.model.diagnosis import SECTIONS, Check, Diagnosis
from gpuenv.report.difference import count

__all__ = ["doctor_document", "doctor_page"]

_TITLES = {
    "machine": "machine",
    "host": "libraries of the machine",
    "store": "store",
    "view": "environment",
    "binding": "libraries of each other",
}
_VERDICTS = {True: "ok", False: "NOT MET"}


def doctor_page(diagnosis: Diagnosis) -> str:
    """Section by section, each line met or not, with who asks for what is not met."""
    lines = [f"target {diagnosis.target}"]
    for section in SECTIONS:
        checks = [check for check in diagnosis.checks if check.section == section]
        if checks:
            lines += ["", _TITLES[section], *_rows(checks)]
    lines += ["", "binaries", *_binaries(diagnosis)]
    return "\n".join(lines)


def doctor_document(diagnosis: Diagnosis) -> dict[str, object]:
    """The document of `doctor --json`."""
    return {
        "target": diagnosis.target,
        "fits": diagnosis.fits,
        "checks": [check._asdict() for check in diagnosis.checks],
        "load": {
            "opened": diagnosis.opened,
            "failed": [failure._asdict() for failure in diagnosis.unopened],
            "unjudged": [failure._asdict() for failure in diagnosis.unjudged],
        },
    }


def _rows(checks: list[Check]) -> Iterator[str]:
    verdicts = max(len(_VERDICTS[check.met]) for check in checks)
    whats = max(len(check.what) for check in checks)
    for check in checks:
        by = f", for {check.demanded_by}" if check.demanded_by and not check.met else ""
        yield f"  {_VERDICTS[check.met]:{verdicts}}  {check.what:{whats}}  {check.detail}{by}".rstrip()


def _binaries(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.environment:
        yield "  there is no .venv for this target yet: `gpuenv sync` makes it"
        return
    packages = len({failure.package for failure in diagnosis.unopened})
    if diagnosis.opened or not packages:
        yield f"  ok       {diagnosis.opened} opened"
    if packages:
        binaries = "1 binary" if len(diagnosis.unopened) == 1 else f"{len(diagnosis.unopened)} binaries"
        yield f"  NOT MET  {binaries} of {count(packages)} cannot be opened"
    if diagnosis.unjudged:
        yield f"           {len(diagnosis.unjudged)} more cannot be judged alone: others bring their symbols"
    for failure in diagnosis.unopened:
        yield f"           {failure.package}: {failure.path}"
        yield f"             {failure.problem}"
