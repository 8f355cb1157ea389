"""Archives: whether an uploaded zip may be unpacked without harm, found out without unpacking it."""

import stat
import zipfile
from typing import BinaryIO, Final, cast

from controlplane.domain.errors import Invalid

MAX_ENTRIES: Final = 100_000
LISTED_BYTES: Final = 200
"""Of the list of entries, for each that is allowed: the list is read whole before it can be counted."""

MAX_UNPACKED_TIMES: Final = 4
"""The sum of the unpacked sizes, as a multiple of the upload limit."""

MAX_NAME_CHARS: Final = 1024
MAX_TARGET_BYTES: Final = 4096
IS_ENCRYPTED: Final = 0x1


def check(file: BinaryIO, *, limit_bytes: int, max_entries: int = MAX_ENTRIES) -> None:
    """Raises `Invalid` naming the entry. `limit_bytes` is the one of the upload."""
    bounded = cast("BinaryIO", _Bounded(file, max_entries))
    try:
        with zipfile.ZipFile(bounded) as archive:
            if len(archive.infolist()) > max_entries:
                raise _too_many(f"{len(archive.infolist())} entries", max_entries)
            _check_entries(archive, limit_bytes * MAX_UNPACKED_TIMES)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError, OverflowError) as error:
        raise Invalid(f"is not a zip archive that can be read: {error}", field="body") from error


class _Bounded:
    """The file, refusing to be read in very large pieces: a list of millions of entries would fill the memory."""

    def __init__(self, file: BinaryIO, max_entries: int) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file = file
        self._max_entries = max_entries

    def read(self, size: int = -1) -> bytes:
        if size > self._max_entries * LISTED_BYTES:
            raise _too_many(f"a list of {size} bytes", self._max_entries)
        return self._file.read(size)


def _check_entries(archive: zipfile.ZipFile, unpacked_limit: int) -> None:
    entries = archive.infolist()
    links = {_parts(entry.filename) for entry in entries if _is_link(entry)}
    unpacked = 0
    for entry in entries:
        _check_entry(entry, links)
        if _is_link(entry):
            _check_target(archive, entry)
        unpacked += entry.file_size
        if unpacked > unpacked_limit:
            raise _bad(
                entry, f"unpacked, the archive holds more than {unpacked_limit} bytes", limit=unpacked_limit
            )


def _check_entry(entry: zipfile.ZipInfo, links: set[tuple[str, ...]]) -> None:
    name = entry.filename
    parts = _parts(name)
    if not parts or len(name) > MAX_NAME_CHARS or "\\" in name or "\0" in name:
        raise _bad(entry, "the name is empty, too long or has a character that no path may have")
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        raise _bad(entry, "the name leads out of the archive")
    if entry.flag_bits & IS_ENCRYPTED:
        raise _bad(entry, "is encrypted")
    if any(parts[:depth] in links for depth in range(1, len(parts))):
        raise _bad(entry, "lies behind a link")


def _check_target(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """A link may climb to the archive's top and no further, and climbs before it descends.

    Links lie in true folders only (`_check_entry`), so by induction a chain of links stays inside, too.
    """
    if entry.file_size > MAX_TARGET_BYTES:
        raise _bad(entry, "the link's target is too long", limit=MAX_TARGET_BYTES)
    target = archive.read(entry).decode("utf-8")
    parts = _parts(target)
    climbs = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    depth = len(_parts(entry.filename)) - 1
    if target.startswith("/") or climbs > depth or ".." in parts[climbs:] or "\\" in target:
        raise _bad(entry, f"the link to {target!r} leaves the archive")


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in {"", "."})


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _bad(entry: zipfile.ZipInfo, why: str, *, limit: int | None = None) -> Invalid:
    return Invalid(f"entry {entry.filename!r}: {why}", field="body", value=entry.filename, limit=limit)


def _too_many(found: str, limit: int) -> Invalid:
    return Invalid(f"the archive has {found}", field="body", value=found, limit=limit)
