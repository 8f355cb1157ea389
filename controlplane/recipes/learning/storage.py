"""Storage: checkpoints and results by URI, on whatever file system or object store all nodes reach."""

import hashlib
import os
import uuid
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem


def below(uri: str, name: str) -> str:
    """A name below a URI, whose options stay at the end: `s3://bucket/a?region=b` has `s3://bucket/a/name?region=b`."""
    place, mark, options = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def read(uri: str) -> bytes:
    """Raises FileNotFoundError."""
    if is_oss(uri):
        from . import oss  # whose SDK takes seconds to import

        return oss.read(uri)
    files, path = FileSystem.from_uri(uri)
    with files.open_input_stream(path) as stream:
        content: bytes = stream.read()
    return content


def exists(uri: str) -> bool:
    if is_oss(uri):
        from . import oss

        return oss.exists(uri)
    files, path = FileSystem.from_uri(uri)
    return bool(files.get_file_info(path).type is not FileType.NotFound)


def write(uri: str, content: bytes) -> None:
    """Whole or not at all where the file system is a local one; object stores are so by nature."""
    if is_oss(uri):
        from . import oss

        return oss.write(uri, content)
    files, path = FileSystem.from_uri(uri)
    if isinstance(files, LocalFileSystem):
        return _write_file(Path(path), content)
    with files.open_output_stream(path) as stream:
        stream.write(content)
    return None


def listed(uri: str) -> list[str]:
    """All files below a folder, however deep, by paths that end as their URIs do; none where it is absent."""
    if is_oss(uri):
        from . import oss

        return oss.below(uri)
    files, path = FileSystem.from_uri(uri)
    found = files.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(entry.path for entry in found if entry.is_file)


def seal(uri: str) -> str:
    """Makes sure that what lies there survives a crash of its machine, and returns its SHA-256."""
    if not is_oss(uri):
        files, path = FileSystem.from_uri(uri)
        if isinstance(files, LocalFileSystem):
            for level in (Path(path), *Path(path).parents[:3]):
                _flush(level)
    return hashlib.sha256(read(uri)).hexdigest()


def is_oss(uri: str) -> bool:
    """Which pyarrow does not know."""
    return uri.startswith("oss://")


def _write_file(path: Path, content: bytes) -> None:
    part = Path(f"{path}.{uuid.uuid4().hex}.part")  # of its own: the same file may be written twice at once
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    _flush(part)
    part.replace(path)
    _flush(part.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
