"""Progress bars on a terminal: one a running step, drawn only once the work has taken half a second."""

import threading
import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TransferSpeedColumn as _Speed
from rich.text import Text

__all__ = ["Bars"]

_PATIENCE = 0.5
_LABEL = 44


class Bars:
    """Draws `gpuenv.model.progress` with rich, on stderr; lines vanish when their steps end."""

    def __init__(self, console: Console | None = None, patience: float = _PATIENCE) -> None:
        self._lock = threading.Lock()
        self._patience = patience
        self._began = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        self._drawn = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Amount(),
            console=console or Console(stderr=True),
            transient=True,
        )

    def begin(self, label: str, total: int | None = None) -> None:
        """A step starts."""
        shown = label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
        with self._lock:
            self._tasks[label] = self._drawn.add_task(shown, total=total)

    def advance(self, label: str, amount: int = 1) -> None:
        """Some of it is done."""
        with self._lock:
            if label in self._tasks:
                self._drawn.advance(self._tasks[label], amount)
            if not self._drawn.live.is_started and time.monotonic() - self._began > self._patience:
                self._drawn.start()

    def end(self, label: str) -> None:
        """It is finished; with the last step the drawing stops."""
        with self._lock:
            if (task := self._tasks.pop(label, None)) is not None:
                self._drawn.remove_task(task)
            if not self._tasks and self._drawn.live.is_started:
                self._drawn.stop()


class _Amount(ProgressColumn):
    """Bytes and speed of a step that knows its total, else a plain count."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = DownloadColumn(binary_units=True)
        self._speed = _Speed()

    def render(self, task: Task) -> Text:
        """The text of one line."""
        if task.total is None:
            return Text(f"{int(task.completed)}")
        return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))
