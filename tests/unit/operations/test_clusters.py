"""Registering clusters, and the operator's words about them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound
from controlplane.identity.principals import Role
from controlplane.operations import clusters, transfers
from controlplane.operations.endpoints import endpoint_of, ref_of
from controlplane.wire.admin import ClusterCreate
from tests.unit.operations.world import GIBIBYTE, World, world

KUBECONFIG = "apiVersion: v1\nusers: [{name: me, user: {token: hunter2}}]\n"
URL = "https://ray.lab.example:8265"


@pytest.fixture
def plane(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    """With more plugins than the two that every installation has."""
    with world(tmp_path, sqlite_url) as made:
        names = made.context.adapters | {"alibaba", "aws", "kubernetes", "ssh_list"}
        made.context = replace(made.context, adapters=names)
        yield made


def wanted(name: str = "lab", **given: Any) -> ClusterCreate:  # noqa: ANN401 - its fields
    return ClusterCreate.model_validate({"name": name, "adapter": "ray", "url": URL, **given})


def test_a_registered_cluster_is_pending_and_the_loop_is_woken(plane: World) -> None:
    view = clusters.register(plane.context, plane.root, wanted())
    assert (view.cluster.state, view.nodes, view.capacity) == (ClusterState.PENDING, 0, Amounts())
    assert plane.is_poked("cluster", view.cluster.id)
    assert plane.event_kinds()[-1] == "cluster.pending"


def test_its_token_is_sealed_and_opens_for_the_loop(plane: World) -> None:
    view = clusters.register(plane.context, plane.root, wanted(token="ray-secret"))
    assert "ray-secret" not in repr(view)
    with plane.store.read() as tx:
        row = tx.secrets.get(view.cluster.secret_id) if view.cluster.secret_id else None
    assert row is not None
    assert b"ray-secret" not in row.ciphertext
    endpoint = endpoint_of(plane.context, view.cluster)
    assert endpoint is not None
    assert endpoint.token == "ray-secret"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"adapter": "mainframe"}, "adapter"),
        ({"url": None}, "url"),
        ({"url": "http://ray.lab.example:8265"}, "url"),
        ({"url": "http://10.0.0.1:8265"}, "url"),
        ({"url": "https://user:hunter2@ray.lab.example"}, "url"),
        ({"url": "https://:8265"}, "url"),
        ({"url": "https://ray.lab.example:99999"}, "url"),
        ({"adapter": "local"}, "url"),
        ({"adapter": "kubernetes"}, "url"),
        ({"adapter": "aws"}, "url"),
        ({"adapter": "alibaba"}, "url"),
        ({"url": "https://169.254.169.254"}, "url"),
        ({"secret": "hunter2"}, "secret"),
        ({"adapter": "local", "url": None, "secret": "hunter2"}, "secret"),
        ({"adapter": "kubernetes", "url": None, "token": "hunter2"}, "token"),
    ],
)
def test_what_cannot_be_dialled_safely_is_refused(plane: World, given: dict[str, Any], field: str) -> None:
    before = plane.counts()
    with pytest.raises(Invalid) as caught:
        clusters.register(plane.context, plane.root, wanted(**given))
    assert (caught.value.field, plane.counts()) == (field, before)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.2:8265", "http://localhost:8265", "http://[::1]:8265"])
def test_plain_http_is_fine_on_loopback(plane: World, url: str) -> None:
    assert clusters.register(plane.context, plane.root, wanted(url=url)).cluster.url == url


def test_a_secret_is_sealed_and_is_what_the_adapter_is_told(plane: World) -> None:
    view = clusters.register(
        plane.context, plane.root, wanted(adapter="kubernetes", url=None, secret=KUBECONFIG)
    )
    assert "hunter2" not in repr(view)
    with plane.store.read() as tx:
        row = tx.secrets.get(view.cluster.secret_id) if view.cluster.secret_id else None
    assert row is not None
    assert b"hunter2" not in row.ciphertext
    told = ref_of(plane.context, view.cluster)
    assert (told.secret, told.endpoint) == (KUBECONFIG, None)
    assert "hunter2" not in repr(told)


def test_an_outsiders_plugin_may_have_a_url_or_none(plane: World) -> None:
    for name, given in (("a", {"url": URL}), ("b", {"url": None}), ("c", {"url": None, "secret": "{}"})):
        view = clusters.register(plane.context, plane.root, wanted(name, adapter="ssh_list", **given))
        assert view.cluster.url == given["url"]


def test_a_changed_secret_takes_the_place_of_the_old_one(plane: World) -> None:
    first = clusters.register(plane.context, plane.root, wanted(adapter="kubernetes", url=None, secret="old"))
    noted = replace(first.cluster, problem="refused", version=2)
    plane.store.write(lambda tx: tx.clusters.save(noted))
    view = clusters.change_secret(plane.context, plane.root, "lab", KUBECONFIG)
    assert (view.cluster.version, view.cluster.problem) == (3, None)
    assert view.cluster.secret_id == first.cluster.secret_id
    for row in (first.cluster, view.cluster):  # who has read the old row finds the new secret
        assert ref_of(plane.context, row).secret == KUBECONFIG
    assert plane.event_kinds()[-1] == "cluster.secret_changed"
    assert plane.is_poked("cluster", view.cluster.id)


def test_a_cluster_at_an_address_gets_another_token(plane: World) -> None:
    clusters.register(plane.context, plane.root, wanted())
    view = clusters.change_secret(plane.context, plane.root, "lab", "new-token")
    told = ref_of(plane.context, view.cluster)
    assert told.endpoint is not None
    assert (told.endpoint.token, told.secret) == ("new-token", None)


def test_an_embedded_clusters_token_is_its_own(plane: World) -> None:
    clusters.register(plane.context, plane.root, wanted(adapter="local", url=None))
    with pytest.raises(Conflict, match="makes its own token"):
        clusters.change_secret(plane.context, plane.root, "lab", "mine")


def test_an_embedded_cluster_gets_a_folder_of_its_own(plane: World) -> None:
    view = clusters.register(plane.context, plane.root, wanted(adapter="local", url=None))
    home = plane.context.settings.home
    assert dict(view.cluster.settings)["directory"] == str(home / "clusters" / view.cluster.id)


def test_a_name_is_taken_once(plane: World) -> None:
    clusters.register(plane.context, plane.root, wanted())
    before = plane.counts()
    with pytest.raises(Conflict) as caught:
        clusters.register(plane.context, plane.root, wanted(token="ray-secret"))
    assert (caught.value.field, caught.value.value, plane.counts()) == ("name", "lab", before)


def test_a_cluster_is_found_by_id_and_by_name(plane: World) -> None:
    cluster = plane.cluster("lab")
    assert clusters.get(plane.context, plane.root, "lab") == clusters.get(
        plane.context, plane.root, cluster.id
    )
    with pytest.raises(NotFound):
        clusters.get(plane.context, plane.root, "nowhere")


def test_a_view_sums_nodes_and_seats(plane: World) -> None:
    cluster = plane.cluster("lab", nodes=2, gpus=2)
    plane.place(plane.submit(tasks=3).job, cluster, tasks=3)
    view = clusters.get(plane.context, plane.root, "lab")
    assert view.capacity == Amounts(cpu_milli=8000, gpu_milli=4000, memory_bytes=16 * GIBIBYTE)
    assert (view.nodes, view.booked, view.foreign) == (2, Amounts(cpu_milli=3000), Amounts())
    booked = [
        node.booked.cpu_milli
        for node in clusters.nodes(plane.context, plane.root, "lab", after=None, limit=10)
    ]
    assert booked == [2000, 1000]


def test_words_are_written_down_told_and_acted_on_by_the_loop(plane: World) -> None:
    cluster = plane.cluster("lab")
    for verb, kind in (
        (clusters.cordon, "cluster.cordoned"),
        (clusters.uncordon, "cluster.uncordoned"),
        (clusters.drain, "cluster.drain_requested"),
        (clusters.undrain, "cluster.undrain_requested"),
        (clusters.detach, "cluster.detach_requested"),
    ):
        before = clusters.get(plane.context, plane.root, "lab").cluster
        view = verb(plane.context, plane.root, "lab")
        assert (view.cluster.version, view.cluster.state) == (before.version + 1, cluster.state)
        assert plane.event_kinds()[-1] == kind
        assert plane.is_poked("cluster", cluster.id)


def test_saying_it_twice_changes_nothing_more(plane: World) -> None:
    plane.cluster("lab")
    first = clusters.drain(plane.context, plane.root, "lab")
    plane.clock.pass_seconds(5)
    assert clusters.drain(plane.context, plane.root, "lab") == first


@pytest.mark.parametrize(("role", "project"), [(Role.SUBMITTER, None), (Role.ADMIN, "default")])
def test_only_an_admin_of_all_projects_edits_clusters(plane: World, role: Role, project: str | None) -> None:
    plane.cluster("lab")
    who = plane.principal(role, project)
    with pytest.raises(Forbidden):
        clusters.cordon(plane.context, who, "lab")
    with pytest.raises(Forbidden):
        clusters.register(plane.context, who, wanted("other"))
    with pytest.raises(Forbidden):
        clusters.change_secret(plane.context, who, "lab", "mine")
    assert clusters.get(plane.context, who, "lab").cluster.cordoned_at is None


def test_a_detached_cluster_hears_nothing_more(plane: World) -> None:
    cluster = plane.cluster("lab", seen=False)
    plane.store.write(lambda tx: tx.clusters.save(cluster.move(ClusterState.DETACHED, at=plane.clock.at)))
    with pytest.raises(Conflict, match="is detached"):
        clusters.cordon(plane.context, plane.root, cluster.id)


def test_a_kubernetes_cluster_behind_an_agent_is_dialled_through_its_tunnel(plane: World) -> None:
    settings = replace(plane.context.settings, tunnel_port=8050)
    plane.context = replace(plane.context, settings=settings)
    far = wanted(
        adapter="kubernetes", url=None, secret=KUBECONFIG, settings={"via": "agent", "namespace": "x"}
    )
    ref = ref_of(plane.context, clusters.register(plane.context, plane.root, far).cluster)
    assert ref.settings == (("namespace", "x"),)
    assert ref.route.proxy_url is not None
    assert ref.route.proxy_url.startswith(f"http://{ref.id}:")
    assert ref.route.proxy_url.endswith("@127.0.0.1:8050")


def test_what_it_costs_to_bring_data_there_is_not_told_to_the_plugin(plane: World) -> None:
    far = wanted(adapter="aws", url=None, settings={"regions": "eu-central-1", "egress_per_gib": "0.02"})
    cluster = clusters.register(plane.context, plane.root, far).cluster
    assert transfers.egress_millionths_per_gib(cluster) == 20_000
    assert ref_of(plane.context, cluster).settings == (("regions", "eu-central-1"),)


@pytest.mark.parametrize("price", ["-1", "0,02", "NaN", "1e-3", "1000.01", "0.0000001", ""])
def test_a_price_of_bringing_data_there_that_is_none_is_refused(plane: World, price: str) -> None:
    far = wanted(adapter="aws", url=None, settings={"egress_per_gib": price})
    with pytest.raises(Invalid) as refused:
        clusters.register(plane.context, plane.root, far)
    problem = refused.value
    assert (problem.field, problem.value, problem.limit) == ("settings.egress_per_gib", price, "0 to 1000")


def test_nobody_brings_data_to_machines_that_nobody_sells(plane: World) -> None:
    with pytest.raises(Invalid, match="whose cloud sells machines"):
        clusters.register(plane.context, plane.root, wanted(settings={"egress_per_gib": "0.02"}))


@pytest.mark.parametrize(
    ("settings", "zone", "region"),
    [
        ({"regions": "us-west-1, us-west-2"}, "us-west-2-lax-1a", "us-west-2"),
        ({"regions": "cn-hangzhou,cn-hangzhou-finance"}, "cn-hangzhou-finance-a", "cn-hangzhou-finance"),
        ({"region": "cn-beijing"}, "h", "cn-beijing"),
        ({"regions": "us-west-1,us-west-2"}, "eu-west-1a", ""),
        ({}, "a", ""),
    ],
)
def test_a_zone_is_in_the_region_that_it_is_named_after(
    plane: World, settings: dict[str, str], zone: str, region: str
) -> None:
    cluster = clusters.register(
        plane.context, plane.root, wanted(adapter="aws", url=None, settings=settings)
    ).cluster
    assert transfers.region_of(cluster, zone) == region


def test_a_cloud_has_no_agent(plane: World) -> None:
    settings = replace(plane.context.settings, tunnel_port=8050)
    plane.context = replace(plane.context, settings=settings)
    with pytest.raises(Invalid, match="needs no agent"):
        clusters.register(
            plane.context, plane.root, wanted(adapter="aws", url=None, settings={"via": "agent"})
        )
