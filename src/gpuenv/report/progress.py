"""Progress bars on a terminal: one a running step, drawn only once the work has taken half a second."""

import threading
import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

__all__ = ["Bars"]

_PATIENCE = 0.5


class Bars:
    """Draws `gpuenv.model.progress` with rich, on stderr; lines vanish when their steps end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        self._drawn = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def begin(self, label: str, total: int | None = None) -> None:
        """A step starts."""
        with self._lock:
            self._tasks[label] = self._drawn.add_task(label, total=total)

    def advance(self, label: str, amount: int = 1) -> None:
        """Some of it is done."""
        with self._lock:
            if label in self._tasks:
                self._drawn.advance(self._tasks[label], amount)
            if not self._drawn.live.is_started and time.monotonic() - self._began > _PATIENCE:
                self._drawn.start()

    def end(self, label: str) -> None:
        """It is finished; with the last step the drawing stops."""
        with self._lock:
            if (task := self._tasks.pop(label, None)) is not None:
                self._drawn.remove_task(task)
            if not self._tasks and self._drawn.live.is_started:
                self._drawn.stop()
