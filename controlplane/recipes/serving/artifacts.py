"""Artifacts: the files of a model's version, copied here and compared with what was published."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from .surroundings import Artifact

PIECE_BYTES: Final = 1024**2
SILENCE_SECONDS: Final = 60.0
"""A server that says nothing for so long is away: the attempt fails, and another one asks again."""

log = logging.getLogger("crossdock_serving")


class WrongContent(Exception):
    """An artifact is not what was published."""


def fetch(artifacts: Sequence[Artifact], folder: Path) -> dict[str, Path]:
    """Path of each by its name. Raises `WrongContent`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for artifact in artifacts:
        target = folder / artifact.name
        digest = _copied(artifact, target)
        if digest != artifact.sha256:
            target.unlink()
            raise WrongContent(
                f"{artifact.name} at {artifact.uri} has sha256 {digest}, published was {artifact.sha256}"
            )
        found[artifact.name] = target
    return found


def _copied(artifact: Artifact, target: Path) -> str:
    """Returns the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with _source(artifact) as source, target.open("wb") as sink:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            sink.write(piece)
    return digest.hexdigest()


def _source(artifact: Artifact) -> Any:  # noqa: ANN401
    """By the link, or where that leads nowhere from here, with the machine's own keys."""
    if artifact.link is None:
        return _opened(artifact.uri)
    try:
        return _opened(artifact.link)
    except OSError as problem:
        log.warning("the link to %s does not open (%s); trying without", artifact.uri, problem)
        return _opened(artifact.uri)


# `Any`: the streams of three libraries, which all can `read` and end a `with`.
def _opened(uri: str) -> Any:  # noqa: ANN401
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).open("rb")
    if parts.scheme in ("http", "https"):
        return urlopen(uri, timeout=SILENCE_SECONDS)  # noqa: S310 - the scheme was looked at
    from pyarrow.fs import FileSystem

    files, path = FileSystem.from_uri(uri)
    return files.open_input_stream(path)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
