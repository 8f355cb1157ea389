"""Storage: checkpoints and results by URI, on whatever file system all nodes share."""

import hashlib
import os
import uuid
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem


def below(uri: str, name: str) -> str:
    """A name below a URI, whose options stay at the end: `s3://bucket/a?region=b` has `s3://bucket/a/name?region=b`."""
    place, mark, options = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def read(uri: str) -> bytes:
    files, path = FileSystem.from_uri(uri)
    with files.open_input_stream(path) as stream:
        content: bytes = stream.read()
    return content


def write(uri: str, content: bytes) -> None:
    """Whole or not at all where the file system is a local one; object stores are so by nature."""
    files, path = FileSystem.from_uri(uri)
    if not isinstance(files, LocalFileSystem):
        with files.open_output_stream(path) as stream:
            stream.write(content)
        return
    part = Path(f"{path}.{uuid.uuid4().hex}.part")  # of its own: the same file may be written twice at once
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    _flush(part)
    part.replace(path)
    _flush(part.parent)


def seal(uri: str) -> str:
    """Makes sure that what lies there survives a crash of its machine, and returns its SHA-256."""
    files, path = FileSystem.from_uri(uri)
    if isinstance(files, LocalFileSystem):
        for level in (Path(path), *Path(path).parents[:3]):
            _flush(level)
    return hashlib.sha256(read(uri)).hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
