"""Working directories as archives: the same files give the same bytes, so they are uploaded once."""

import fnmatch
import hashlib
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from controlplane.sdk.errors import BadFolder
from controlplane.wire.jobspec import MAX_WORKING_DIR_BYTES

IGNORE_FILE: Final = ".crossdockignore"
"""One pattern per line, `#` begins a comment. `*.log` and `data` match names at any depth, `out/*.bin` and
`/data` match paths from the top; a pattern that matches a folder leaves out all of it."""

ALWAYS_LEFT_OUT: Final = (".git", "__pycache__", ".venv")
MAX_ENTRIES: Final = 100_000
MAX_UNPACKED_BYTES: Final = 4 * MAX_WORKING_DIR_BYTES
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
_PIECE_BYTES: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    name: str
    """In the archive: relative, with forward slashes."""

    path: Path
    size_bytes: int
    is_executable: bool


def pack(folder: Path, target: BinaryIO, *, limit_bytes: int = MAX_WORKING_DIR_BYTES) -> str:
    """Writes the zip and returns its digest, `sha256:<hex>`. Raises `BadFolder` before anything is sent."""
    found = entries(folder)
    total = sum(entry.size_bytes for entry in found)
    if total > MAX_UNPACKED_BYTES:
        largest = max(found, key=lambda entry: entry.size_bytes)
        raise BadFolder(
            f"{folder} holds {total} bytes, the limit is {MAX_UNPACKED_BYTES}; "
            f"the largest file is {largest.name} with {largest.size_bytes}; leave files out with {IGNORE_FILE}"
        )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in found:
            _add(archive, entry)
            if target.tell() > limit_bytes:
                raise BadFolder(
                    f"{folder} has more than {limit_bytes} bytes when zipped, the limit; "
                    f"leave files out with {IGNORE_FILE}"
                )
    return _digest(target)


def entries(folder: Path) -> list[Entry]:
    """What would be shipped, sorted by name. Empty folders are not."""
    if not folder.is_dir():
        raise BadFolder(f"{folder} is not a folder")
    root = folder.resolve()
    found: list[Entry] = []
    for entry in _walk(root, PurePosixPath(), root=root, patterns=_patterns(root), above=(root,)):
        found.append(entry)
        if len(found) > MAX_ENTRIES:
            raise BadFolder(f"{folder} holds more than {MAX_ENTRIES} files, the limit")
    return sorted(found, key=lambda entry: entry.name)


def _walk(
    folder: Path, name: PurePosixPath, *, root: Path, patterns: tuple[str, ...], above: tuple[Path, ...]
) -> Iterator[Entry]:
    """`above` are the folders on the way here: a link to one of them would never end."""
    for path in folder.iterdir():
        inner = name / path.name
        if _is_left_out(inner, patterns):
            continue
        real = _target(path, root=root)
        mode = real.stat().st_mode
        if stat.S_ISDIR(mode):
            if real in above:
                raise BadFolder(
                    f"{path} is a link to {real}, which holds it; remove it or name it in {IGNORE_FILE}"
                )
            yield from _walk(real, inner, root=root, patterns=patterns, above=(*above, real))
        elif stat.S_ISREG(mode):
            yield Entry(
                name=_encodable(inner),
                path=real,
                size_bytes=real.stat().st_size,
                is_executable=bool(mode & stat.S_IXUSR),
            )
        else:
            raise BadFolder(
                f"{path} is neither file nor folder (socket, pipe or device); name it in {IGNORE_FILE}"
            )


def _target(path: Path, *, root: Path) -> Path:
    """Links inside the folder are shipped as what they point to."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BadFolder(
            f"{path} is a link that leads nowhere; remove it or name it in {IGNORE_FILE}"
        ) from error
    if not real.is_relative_to(root):
        raise BadFolder(
            f"{path} is a link that leaves the folder, to {real}; copy the file or name it in {IGNORE_FILE}"
        )
    return real


def _encodable(name: PurePosixPath) -> str:
    text = str(name)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadFolder(
            f"{text!r} has a name that is not UTF-8; rename it or name it in {IGNORE_FILE}"
        ) from error
    return text


def _patterns(root: Path) -> tuple[str, ...]:
    try:
        lines = (root / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ALWAYS_LEFT_OUT
    except (OSError, UnicodeDecodeError) as error:
        raise BadFolder(f"{root / IGNORE_FILE} cannot be read: {error}") from error
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for pattern in wanted:
        if pattern.startswith("!"):
            raise BadFolder(
                f"{root / IGNORE_FILE}: {pattern!r} would take something back in; that is not supported"
            )
    return (*ALWAYS_LEFT_OUT, *wanted)


def _is_left_out(name: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        bare = pattern.rstrip("/")
        subject = str(name) if "/" in bare else name.name
        if fnmatch.fnmatchcase(subject, bare.removeprefix("/")):
            return True
    return False


def _add(archive: zipfile.ZipFile, entry: Entry) -> None:
    """No times, owners or odd modes: they differ between checkouts of the same files."""
    info = zipfile.ZipInfo(entry.name, date_time=_LONG_AGO)
    info.create_system = 3  # Unix, on every system: it decides how the next line is read
    info.external_attr = (stat.S_IFREG | (0o755 if entry.is_executable else 0o644)) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size = entry.size_bytes
    try:
        with entry.path.open("rb") as source, archive.open(info, "w") as packed:
            while piece := source.read(_PIECE_BYTES):
                packed.write(piece)
    except OSError as error:
        raise BadFolder(f"{entry.path} cannot be read: {error.strerror}; name it in {IGNORE_FILE}") from error


def _digest(archive: BinaryIO) -> str:
    archive.seek(0)
    digest = hashlib.sha256()
    while piece := archive.read(_PIECE_BYTES):
        digest.update(piece)
    archive.seek(0)
    return f"sha256:{digest.hexdigest()}"
