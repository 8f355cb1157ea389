"""Serving packages: the archive that a replica starts in, of the user's code and the program that serves it."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from controlplane.domain.errors import Invalid, NotFound
from controlplane.operations.context import Context
from controlplane.operations.uploads import upload_key

PROGRAM: Final = "crossdock_serving"
"""Name of the program's package on the cluster."""

ENTRYPOINT: Final = f"exec python -m {PROGRAM}"
SERVING: Final = "serving.json"
"""Tells the program what to serve; a file, since it may be longer than variables may."""

LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


def pack(context: Context, working_dir: str | None, serving: Mapping[str, Any]) -> tuple[str, int]:  # JSON
    """Stores the archive, `serving` in it, and returns its digest and size. Raises `Invalid`.

    The same is the same archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        if working_dir is not None:
            _copy(context, working_dir, target)
        for name, content in _program():
            target.writestr(zipfile.ZipInfo(f"{PROGRAM}/{name}", LONG_AGO), content)
        told = json.dumps(serving, sort_keys=True)
        target.writestr(zipfile.ZipInfo(f"{PROGRAM}/{SERVING}", LONG_AGO), told)
    content = buffer.getvalue()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    # The bytes first: a row promises that they are there.
    context.objects.put(upload_key(digest), io.BytesIO(content))
    return digest, len(content)


def artifact_uris(package: bytes) -> tuple[str, ...]:
    """Where the model of a packed archive lies; none where no model is served."""
    model = _model(package) or {"artifacts": ()}
    return tuple(each["uri"] for each in model["artifacts"])


def model_version(package: bytes) -> str | None:
    """The number of the version that a packed archive serves."""
    model = _model(package)
    return None if model is None else str(model["version"])


def _model(package: bytes) -> dict[str, Any] | None:  # JSON
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        found: dict[str, Any] | None = json.loads(archive.read(f"{PROGRAM}/{SERVING}"))["model"]
    return found


def _copy(context: Context, working_dir: str, target: zipfile.ZipFile) -> None:
    """Entry by entry, with their attributes: links and rights stay what they are."""
    try:
        with context.objects.get(upload_key(working_dir)) as stored:
            content = stored.read()
    except NotFound as gone:
        raise Invalid(
            "was not uploaded to this server; POST the archive to /v1/uploads first",
            field="working_dir",
            value=working_dir,
        ) from gone
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        for entry in source.infolist():
            if entry.filename.split("/")[0] == PROGRAM:
                raise Invalid(
                    f"holds {PROGRAM}, which is the serving program's own name",
                    field="working_dir",
                    value=entry.filename,
                )
            target.writestr(entry, source.read(entry))


@cache
def _program() -> tuple[tuple[str, bytes], ...]:
    found = files("controlplane.recipes.serving").iterdir()
    return tuple(sorted((each.name, each.read_bytes()) for each in found if each.name.endswith(".py")))
