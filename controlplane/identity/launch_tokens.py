"""Launch tokens: what lets the machines of one launch check in, and nothing else.

Derived like attempt tokens, so every call for one launch hands the same one to the cloud. They need no expiry of their
own: once the claim is over, whoever checks in is told to end.
"""

import hashlib
import hmac
from typing import Final

from controlplane.domain.ids import LaunchId

PREFIX: Final = "cdl_"


def launch_token(server_key: bytes, launch_id: LaunchId) -> str:
    return PREFIX + hmac.new(server_key, b"launch:" + launch_id.encode(), hashlib.sha256).hexdigest()


def opens(server_key: bytes, launch_id: LaunchId, token: str) -> bool:
    """Whether the token is the one of this launch, compared in constant time."""
    return hmac.compare_digest(launch_token(server_key, launch_id).encode(), token.encode())
