"""Replica keys: what the replicas of one revision want to hear, so that only the way in can ask them.

They are derived from the server's key, so nothing is stored and any gateway of this control plane knows them.
"""

import hmac
from typing import Final

from controlplane.domain.ids import RevisionId

PREFIX: Final = "cdr_"


def replica_key(server_key: bytes, revision_id: RevisionId) -> str:
    return PREFIX + hmac.digest(server_key, f"replica {revision_id}".encode(), "sha256").hex()
