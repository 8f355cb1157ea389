"""FileStore: objects as files below one folder.

A key is a path below the folder. Data arrives in `.incoming` and is renamed into place, so a reader sees a whole
object or none. Parts wait there too, in a folder per upload.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from controlplane.domain.errors import Conflict, Invalid, NotFound, Rejected, Transient
from controlplane.storage.base import (
    Limits,
    ObjectInfo,
    OpenUpload,
    Part,
    PartReceipt,
    UploadId,
    check_key,
    check_range,
)
from controlplane.storage.streams import pieces_of, window

INCOMING: Final = ".incoming"
UPLOAD: Final = "upload-"
UPLOAD_ID: Final = re.compile(rf"{UPLOAD}[a-z0-9_]+")
KEY_FILE: Final = "key"
PIECE_BYTES: Final = 1024**2
ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FileStore:
    """Shared by threads and processes. Raises `Transient` when the file system refuses."""

    limits = Limits(smallest_part_bytes=1, most_parts=10_000, crc64=None)

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._incoming = self._root / INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        path = self._path(key)
        with _refusals(f"cannot store {key}"):
            return self._write(path, [data], if_absent=if_absent)

    def get(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except ABSENT as error:
            raise NotFound(f"there is no object {key}") from error

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        check_range(offset, length)
        file = self.get(key)
        # The open file stays the version that it is, whatever is renamed over it meanwhile.
        if if_match is not None and _etag(os.fstat(file.fileno())) != if_match:
            file.close()
            raise Conflict(f"{key} is no longer {if_match}")
        file.seek(offset)
        return window(file, length)

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"there is no object {key}")
        return _info(key, path)

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

    def entries(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        for key in self.list(prefix):
            if key > after:
                try:
                    yield _info(key, self._root / key)
                except FileNotFoundError:
                    continue  # deleted since it was listed

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def begin_parts(self, key: str) -> UploadId:
        self._path(key)
        with _refusals(f"cannot begin an upload of {key}"):
            folder = Path(tempfile.mkdtemp(prefix=UPLOAD, dir=self._incoming))
            (folder / KEY_FILE).write_text(key, encoding="utf-8")
        return UploadId(folder.name)

    def put_part(self, key: str, upload_id: UploadId, part: Part) -> PartReceipt:
        folder = self._upload(key, upload_id)
        md5 = hashlib.md5(usedforsecurity=False)
        part.data.seek(0)
        with _refusals(f"cannot store part {part.number} of {key}"), _scratch(folder) as file:
            for piece in pieces_of(part.data, part.size_bytes):
                md5.update(piece)
                file.write(piece)
            if md5.digest() != part.md5:
                raise Transient(f"part {part.number} of {key} arrived changed")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(folder / f"{part.number:05d}.{md5.hexdigest()}")
            for older in folder.glob(f"{part.number:05d}.*"):
                if not older.name.endswith(md5.hexdigest()):
                    older.unlink()
        return PartReceipt(number=part.number, size_bytes=part.size_bytes, etag=md5.hexdigest())

    def list_parts(self, key: str, upload_id: UploadId) -> Sequence[PartReceipt]:
        folder = self._upload(key, upload_id)
        return tuple(
            PartReceipt(
                number=int(path.name.partition(".")[0]),
                size_bytes=path.stat().st_size,
                etag=path.name.partition(".")[2],
            )
            for path in sorted(folder.glob("[0-9]*.*"))
        )

    def complete_parts(
        self, key: str, upload_id: UploadId, parts: Sequence[PartReceipt], *, if_absent: bool = False
    ) -> ObjectInfo:
        folder = self._upload(key, upload_id)
        held = {receipt.number: receipt for receipt in self.list_parts(key, upload_id)}
        if not parts or any(held.get(part.number) != part for part in parts):
            raise Rejected(f"the parts of {key} are not those that were sent")
        files = [folder / f"{part.number:05d}.{part.etag}" for part in parts]
        path = self._path(key)
        with _refusals(f"cannot store {key}"):
            self._write(path, _opened(files), if_absent=if_absent)
        shutil.rmtree(folder, ignore_errors=True)
        return _info(key, path)

    def abort_parts(self, key: str, upload_id: UploadId) -> None:
        try:
            shutil.rmtree(self._upload(key, upload_id))
        except (NotFound, FileNotFoundError):
            return

    def list_uploads(self, prefix: str) -> Iterator[OpenUpload]:
        for folder in sorted(self._incoming.glob(f"{UPLOAD}*")):
            try:
                key = (folder / KEY_FILE).read_text(encoding="utf-8")
                begun_at = datetime.fromtimestamp((folder / KEY_FILE).stat().st_mtime, UTC)
            except ABSENT:
                continue
            if key.startswith(prefix):
                yield OpenUpload(key=key, upload_id=UploadId(folder.name), begun_at=begun_at)

    def _path(self, key: str) -> Path:
        check_key(key)
        parts = key.split("/")
        path = self._root.joinpath(*parts)
        # A link below the root might lead elsewhere.
        if parts[0] == INCOMING or not path.resolve().is_relative_to(self._root.resolve()):
            raise Invalid(f"{key!r} leaves the store", field="key", value=key)
        return path

    def _upload(self, key: str, upload_id: UploadId) -> Path:
        folder = self._incoming / upload_id
        try:
            if UPLOAD_ID.fullmatch(upload_id) and (folder / KEY_FILE).read_text(encoding="utf-8") == key:
                return folder
        except ABSENT as error:
            raise NotFound(f"there is no upload {upload_id} of {key}") from error
        raise NotFound(f"there is no upload {upload_id} of {key}")

    def _write(self, path: Path, sources: Iterable[BinaryIO], *, if_absent: bool) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(self._incoming) as file:
            for source in sources:
                shutil.copyfileobj(source, file, PIECE_BYTES)
            file.flush()
            os.fsync(file.fileno())
            size_bytes = file.tell()
            if if_absent:
                _link(file.name, path)
            else:
                Path(file.name).replace(path)
        _sync_folder(path.parent)
        return size_bytes


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Transient(f"{what}: {error.strerror}") from error


@contextmanager
def _scratch(folder: Path) -> Iterator[BinaryIO]:
    """A file that is gone afterwards, unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            yield cast("BinaryIO", file)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _link(source: str, path: Path) -> None:
    """Unlike a rename, a link never replaces: the first of two writers wins."""
    try:
        os.link(source, path)
    except FileExistsError as error:
        raise Conflict(f"{path.name} exists") from error


def _info(key: str, path: Path) -> ObjectInfo:
    stat = path.stat()
    return ObjectInfo(
        key=key,
        size_bytes=stat.st_size,
        etag=_etag(stat),
        modified_at=datetime.fromtimestamp(stat.st_mtime, UTC),
    )


def _etag(stat: os.stat_result) -> str:
    """A new version is a new file."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _opened(files: Sequence[Path]) -> Iterator[BinaryIO]:
    for path in files:
        with path.open("rb") as file:
            yield file


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
