"""The master key: 32 random bytes that open every stored secret. Lose it, and they are lost."""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from controlplane.domain.errors import Invalid

VARIABLE: Final = "CROSSDOCK_MASTER_KEY"
FILE: Final = "master.key"
KEY_BYTES: Final = 32
OTHERS: Final = 0o077


def create(home: Path) -> Path:
    """Writes a new key, readable by its owner alone. An existing file stays as it is."""
    path = home / FILE
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(opened, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def read(home: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """The environment wins over the file. Raises `Invalid` when there is no key or others may read it."""
    if VARIABLE in environment:
        return _decode(environment[VARIABLE], VARIABLE)
    path = home / FILE
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"no master key: {error}; `crossdock server init` makes one", field=VARIABLE) from error
    if mode & OTHERS:
        raise Invalid(
            f"{path} may be read by others; chmod it to 600", field=str(path), value=oct(mode), limit="0o600"
        )
    return _decode(text, str(path))


def _decode(text: str, where: str) -> bytes:
    """The key itself never enters a message."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error as error:
        raise Invalid(f"{where} is not base64", field=where) from error
    if len(key) != KEY_BYTES:
        raise Invalid(f"{where} holds {len(key)} bytes, needs {KEY_BYTES}", field=where, limit=KEY_BYTES)
    return key
