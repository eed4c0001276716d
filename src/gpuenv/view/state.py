"""Is a view still as it was made? A few hundred calls of lstat(2); no file is read.

Cheap to import and to ask: a sync with nothing to do asks, too.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["changed", "distributions", "lacking", "stamps"]


def lacking(view: Path, marker: Mapping[str, object]) -> str | None:
    """The first thing that a view needs and that is not there: its interpreter, or an object that its links lead to.

    marker: as `current` gives it for the view. Copies and hard links need no object.
    """
    if not os.path.exists(f"{view}/bin/python"):  # noqa: PTH110 - strings in this module: it is in a hurry
        return "bin/python leads nowhere"
    if marker.get("linked") is False:
        return None
    objects, elsewhere = marker.get("objects"), marker.get("elsewhere")
    places = elsewhere if isinstance(elsewhere, dict) else {}
    here = os.path.dirname(os.path.dirname(view))  # noqa: PTH120
    for key in objects if isinstance(objects, list) else ():
        try:
            os.lstat(places.get(key) or f"{here}/objects/{key}")
        except OSError:
            return f"the object {key} is gone"
    return None


def changed(view: Path, marker: Mapping[str, object]) -> str | None:
    """The first directory where somebody has added, replaced or removed something since the view was made.

    Looked at are those that every installer changes: site-packages, `bin` and each `dist-info`.
    """
    stamped = marker.get("stamps")
    for directory, time in stamped.items() if isinstance(stamped, dict) else ():
        try:
            if os.lstat(f"{view}/{directory}").st_mtime_ns != time:
                return str(directory)
        except OSError:
            return str(directory)
    return None


def distributions(view: Path, marker: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Name, normalised, and version of everything that is installed there now, by its `dist-info`."""
    from gpuenv.model.version import normal_name

    stamped = marker.get("stamps")
    sites = [path for path in stamped if path.endswith("/site-packages")] if isinstance(stamped, dict) else []
    for site in sites:
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(f"{view}/{site}")):  # noqa: PTH208
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if entry.endswith(".dist-info") and version:
                    yield normal_name(name), version


def stamps(view: Path, directories: Iterable[str]) -> dict[str, int]:
    """When entries of these directories of a view were last changed, in nanoseconds since 1970, for `changed`."""
    return {directory: os.lstat(f"{view}/{directory}").st_mtime_ns for directory in directories}
