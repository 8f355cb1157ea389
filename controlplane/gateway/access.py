"""The access log: one line for each request, with who asked, what answered and how long it took."""

import logging
from dataclasses import dataclass
from typing import Final

from controlplane.gateway.calls import Call

GONE: Final = 499
"""The caller went away before there was an answer, or all of it."""

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Entry:
    """Grows while the request is answered; written once at its end."""

    request_id: str
    method: str
    path: str
    """Without its query, which may hold what nobody should read."""

    began_at: float
    status: int = 0
    """Of HTTP, whatever it came over."""

    code: str | None = None
    """Of the gateway's own refusal."""

    call: Call | None = None
    sent_bytes: int = 0
    received_bytes: int = 0

    def write(self, now: float) -> None:
        call = self.call
        fields: dict[str, object] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "code": self.status,
            "problem": self.code,
            "took_ms": round(1000 * (now - self.began_at), 2),
            "received_bytes": self.received_bytes,
            "sent_bytes": self.sent_bytes,
        }
        if call is not None:
            fields |= {
                "service": call.desk.name,
                "revision": call.revision,
                "caller": call.caller,
                "tries": call.tries,
                "waited_ms": round(1000 * call.waited_seconds, 2),
            }
        log.info("request.served", extra=fields)
