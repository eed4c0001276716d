"""Write a wheel (a ZIP file, PEP 427) of given files: the same files give the same bytes."""

import zipfile
from collections.abc import Iterable
from typing import IO

from gpuenv.archive.bundle import Content

__all__ = ["write_wheel"]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def write_wheel(file: IO[bytes], dist_info: str, files: Iterable[Content]) -> None:
    """Write the files to a seekable file, sorted by path, those of the folder `dist_info` behind all others.

    Times are those of no day in particular, modes 0644 or 0755. The bytes depend on the files and on the version of
    zlib. Raises ValueError for a file that is not as long as it says.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for content in sorted(files, key=lambda one: (one.path.startswith(f"{dist_info}/"), one.path)):
            info = zipfile.ZipInfo(content.path, _LONG_AGO)
            info.create_system = _UNIX
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if content.executable else 0o100644) << 16
            info.file_size = content.size  # what 4 GiB does not hold gets the fields of ZIP64
            done = 0
            with archive.open(info, "w") as out:
                for piece in content.chunks():
                    done += len(piece)
                    out.write(piece)
            if done != content.size:
                raise ValueError(f"{content.path} has {done} bytes instead of {content.size}")
