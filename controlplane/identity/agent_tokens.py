"""Agent tokens: what lets the agent of one cluster connect, until they expire; and the password of its tunnel.

Both are derived from the server's key, so nothing is stored and any replica can check them. An agent gets new tokens
through its tunnel; detaching the cluster ends all of them.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

from controlplane.domain.ids import ClusterId

PREFIX: Final = "cdg_"


def agent_token(server_key: bytes, cluster_id: ClusterId, *, expires_at: datetime) -> str:
    said = f"{cluster_id}.{int(expires_at.timestamp())}"
    return f"{PREFIX}{said}.{_mac(server_key, f'agent:{said}')}"


def opened(server_key: bytes, token: str, *, now: datetime) -> ClusterId | None:
    """Whose agent this is; None for a token that is not ours or has expired. Compared in constant time."""
    said, _, mac = token.removeprefix(PREFIX).rpartition(".")
    if not hmac.compare_digest(mac.encode(), _mac(server_key, f"agent:{said}").encode()):
        return None
    cluster_id, _, expires = said.rpartition(".")
    return ClusterId(cluster_id) if now < datetime.fromtimestamp(int(expires), UTC) else None


def tunnel_password(server_key: bytes, cluster_id: str) -> str:
    """Of the proxy on loopback that leads to the cluster."""
    return _mac(server_key, f"tunnel:{cluster_id}")


def _mac(server_key: bytes, text: str) -> str:
    return hmac.new(server_key, text.encode(), hashlib.sha256).hexdigest()
