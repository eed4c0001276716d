"""Commands that die at a named point, or live at another time: forks, as `tests.support.forks` makes them.

A request says besides: `base`, where points are told from; `points`, the file that they are told to; `kill`; `clock`.
A thousand kills take minutes so, not hours.
"""

import datetime
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from tests.faults.points import install
from tests.support.forks import ending, gpuenv_main, serve


def _move_clock(seconds: float) -> None:
    """Let this process believe that it is so much later."""

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls.fromtimestamp(time.time(), tz)

    real = time.time
    if seconds:
        time.time = lambda: real() + seconds
        datetime.datetime = Moved  # type: ignore[misc]


def _be(request: Mapping[str, Any]) -> NoReturn:
    """Be the command."""
    log = os.open(request["points"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    _move_clock(request["clock"])
    install(Path(request["base"]), log=log, kill=request["kill"])
    ending(gpuenv_main)


if __name__ == "__main__":
    serve(_be)
