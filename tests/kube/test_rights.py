"""With exactly the rights of the shipped manifest everything works, and with one less its absence is named."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloud_adapters.base import AuthFailed, ClusterRef, Inventory, LaunchOrder, Termination
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from cloud_adapters.kubernetes.rights import BUILDING, KUBERAY, LOOKING, PROXYING, TELLING_APART, Right
from tests.kube.granting import PLURALS, manifest_granted, token_of, where
from tests.kube.ordering import cluster_of, order_of
from tests.kube.rest import Json
from tests.kube.stages import Stage

CALL_SECONDS = 15.0


@pytest.fixture
def granted(kube: Stage) -> Iterator[dict[str, Json]]:
    with manifest_granted(kube) as roles:
        yield roles


@pytest.fixture
def cluster(kube: Stage, granted: dict[str, Json]) -> ClusterRef:
    kube.settle()
    return cluster_of(kube, token=token_of(kube))


@pytest.fixture
def order(kube: Stage, cluster: ClusterRef) -> LaunchOrder:
    return replace(order_of(kube), cluster=cluster)


def look(cluster: ClusterRef) -> Inventory:
    """With an adapter that knows nothing of before."""
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    try:
        return adapter.inventory(cluster, deadline=CALL_SECONDS)
    finally:
        adapter.close()


def without(role: Json, right: Right) -> Json:
    """The role less one verb of one rule."""
    rules = [
        rule | {"verbs": [verb for verb in rule["verbs"] if verb != right.verb]}
        if right.what in rule["resources"] and right.group in rule["apiGroups"]
        else rule
        for rule in role["rules"]
    ]
    return role | {"rules": [rule for rule in rules if rule["verbs"]]}


@pytest.mark.parametrize("kuberay", ["auto", "no"])
def test_these_rights_are_enough_to_build_and_to_take_down(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter, kuberay: str
) -> None:
    cluster = replace(order.cluster, settings=tuple(sorted([*order.cluster.settings, ("kuberay", kuberay)])))
    launch = replace(order, cluster=cluster)
    kube.until(lambda: look(cluster).problems == ())
    assert look(cluster).complete
    first, second = kubernetes_adapter.ensure(launch, deadline=CALL_SECONDS)
    kube.settle()
    kubernetes_adapter.release(cluster, launch.claim_id, [first.name], deadline=CALL_SECONDS)
    kube.settle()
    assert [each.name for each in kubernetes_adapter.list_owned(cluster, deadline=CALL_SECONDS)] == [
        second.name
    ]
    for leftover in kubernetes_adapter.leftovers(cluster, deadline=CALL_SECONDS):
        kubernetes_adapter.remove(cluster, leftover, deadline=CALL_SECONDS)

    def is_gone() -> bool:
        kube.step()
        answer = kubernetes_adapter.terminate(cluster, launch.claim_id, deadline=CALL_SECONDS)
        return answer is Termination.UNSEEN

    kube.until(is_gone)


@pytest.mark.parametrize(
    "right",
    [*LOOKING[1:], *BUILDING, *PROXYING, *KUBERAY],
    ids=lambda right: f"{right.verb} {right.what}",
)
@pytest.mark.verify
def test_one_right_less_is_named(
    kube: Stage, cluster: ClusterRef, granted: dict[str, Json], right: Right
) -> None:
    kind = "Role" if right.is_namespaced else "ClusterRole"
    less = without(granted[kind], right)
    kube.rest.replace(PLURALS[kind], less, where(kube, less))
    expected = (right.told(kube.namespace),)
    kube.until(lambda: look(cluster).problems == expected, seconds=20)


def test_without_the_right_to_look_nothing_is_called_complete(
    kube: Stage, cluster: ClusterRef, granted: dict[str, Json]
) -> None:
    (right,) = (each for each in LOOKING if (each.verb, each.what) == ("list", "nodes"))
    kube.rest.replace("clusterroles", without(granted["ClusterRole"], right))
    kube.until(lambda: not look(cluster).complete)
    assert look(cluster).machines == ()


def test_what_others_use_is_everything_when_it_cannot_be_seen(
    kube: Stage, cluster: ClusterRef, granted: dict[str, Json]
) -> None:
    (right,) = (each for each in LOOKING if (each.verb, each.what) == ("list", "pods"))
    kube.rest.replace("clusterroles", without(granted["ClusterRole"], right))
    kube.until(lambda: not look(cluster).complete)
    assert [machine.used for machine in look(cluster).machines] == [
        machine.allocatable for machine in look(cluster).machines
    ]


def test_a_cluster_that_cannot_be_told_from_another_is_refused(
    kube: Stage, cluster: ClusterRef, granted: dict[str, Json]
) -> None:
    kube.rest.replace("clusterroles", without(granted["ClusterRole"], TELLING_APART))

    def is_refused() -> bool:
        try:
            look(cluster)
        except AuthFailed as refused:
            return "the cluster cannot be told from another one" in refused.message
        return False

    kube.until(is_refused)


def test_a_call_without_its_right_names_it(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter, granted: dict[str, Json]
) -> None:
    (right,) = (each for each in BUILDING if (each.verb, each.what) == ("create", "secrets"))
    role = without(granted["Role"], right)
    kube.rest.replace("roles", role, kube.namespace)
    kube.until(lambda: look(order.cluster).problems != ())
    with pytest.raises(AuthFailed, match=f"may not create secrets in namespace {kube.namespace}"):
        kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
