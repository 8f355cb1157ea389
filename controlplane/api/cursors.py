"""Cursors: where the next page of a list begins, as a text that clients pass back and cannot alter unnoticed."""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Final

from controlplane.domain.errors import Invalid

MAC_CHARS: Final = 20

Place = tuple[str | int, ...]


class Cursors:
    """Signs places in lists with the server's key."""

    def __init__(self, server_key: bytes) -> None:
        self._key = hmac.new(server_key, b"cursors", hashlib.sha256).digest()

    def write(self, noun: str, place: Place) -> str:
        """`noun` says of which list: a cursor of another one is refused."""
        text = json.dumps(place, separators=(",", ":"))
        return f"{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}.{self._mac(noun, text)}"

    def read(self, noun: str, cursor: str | None) -> Place | None:
        """Raises `Invalid` for anything that `write` did not make."""
        if cursor is None:
            return None
        encoded, _, mac = cursor.partition(".")
        try:
            text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, ValueError) as error:
            raise _refused(cursor) from error
        if not hmac.compare_digest(self._mac(noun, text).encode(), mac.encode()):
            raise _refused(cursor)
        return tuple(json.loads(text))

    def _mac(self, noun: str, text: str) -> str:
        return hmac.new(self._key, f"{noun}\n{text}".encode(), hashlib.sha256).hexdigest()[:MAC_CHARS]


def _refused(cursor: str) -> Invalid:
    return Invalid("is no cursor that this server gave out for this list", field="after", value=cursor)
