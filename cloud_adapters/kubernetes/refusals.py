"""Refusals: what an API server's answer other than success means. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)

THROTTLED_SECONDS: Final = 1.0
"""When the answer does not say how long."""

RBAC: Final = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<what>[^"]+)"(?: in API group "(?P<group>[^"]*)")?'
)
NAMESPACE: Final = re.compile(r'in the namespace "(?P<namespace>[^"]+)"')


class MissingRight(AuthFailed):
    """The API server knows us, and does not let us do this."""


class Absent(Rejected):
    """There is no such object."""


class Unknown(Transient):
    """A 404 in other words than Kubernetes': of a proxy, or of an API server that does not know the kind.

    It proves nothing about any object.
    """


class Exists(Rejected):
    """There is one of this name already."""


class Expired(Transient):
    """The API server does not remember so far back; list again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked, as people name it."""

    verb: str
    what: str
    """Plural, with its subresource: `pods`, `services/proxy`."""

    namespace: str | None = None
    name: str | None = None
    writes: bool = False

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.what}{f' {self.name}' if self.name else ''}{where}"


def lost(call: Call, why: str) -> PluginError:
    """No answer, though the request may have arrived."""
    kind = Ambiguous if call.writes else Transient
    return kind(f"{call}: {why}")


def refusal(call: Call, code: int, body: bytes, headers: Mapping[str, str]) -> PluginError:
    """The error table. A 5xx to a write may come after the deed."""
    reason, said = _said(body)
    message = f"{call}: {code} {said or reason}".strip()
    match code:
        case 401:
            return AuthFailed(f"{call}: the API server refused our credentials")
        case 403:
            return _forbidden(call, said, message)
        case 404:
            return Absent(message) if reason == "NotFound" else Unknown(message)
        case 409:
            return Exists(message) if reason == "AlreadyExists" else Transient(message)
        case 410:
            return Expired(message)
        case 429:
            return Throttled(message, retry_after_seconds=_retry_after_seconds(headers))
        case _ if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Ambiguous(message) if call.writes else Transient(message)
        case _:
            return Rejected(message)


def missing_right(verb: str, what: str, group: str, namespace: str | None) -> str:
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    return f"may not {verb} {what}{f'.{group}' if group else ''} {where}"


def _forbidden(call: Call, said: str, message: str) -> PluginError:
    """403 is the answer to a missing right, to a full quota, and to an admission rule that was broken."""
    right = RBAC.search(said)
    if right is not None:
        within = NAMESPACE.search(said)
        return MissingRight(
            missing_right(
                right["verb"], right["what"], right["group"] or "", within["namespace"] if within else None
            )
        )
    if "exceeded quota" in said:
        return QuotaExceeded(message)
    if call.writes:
        return Rejected(message)
    return MissingRight(f"may not {call}: {said}")


def _said(body: bytes) -> tuple[str, str]:
    """Reason and message of the Status object; a proxy in between answers with something else."""
    try:
        told = json.loads(body)
        reason, said = str(told.get("reason", "")), str(told.get("message", ""))
    except (ValueError, AttributeError):
        return "", body[:200].decode(errors="replace").strip()
    return (reason if told.get("kind") == "Status" else ""), said


def _retry_after_seconds(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):
        return THROTTLED_SECONDS
