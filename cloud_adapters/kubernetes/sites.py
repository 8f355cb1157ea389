"""Sites: what is kept of one Kubernetes cluster between calls: connections, and the followers of its nodes and pods."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from cloud_adapters.base import Machine
from cloud_adapters.kubernetes.client import Api, Stream
from cloud_adapters.kubernetes.ledger import Ledger
from cloud_adapters.kubernetes.refusals import Call, MissingRight
from cloud_adapters.kubernetes.rights import (
    BUILDING,
    KUBERAY,
    LOOKING,
    PROXYING,
    SESSION_NAMESPACE,
    TELLING_APART,
    Right,
    missing,
)
from cloud_adapters.kubernetes.settings import KubeRay, Reach, Settings
from cloud_adapters.kubernetes.watching import CONNECT_SECONDS, Follower, Subject

Json: TypeAlias = Mapping[str, Any]

NODES: Final = Subject(what="nodes", path="/api/v1/nodes")
PODS: Final = Subject(
    what="pods",
    path="/api/v1/pods",
    field_selector="spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed",
)
"""Those that hold something of a node."""

RIGHTS_SECONDS: Final = 60.0
"""How old an answer about our rights may be: it takes several calls, and people change rights by hand."""

JOIN_SECONDS: Final = 5.0
REVIEWS: Final = "/apis/authorization.k8s.io/v1"


class Site:
    """Safe for threads."""

    def __init__(self, api: Api, settings: Settings, cluster_id: str) -> None:
        self.api = api
        self.settings = settings
        self._cluster_id = cluster_id
        self._lock = threading.Lock()
        self._feed: _Feed | None = None
        self._problems: tuple[float, tuple[str, ...]] | None = None
        """When our rights were last looked at, and what is missing of them."""

    def session(self, *, until: float) -> str:
        """Also the proof that the cluster answers now, and to us."""
        call = Call(verb="get", what="namespaces", name=SESSION_NAMESPACE)
        try:
            answer = self.api.get(call, f"/api/v1/namespaces/{SESSION_NAMESPACE}", {}, until=until)
        except MissingRight as refused:
            raise MissingRight(TELLING_APART.told(self.settings.namespace)) from refused
        return str(answer["metadata"]["uid"])

    def machines(self, session: str, *, until: float) -> tuple[tuple[Machine, ...], tuple[str, ...]]:
        """With what stands in the way of seeing all of them."""
        return self._following(session).machines(until=until)

    def missing_rights(self, *, until: float) -> tuple[str, ...]:
        known = self._problems
        if known is None or time.monotonic() - known[0] > RIGHTS_SECONDS:
            known = self._problems = (time.monotonic(), self._reviewed(until))
        return known[1]

    def close(self) -> None:
        """Returns when its threads have ended."""
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
        self.api.close()

    def _following(self, session: str) -> "_Feed":
        """Anew when the cluster is another one than before, or when nobody asked for long."""
        with self._lock:
            old = self._feed
            if old is not None and old.session == session and old.is_alive:
                return old
            self._feed = _Feed(self.api, self.settings, self._cluster_id, session)
        if old is not None:
            old.close()
        return self._feed

    def _reviewed(self, until: float) -> tuple[str, ...]:
        namespace = self.settings.namespace
        rules, is_whole = self._rules(namespace, until)
        looking = (right for right in LOOKING if not self._may(right, namespace, until))
        # Rules alone do not tell rights in one namespace from those everywhere, and other authorizers tell none.
        building = (
            right
            for right in self._wanted()
            if missing([right], rules, namespace) and (is_whole or not self._may(right, namespace, until))
        )
        return tuple(right.told(namespace) for right in (*looking, *building))

    def _wanted(self) -> Iterator[Right]:
        """Rights on RayClusters are wanted everywhere: KubeRay may be installed tomorrow."""
        yield from BUILDING
        if self.settings.kuberay is not KubeRay.NO:
            yield from KUBERAY
        if self.settings.reach is Reach.PROXY:
            yield from PROXYING

    def _rules(self, namespace: str, until: float) -> tuple[tuple[Json, ...], bool]:
        """What we may do in the namespace, and whether that is all: other authorizers than RBAC do not tell."""
        call = Call(verb="create", what="selfsubjectrulesreviews")
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        answer = self.api.create(call, f"{REVIEWS}/selfsubjectrulesreviews", asked, until=until)
        told = answer["status"]
        return tuple(told.get("resourceRules") or ()), not told.get("incomplete", False)

    def _may(self, right: Right, namespace: str, until: float) -> bool:
        call = Call(verb="create", what="selfsubjectaccessreviews")
        what, _, subresource = right.what.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": what,
            "subresource": subresource,
            "namespace": namespace if right.is_namespaced else "",
            "name": right.name or "",
        }
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.api.create(call, f"{REVIEWS}/selfsubjectaccessreviews", asked, until=until)
        return bool(answer["status"].get("allowed"))


class _Feed:
    """Of one session: another one starts with empty books."""

    def __init__(self, api: Api, settings: Settings, cluster_id: str, session: str) -> None:
        self.session = session
        self._ledger = Ledger(settings, cluster_id)
        self._nodes = Follower(NODES, self._ledger.nodes, _ApiSource(api))
        self._pods = Follower(PODS, self._ledger.pods, _ApiSource(api))

    @property
    def is_alive(self) -> bool:
        return self._nodes.is_alive and self._pods.is_alive

    def machines(self, *, until: float) -> tuple[tuple[Machine, ...], tuple[str, ...]]:
        for follower in (self._nodes, self._pods):
            follower.settled(until=until)
        unseen = tuple(filter(None, (each.missing_right() for each in (self._nodes, self._pods))))
        if self._nodes.missing_right() is not None:
            return (), unseen
        return self._ledger.machines(), unseen

    def close(self) -> None:
        for follower in (self._nodes, self._pods):
            follower.close()
        for follower in (self._nodes, self._pods):
            follower.join(JOIN_SECONDS)


class _ApiSource:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._stream = Stream(connect_seconds=CONNECT_SECONDS)

    def page(self, call: Call, path: str, query: Mapping[str, str], *, seconds: float) -> Json:
        return self._api.get(call, path, query, until=time.monotonic() + seconds)

    def watch(
        self, call: Call, path: str, query: Mapping[str, str], *, stall_seconds: float
    ) -> Iterator[bytes]:
        return self._api.lines(call, path, query, self._stream, stall_seconds=stall_seconds)

    def cut(self) -> None:
        self._stream.cut()
