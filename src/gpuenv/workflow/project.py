"""Where a project's files, store and cache are: the one place that joins paths, environment and manifest."""

import contextlib
import copy
import hashlib
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gpuenv import __version__
from gpuenv.errors import UsageError
from gpuenv.model.progress import Progress, Silent

if TYPE_CHECKING:
    from gpuenv.index import IndexClient
    from gpuenv.model.lock import Lock
    from gpuenv.model.manifest import Index, Manifest

__all__ = ["Project", "default_cache", "default_store", "find", "write_atomically"]

_RANDOM = re.compile(r"[0-9a-f]{12}")


class Project:
    """A project and the settings of one run.

    root: the folder that holds pyproject.toml. index_flags: indexes given by flags or variables, before the
    manifest's own. refresh: believe no cached page.
    """

    def __init__(
        self,
        root: Path,
        store: Path,
        cache: Path,
        environ: Mapping[str, str] = os.environ,
        *,
        offline: bool = False,
        refresh: bool = False,
        index_flags: tuple[str, ...] = (),
        default_index_flag: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.root = root
        self.store = store
        self.cache = cache
        self.environ = environ
        self.offline = offline
        self.refresh = refresh
        self.index_flags = index_flags
        self.default_index_flag = default_index_flag
        self.progress = progress or Silent()

    def afresh(self) -> "Project":
        """The same project with nothing decoded yet, for after an edit of its manifest."""
        again = copy.copy(self)
        again.__dict__.pop("manifest", None)
        return again

    @cached_property
    def bases(self) -> tuple[Path, ...]:
        """Stores of others below the own one, nearest first: those that GPUENV_BASE_STORES lists."""
        listed = self.environ.get("GPUENV_BASE_STORES")
        if not listed:
            return ()
        own = os.path.realpath(self.store)
        places = {Path(text).absolute(): None for text in listed.split(os.pathsep) if text}
        return tuple(place for place in places if os.path.realpath(place) != own)

    @property
    def manifest_path(self) -> Path:
        """pyproject.toml."""
        return self.root / "pyproject.toml"

    @property
    def lock_path(self) -> Path:
        """gpuenv.lock."""
        return self.root / "gpuenv.lock"

    @property
    def venv(self) -> Path:
        """.venv, the link to the present view."""
        return self.root / ".venv"

    def manifest_text(self) -> str:
        """The text of pyproject.toml."""
        try:
            return self.manifest_path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.manifest_path} is not UTF-8: {error.reason} at byte {error.start}") from error
        except OSError as error:
            raise UsageError(f"cannot read {self.manifest_path}: {error.strerror}") from error

    def lock_bytes(self) -> bytes | None:
        """The bytes of gpuenv.lock, None if there is none."""
        try:
            return self.lock_path.read_bytes()
        except FileNotFoundError:
            return None

    @cached_property
    def manifest(self) -> "Manifest":
        """The decoded manifest, indexes of flags and environment put first."""
        from dataclasses import replace  # dear to import, and what is known to be fresh is not decoded

        from gpuenv.manifest.decode import decode

        manifest = decode(self.manifest_text())
        return replace(manifest, indexes=(*self._flagged_indexes, *manifest.indexes))

    @cached_property
    def default_index(self) -> "Index":
        """The index that this machine, or the user's flag, calls the default."""
        from gpuenv.index import default_index
        from gpuenv.model.manifest import DEFAULT_INDEX, Index

        if self.default_index_flag:
            _, location = _named(self.default_index_flag)
            return Index(DEFAULT_INDEX, location, folder="://" not in location)
        return default_index(self.environ, self.root)

    @cached_property
    def _flagged_indexes(self) -> "tuple[Index, ...]":
        from gpuenv.model.manifest import Index

        texts = self.index_flags or tuple(
            (self.environ.get("GPUENV_INDEX") or self.environ.get("UV_INDEX") or "").split()
        )
        found = []
        for place, text in enumerate(texts):
            name, location = _named(text)
            found.append(Index(name.lower() or f"flag-{place + 1}", location, folder="://" not in location))
        return tuple(found)

    # what is known to be fresh

    def freshness_key(self, manifest: str, lock: bytes) -> str:
        """Names the question "does this lock answer this manifest?" by content, so that yes may be remembered."""
        flags = [*self.index_flags, self.environ.get("GPUENV_INDEX", ""), self.environ.get("UV_INDEX", "")]
        parts = [__version__, manifest, lock.decode("utf-8", "replace"), *flags]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def known_fresh(self, key: str) -> bool:
        """Was the question answered with yes before?"""
        try:
            return self._fresh_file.read_text("ascii") == key
        except (OSError, UnicodeDecodeError):
            return False

    def remember_fresh(self, key: str) -> None:
        """Remember that the answer is yes, in place of the project's last one; an unwritable cache forgets."""
        with contextlib.suppress(OSError):
            self._fresh_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._fresh_file, key.encode(), durable=False)

    @property
    def _fresh_file(self) -> Path:
        return self.cache / "fresh" / hashlib.sha256(os.fsencode(self.root)).hexdigest()

    def client(self) -> "IndexClient":
        """A new index client with this run's settings."""
        from gpuenv.index import IndexClient

        return IndexClient(
            cache_dir=self.cache,
            project_dir=self.root,
            offline=self.offline,
            refresh=self.refresh,
            environ=self.environ,
        )

    def decode_lock(self, data: bytes) -> "Lock":
        """The decoded lock."""
        from gpuenv.lock import decode

        return decode(data.decode("utf-8", "replace"))


def _named(text: str) -> tuple[str, str]:
    """`NAME=URL` in its two parts, as uv writes it; a name of "" where there is none."""
    name, equals, location = text.partition("=")
    return (name, location) if equals and name.replace("-", "").replace("_", "").isalnum() else ("", text)


def default_store() -> Path:
    """Where objects and views are kept unless the user says otherwise (XDG base directories)."""
    import platformdirs

    return platformdirs.user_data_path("gpuenv", appauthor=False) / "store"


def default_cache() -> Path:
    """Where index pages are kept unless the user says otherwise."""
    import platformdirs

    return platformdirs.user_cache_path("gpuenv", appauthor=False)


def find(start: Path, *, search: bool = True) -> Path:
    """The nearest folder upward from `start` that holds a pyproject.toml; only `start` itself without `search`."""
    for folder in (start, *start.parents) if search else (start,):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(
        f"no pyproject.toml in {start}" + (" or above" if search else ""),
        hints=["run `gpuenv init` to make one", "name the project's folder: gpuenv --project DIR …"],
    )


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file's contents in one step, keeping its mode: readers see the old bytes or the new ones.

    durable: also after a power cut. What killed writers left beside the file goes.
    """
    while not _replaced(path, data, durable):
        pass
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):  # noqa: PTH208 - names are enough
            if name.startswith(f".{path.name}.") and _RANDOM.fullmatch(name.rpartition(".")[2]):
                path.with_name(name).unlink(missing_ok=True)


def _replaced(path: Path, data: bytes, durable: bool) -> bool:
    """One try; False if another writer took the new file for a leftover."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        return False
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    return True
