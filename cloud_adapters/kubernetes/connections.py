"""Connections: one site for each cluster that is asked for, opened with its kubeconfig or by a cloud's admission."""

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from cloud_adapters.admissions import Admits
from cloud_adapters.base import ClusterRef, Transient
from cloud_adapters.kubernetes.kubeconfig import Access, Permissions, access_of
from cloud_adapters.kubernetes.settings import Settings, settings_of
from cloud_adapters.kubernetes.watching import IDLE_SECONDS

if TYPE_CHECKING:
    from cloud_adapters.kubernetes.sites import Site

EARLY: Final = timedelta(minutes=3)
"""So long before credentials end there are new ones: a call that is under way must not outlive its own."""

Key: TypeAlias = tuple[object, ...]


@dataclass(slots=True, kw_only=True)
class _Kept:
    key: Key
    site: "Site"
    used_at: float
    until: datetime | None
    """When its credentials end; None: when somebody registers others."""

    def ends_within(self, time: timedelta) -> bool:
        return self.until is not None and datetime.now(UTC) > self.until - time


class Connections:
    """Safe for threads. Drops what nobody asks for any more, and what another secret or setting has replaced."""

    def __init__(self, permissions: Permissions, admitting: Callable[[str], Admits]) -> None:
        self._permissions = permissions
        self._admitting = admitting
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        # The port has no close: threads and connections end with whoever holds them.
        self.close = weakref.finalize(self, _close, self._kept)

    def site(self, cluster: ClusterRef, deadline: float) -> "Site":
        """Raises `Rejected` for settings or a kubeconfig that will not do, and what an admission raises."""
        key = (cluster.settings, cluster.secret, cluster.route)
        kept = self._found(cluster.id, key)
        if kept is None:
            kept = self._keep(cluster.id, self._opened(cluster, key, deadline))
        elif kept.ends_within(EARLY):
            self._renew(kept, cluster, deadline)
        return kept.site

    def _renew(self, kept: _Kept, cluster: ClusterRef, deadline: float) -> None:
        """A cloud that does not answer makes no cluster unreachable whose credentials are still good."""
        try:
            kubeconfig, until = self._kubeconfig(cluster, kept.site.settings, deadline)
        except Transient:
            if kept.ends_within(timedelta()):
                raise
            return
        kept.site.api.enter(self._access(cluster, kubeconfig, kept.site.settings))
        kept.until = until

    def _found(self, cluster_id: str, key: Key) -> _Kept | None:
        now = time.monotonic()
        with self._lock:
            dropped = [
                self._kept.pop(name)
                for name, each in list(self._kept.items())
                if now - each.used_at > IDLE_SECONDS or (name == cluster_id and each.key != key)
            ]
            kept = self._kept.get(cluster_id)
            if kept is not None:
                kept.used_at = now
        for each in dropped:
            each.site.close()
        return kept

    def _keep(self, cluster_id: str, opened: _Kept) -> _Kept:
        """Whoever was first, of several that opened the same at the same time."""
        with self._lock:
            before = self._kept.get(cluster_id)
            kept = before if before is not None and before.key == opened.key else opened
            self._kept[cluster_id] = kept
        for each in (before, opened):
            if each is not None and each is not kept:
                each.site.close()
        return kept

    def _opened(self, cluster: ClusterRef, key: Key, deadline: float) -> _Kept:
        from cloud_adapters.kubernetes.client import dialled, dialled_from_within  # noqa: PLC0415 # heavy
        from cloud_adapters.kubernetes.sites import Site  # noqa: PLC0415 # imports it too

        settings = settings_of(cluster.settings)
        if cluster.secret is None and settings.credentials is None:
            api, until = dialled_from_within(), None
        else:
            kubeconfig, until = self._kubeconfig(cluster, settings, deadline)
            api = dialled(self._access(cluster, kubeconfig, settings), kubeconfig)
        return _Kept(key=key, site=Site(api, settings, cluster.id), used_at=time.monotonic(), until=until)

    def _kubeconfig(
        self, cluster: ClusterRef, settings: Settings, deadline: float
    ) -> tuple[str, datetime | None]:
        """With when its credentials end."""
        if settings.credentials is None:
            return cluster.secret or "", None
        admission = self._admitting(settings.credentials).admit(
            dict(settings.credentials_settings), cluster.secret, deadline=deadline
        )
        return admission.kubeconfig, admission.until

    def _access(self, cluster: ClusterRef, kubeconfig: str, settings: Settings) -> Access:
        """Behind an agent no address leads to this machine: the agent connects to its own targets alone."""
        permissions, proxy_url = self._permissions, cluster.route.proxy_url
        if proxy_url is not None:
            permissions = replace(permissions, local_addresses=True)
        access = access_of(kubeconfig, permissions, context=settings.context)
        return replace(access, proxy_url=proxy_url or access.proxy_url)


def _close(kept: dict[str, _Kept]) -> None:
    while kept:
        kept.popitem()[1].site.close()
