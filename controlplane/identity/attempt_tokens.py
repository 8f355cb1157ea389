"""Attempt tokens: what lets the wrapper of one attempt push its records, and nothing else.

They are derived from the server's key, so nothing is stored and any replica can check them. They need no expiry of
their own: once the attempt has ended, its records are refused.
"""

import hmac
from typing import Final

from controlplane.domain.ids import AttemptId

PREFIX: Final = "cda_"


def attempt_token(server_key: bytes, attempt_id: AttemptId) -> str:
    return PREFIX + hmac.digest(server_key, attempt_id.encode(), "sha256").hex()


def opens(server_key: bytes, attempt_id: AttemptId, token: str) -> bool:
    """Whether the token is the one of this attempt, compared in constant time."""
    return hmac.compare_digest(attempt_token(server_key, attempt_id).encode(), token.encode())
