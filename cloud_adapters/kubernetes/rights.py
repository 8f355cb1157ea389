"""Rights: what the adapter must be allowed to do, and which of it is missing. Pure; `rbac.yaml` grants exactly this."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cloud_adapters.kubernetes.refusals import missing_right

Json: TypeAlias = Mapping[str, Any]

SESSION_NAMESPACE: Final = "kube-system"
"""Its uid is the closest thing to a name that a Kubernetes cluster has for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    verb: str
    what: str
    group: str = ""
    is_namespaced: bool = True
    """Within the namespace that we build in. False: in the whole cluster."""

    name: str | None = None
    """Of the one object that it is about."""

    why: str

    def told(self, namespace: str) -> str:
        said = missing_right(self.verb, self.what, self.group, namespace if self.is_namespaced else None)
        return f"{said}: {self.why}"


def _rights(what: str, verbs: str, why: str, *, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(verb=verb, what=what, group=group, why=why) for verb in verbs.split())


TELLING_APART: Final = Right(
    verb="get",
    what="namespaces",
    is_namespaced=False,
    name=SESSION_NAMESPACE,
    why="the cluster cannot be told from another one",
)
LOOKING: Final = (
    TELLING_APART,
    *(
        Right(verb=verb, what="nodes", is_namespaced=False, why="nothing can be lent")
        for verb in ("get", "list", "watch")
    ),
    *(
        Right(
            verb=verb,
            what="pods",
            is_namespaced=False,
            why="what others use of the nodes is unknown, so nothing is lent",
        )
        for verb in ("list", "watch")
    ),
)
BUILDING: Final = (
    *_rights("configmaps", "create delete get list patch", "no Ray cluster can be built or ended"),
    *_rights("secrets", "create delete get list", "Ray's token cannot be kept"),
    *_rights("pods", "create delete", "Ray's pods cannot be made or ended"),
    *_rights("services", "create delete list", "Ray's head cannot be reached"),
)
PROXYING: Final = _rights(
    "services/proxy", "get create update delete", "jobs cannot be sent through the API server"
)
KUBERAY: Final = _rights(
    "rayclusters", "create delete list patch", "no RayCluster can be built or ended", group="ray.io"
)


def missing(rights: Iterable[Right], rules: Iterable[Json], namespace: str) -> tuple[str, ...]:
    """`rules` as a SelfSubjectRulesReview tells them. It cannot tell rights in one namespace from those everywhere."""
    granted = tuple(rules)
    return tuple(right.told(namespace) for right in rights if not _is_granted(right, granted))


def _is_granted(right: Right, rules: Iterable[Json]) -> bool:
    return any(
        _has(rule, "verbs", right.verb)
        and _has(rule, "apiGroups", right.group)
        and _has_resource(rule, right.what)
        and (not rule.get("resourceNames") or right.name in rule["resourceNames"])
        for rule in rules
    )


def _has(rule: Json, key: str, wanted: str) -> bool:
    named = rule.get(key) or ()
    return wanted in named or "*" in named


def _has_resource(rule: Json, what: str) -> bool:
    _, slash, subresource = what.partition("/")
    return _has(rule, "resources", what) or (
        bool(slash) and f"*/{subresource}" in (rule.get("resources") or ())
    )
