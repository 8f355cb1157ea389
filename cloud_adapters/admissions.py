"""Admissions: a way into a Kubernetes cluster that a cloud manages, which the cloud makes for a while.

A plugin of the Kubernetes plugin: an entry point of the group `crossdock.admissions` is a class that is made without
arguments and `Admits`. A cluster names it in its setting `credentials`; `credentials.*` is what it is told.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import entry_points
from typing import Final, Protocol, cast

from cloud_adapters.base import Rejected

GROUP: Final = "crossdock.admissions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    kubeconfig: str = field(repr=False)
    """With everything in it: server, CA, and a token or a client certificate."""

    until: datetime
    """In UTC. A new one is asked for before; none is taken back."""


class Admits(Protocol):
    """A cloud whose Kubernetes clusters are entered with credentials that end by themselves."""

    def admit(self, settings: Mapping[str, str], secret: str | None, *, deadline: float) -> Admission:
        """`secret` as the cloud's own adapter takes it; None: whatever the surroundings of the server grant.

        Raises `Rejected` naming a setting that will not do, `AuthFailed` without the right to the cluster, and
        `Transient` when it may help to ask again. `deadline` in seconds.
        """


def admitting(name: str) -> Admits:
    """Raises `Rejected` when nobody installed it."""
    for entry in entry_points(group=GROUP, name=name):
        return cast("Admits", entry.load()())
    known = ", ".join(sorted({entry.name for entry in entry_points(group=GROUP)}))
    raise Rejected(f"setting credentials must be one of {known}, not {name!r}")


def chosen(
    settings: Mapping[str, str], *, needed: Iterable[str], optional: Iterable[str] = ()
) -> Mapping[str, str]:
    """The settings, now that they are known to be whole. Raises `Rejected` for one that is missing or unknown."""
    if missing := sorted(set(needed) - settings.keys()):
        raise Rejected(f"setting credentials.{missing[0]} is missing")
    if unknown := sorted(settings.keys() - {*needed, *optional}):
        raise Rejected(f"there is no setting credentials.{unknown[0]} for these credentials")
    return settings


def kubeconfig_of(server: str, ca_pem: str, token: str) -> str:
    """JSON, which is YAML too."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode()}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "made",
            "contexts": [{"name": "made", "context": {"cluster": "made", "user": "made"}}],
            "clusters": [{"name": "made", "cluster": cluster}],
            "users": [{"name": "made", "user": {"token": token}}],
        }
    )
