"""FileStore: objects as files below one folder.

A key is a path below the folder. Data arrives in `.incoming` and is renamed into place, so a reader sees a whole
object or none.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from controlplane.domain.errors import Invalid, NotFound, Transient
from controlplane.storage.base import check_key

INCOMING: Final = ".incoming"


class FileStore:
    """Shared by threads and processes. Raises `Transient` when the file system refuses."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        (self._root / INCOMING).mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: BinaryIO) -> int:
        path = self._path(key)
        try:
            return self._write(path, data)
        except OSError as error:
            raise Transient(f"cannot store {key}: {error.strerror}") from error

    def get(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"there is no object {key}") from error

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        # Whole keys are compared: folder by folder would put `a/b` before `a.b`.
        keys = (
            (Path(folder) / name).relative_to(self._root).as_posix()
            for folder, _, names in os.walk(self._root)
            for name in names
        )
        yield from sorted(
            key for key in keys if key.startswith(prefix) and not key.startswith(f"{INCOMING}/")
        )

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        parts = key.split("/")
        path = self._root.joinpath(*parts)
        # A link below the root might lead elsewhere.
        if parts[0] == INCOMING or not path.resolve().is_relative_to(self._root.resolve()):
            raise Invalid(f"{key!r} leaves the store", field="key", value=key)
        return path

    def _write(self, path: Path, data: BinaryIO) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._root / INCOMING, delete=False) as file:
            try:
                shutil.copyfileobj(data, file, 1024**2)
                file.flush()
                os.fsync(file.fileno())
                size_bytes = file.tell()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)
        return size_bytes


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
