"""Orders: what a launch is to build, written into a ConfigMap of its own before anything else exists. Pure.

That ConfigMap is the launch: whoever creates it has ordered, it owns all that is built (so Kubernetes deletes the rest
after it), and what it says is built again from it alone, whatever the settings or the nodes have become since.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeAlias

from cloud_adapters.base import CLAIM_LABEL, Amounts, LaunchOrder, Rejected, custom_amounts

Json: TypeAlias = Mapping[str, Any]

CLUSTER_LABEL: Final = "crossdock.io/cluster"
LAUNCH_LABEL: Final = "crossdock.io/launch"
MEMBER_LABEL: Final = "crossdock.io/member"
"""Of a pod: which share of the launch it takes; `head` for Ray's head."""

NODE_LABEL: Final = "crossdock.io/node"
HEAD: Final = "head"
ORDER_KEY: Final = "order.json"
RELEASED_KEY: Final = "released"
LONGEST_NAME: Final = 40
"""KubeRay cuts the names of what it makes at 50 letters, and adds up to nine to ours."""

LONGEST_LABEL: Final = 63
HASH_LETTERS: Final = 10
SAFE_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SAFE_LABEL: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One member: where it has to be, and what it takes there."""

    member: str
    node_name: str
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that the manifests are made from."""

    cluster_id: str
    claim_id: str
    launch_id: str
    zone: str
    machine_type: str
    capacity_type: str
    places: tuple[Place, ...]
    settings: tuple[tuple[str, str], ...]
    """Of the cluster, as they were."""

    is_kuberay: bool
    tolerations: tuple[tuple[str, str, str], ...]
    """(key, value, effect)"""

    @property
    def name(self) -> str:
        return object_name(self.launch_id)

    @property
    def service(self) -> str:
        """KubeRay's own name for it."""
        return f"{self.name}-head-svc"

    def asks_the_same(self, other: Self) -> bool:
        """What was asked, not how it is built: that was decided when it was asked first."""
        return self._asked() == other._asked()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises `Rejected` on what no adapter wrote."""
        try:
            told = json.loads(text)
            places = tuple(_place(each) for each in told.pop("places"))
            tolerations = tuple((key, value, effect) for key, value, effect in told.pop("tolerations"))
            settings = tuple((name, value) for name, value in told.pop("settings"))
            return cls(**told, places=places, settings=settings, tolerations=tolerations)
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise Rejected(f"the record of a launch cannot be read: {problem!r}") from problem

    def _asked(self) -> tuple[object, ...]:
        return (
            self.cluster_id,
            self.claim_id,
            self.launch_id,
            self.zone,
            self.machine_type,
            self.capacity_type,
            self.places,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An order as its ConfigMap has it, and what became of it."""

    order: Order
    uid: str
    created_at: str
    """As Kubernetes writes times: they sort as texts."""

    released: frozenset[str] = frozenset()
    """Members that were given back."""

    is_going: bool = False

    @property
    def kept(self) -> tuple[Place, ...]:
        return tuple(place for place in self.order.places if place.member not in self.released)


def order_of(
    launch: LaunchOrder, *, is_kuberay: bool, tolerations: Iterable[tuple[str, str, str]] = ()
) -> Order:
    """Raises `Rejected` when the shares are not one per machine, each on a node of its own."""
    names = [share.node_name for share in launch.shares]
    if len(names) != launch.machines or len(set(names)) != len(names) or not names:
        raise Rejected(
            f"launch {launch.launch_id} orders {launch.machines} machines on {len(set(names))} nodes; "
            "it must be one on each node"
        )
    return Order(
        cluster_id=launch.cluster.id,
        claim_id=launch.claim_id,
        launch_id=launch.launch_id,
        zone=launch.zone,
        machine_type=launch.machine_type,
        capacity_type=str(launch.capacity_type),
        places=tuple(
            Place(member=f"n{number}", node_name=share.node_name, amounts=share.amounts)
            for number, share in enumerate(launch.shares)
        ),
        settings=launch.cluster.settings,
        is_kuberay=is_kuberay,
        tolerations=tuple(tolerations),
    )


def record_of(config_map: Json) -> Record:
    metadata, data = config_map["metadata"], config_map.get("data") or {}
    return Record(
        order=Order.from_json(data.get(ORDER_KEY, "")),
        uid=metadata["uid"],
        created_at=metadata["creationTimestamp"],
        released=frozenset(filter(None, data.get(RELEASED_KEY, "").split(","))),
        is_going="deletionTimestamp" in metadata,
    )


def config_map_of(order: Order, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": order.name,
            "namespace": namespace,
            "labels": labels_of(order),
            "annotations": annotations_of(order),
        },
        "data": {ORDER_KEY: order.to_json()},
    }


def labels_of(order: Order) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "crossdock",
        CLUSTER_LABEL: label_value(order.cluster_id),
        CLAIM_LABEL: label_value(order.claim_id),
        LAUNCH_LABEL: label_value(order.launch_id),
    }


def annotations_of(order: Order) -> dict[str, str]:
    """The ids as they are: a label may hold a shortened one."""
    return {CLAIM_LABEL: order.claim_id, LAUNCH_LABEL: order.launch_id}


def id_of(thing: Json, name: str) -> str | None:
    """The claim's or the launch's, by the name of its label."""
    metadata = thing["metadata"]
    found = (metadata.get("annotations") or {}).get(name) or (metadata.get("labels") or {}).get(name)
    return str(found) if found else None


def member_name(order: Order, member: str) -> str:
    """What `list_owned` calls it. A pod that is replaced keeps it."""
    return f"{order.name}-{member}"


def object_name(text: str) -> str:
    """Of an id: safe in DNS, and as different from all others as the id is."""
    plain = text.lower().replace("_", "-")
    if len(plain) <= LONGEST_NAME and SAFE_NAME.fullmatch(plain):
        return plain
    letters = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    head = f"x-{letters}"[: LONGEST_NAME - HASH_LETTERS - 1].rstrip("-")
    return f"{head}-{_hash(text)}"


def label_value(text: str) -> str:
    if len(text) <= LONGEST_LABEL and SAFE_LABEL.fullmatch(text):
        return text
    letters = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return f"{letters[: LONGEST_LABEL - HASH_LETTERS - 1]}-{_hash(text)}".lstrip("-")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LETTERS]


def _place(told: Mapping[str, Any]) -> Place:
    amounts = dict(told["amounts"])
    custom = custom_amounts((name, milli) for name, milli in amounts.pop("custom_milli"))
    return Place(
        member=told["member"],
        node_name=told["node_name"],
        amounts=Amounts(**amounts, custom_milli=custom),
    )
