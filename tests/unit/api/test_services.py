"""Services over the API, their loop driven by hand: deployed, routed, released, taken back, refused with reasons."""

import io
import json
import zipfile
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from controlplane.domain.attempts import Outcome
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.jobs import JobState
from controlplane.domain.residency import Residency, Subject
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load
from controlplane.identity.principals import Role
from controlplane.identity.replica_keys import replica_key
from controlplane.operations import jobs, object_stores, residency, staging, traffic
from controlplane.operations.orders import order_for, papers_for
from controlplane.storage.file import FileStore
from controlplane.wire.data import StoreCreate
from tests.unit.api.client import BOTH, Api, app_over, problem
from tests.unit.api.service_site import SPEC, Document, Site


@BOTH
def test_a_service_goes_from_a_spec_to_a_route_and_leaves_nothing(site: Site) -> None:
    made = site.deploy()
    assert (made["phase"], made["desired"], made["revisions"][0]["state"]) == ("deploying", 1, "pending")
    assert site.route().revisions == ()
    site.look()
    (waiting,) = site.replicas(made["id"])
    assert (waiting["state"], waiting["is_surplus"], waiting["is_ready"]) == ("queued", False, False)
    attempt = site.start(made["id"])
    shown = site.api.get(f"/v1/services/{made['id']}").json()
    assert (shown["phase"], shown["ready"], shown["revisions"][0]["weight_percent"]) == ("ready", 1, 100.0)
    (revision,) = site.route().revisions
    assert (revision.weight_ppm, revision.concurrency, site.urls()) == (
        1_000_000,
        8,
        ["http://127.0.0.2:9000"],
    )
    assert revision.key == replica_key(site.plane.context.server_key, revision.revision_id)

    assert site.do(made["id"], "delete")["phase"] == "deleting"
    assert traffic.routes(site.plane.context) == ()
    site.look()
    site.look(5)
    assert site.plane.job(attempt.job_id).cancel_requested_at is not None
    site.plane.end(attempt)
    site.plane.finish(attempt.job_id, JobState.CANCELLED)
    site.look(2)
    site.look(2)
    problem(site.api.get(f"/v1/services/{made['id']}"), 404, "not_found")
    assert site.deploy()["id"] != made["id"]  # the name is free again


def test_a_replica_is_a_job_that_lists_leave_out_and_users_cannot_submit_or_retry(site: Site) -> None:
    made = site.deploy()
    site.look()
    assert site.api.get("/v1/jobs").json()["items"] == []
    (job,) = site.api.get("/v1/jobs?kind=replica").json()["items"]
    assert site.api.get("/v1/jobs/counts").json()["items"] == []
    (count,) = site.api.get("/v1/jobs/counts?kind=replica").json()["items"]
    assert (count["state"], count["jobs"]) == ("queued", 1)
    assert (job["name"], job["labels"]) == ("echo-1", {"service": "echo", "revision": "1"})
    wanted = {"name": "x", "entrypoint": "true", "kind": "replica"}
    assert problem(site.api.post("/v1/jobs", wanted), 422, "invalid")["field"] == "kind"
    jobs.cancel(site.plane.context, site.plane.root, job["id"])
    assert problem(site.api.post(f"/v1/jobs/{job['id']}/retry"), 409, "conflict")["field"] == "kind"
    site.look(30)
    assert [each["state"] for each in site.replicas(made["id"])] == ["queued"]


def test_an_order_for_a_replica_has_its_key_its_certificate_and_its_nodes_address(site: Site) -> None:
    made = site.deploy()
    site.look()
    attempt = site.start(made["id"])
    with site.plane.store.read() as tx:
        papers = papers_for(tx, [attempt])[attempt.id]
    order = order_for(site.plane.context, papers, Endpoint(url="http://127.0.0.2:8265"))
    environment = dict(order.environment)
    identity = json.loads(environment.pop("CROSSDOCK_REPLICA_IDENTITY"))
    assert sorted(identity) == ["certificate", "key"]
    revision_id = site.route().revisions[0].revision_id
    assert environment == {
        "SERVING_REVISION": "1",
        "CROSSDOCK_REPLICA_KEY": replica_key(site.plane.context.server_key, revision_id),
        "CROSSDOCK_REPLICA_HOST": "127.0.0.2",
    }
    assert order.working_dir is not None
    with zipfile.ZipFile(io.BytesIO(order.working_dir)) as archive:
        names = archive.namelist()
        serving = json.loads(archive.read("crossdock_serving/serving.json"))
    assert (serving["import_path"], serving["concurrency"], serving["model"]) == ("echo:Echo", 8, None)
    assert {"echo.py", "crossdock_serving/__main__.py"} <= set(names)


@pytest.mark.parametrize("host", ["127.0.0.77", "169.254.169.254", "10.0.0.9"])
def test_only_what_announces_an_address_of_its_own_node_is_asked(site: Site, host: str) -> None:
    made = site.deploy()
    site.look()
    site.start(made["id"], host=host)
    assert site.urls() == []


@pytest.mark.parametrize(
    "said",
    [
        {"url": "http://[abc"},
        {"url": "http://127.0.0.2:99999"},
        {"url": "http://127.0.0.2:9000\\x"},
        {"url": "http://127.0.0.2:9000", "grpc": "10.0.0.9:9001"},
        {"url": "http://127.0.0.2:9000", "grpc": "unix:9001"},
    ],
)
def test_an_address_that_is_none_or_leads_elsewhere_is_not_asked_and_harms_no_other_service(
    site: Site, said: dict[str, str]
) -> None:
    made, other = site.deploy(), site.deploy(name="other")
    site.look()
    attempt = site.start(made["id"])
    site.start(other["id"], port=9100)
    site.say(attempt, seq=2, ready=True, **said)
    urls = {
        each.name: [backend.url for one in each.revisions for backend in one.backends]
        for each in traffic.routes(site.plane.context)
    }
    assert urls == {"echo": [], "other": ["http://127.0.0.2:9100"]}


def test_a_replica_is_asked_over_grpc_where_it_is_asked_over_http(site: Site) -> None:
    made = site.deploy()
    site.look()
    attempt = site.start(made["id"])
    site.say(attempt, seq=2, url="http://127.0.0.2:9000", grpc="127.0.0.2:9001", ready=True)
    assert [each.grpc for one in site.route().revisions for each in one.backends] == ["127.0.0.2:9001"]


def test_a_replica_on_loopback_is_asked_by_a_server_that_others_reach_only_where_it_is_an_agents(
    site: Site,
) -> None:
    made = site.deploy()
    site.look()
    site.start(made["id"])
    open_to_others = replace(site.plane.context.settings, host="192.0.2.1", tunnel_port=8050)
    context = replace(site.plane.context, settings=open_to_others)

    def ways() -> list[str | None]:
        (route,) = traffic.routes(context)
        return [backend.proxy_url for each in route.revisions for backend in each.backends]

    assert ways() == []
    with site.plane.store.read() as tx:
        cluster = tx.clusters.list()[0]
    behind = replace(cluster, settings=(("via", "agent"),), version=cluster.version + 1)
    site.plane.store.write(lambda tx: tx.clusters.save(behind))
    (way,) = ways()
    assert str(way).startswith(f"http://{cluster.id}:")
    assert str(way).endswith("@127.0.0.1:8050")


def test_what_is_being_stopped_not_ready_or_outside_its_residency_is_not_asked(site: Site) -> None:
    made = site.deploy()
    site.look()
    attempt = site.start(made["id"])
    site.say(attempt, seq=2, url="http://127.0.0.2:9000", ready=False)
    assert site.urls() == []
    site.say(attempt, seq=3, url="http://127.0.0.2:9000", ready=True)
    assert len(site.urls()) == 1
    context, root = site.plane.context, site.plane.root
    residency.put(context, root, Subject.PROJECT, "default", Residency(providers=("elsewhere",)))
    assert site.urls() == []
    residency.put(context, root, Subject.PROJECT, "default", Residency())
    jobs.cancel(context, root, attempt.job_id)
    assert site.urls() == []


def test_a_service_is_where_the_files_of_its_model_may_be(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plane, folder = site.plane, tmp_path_factory.mktemp("models")
    (folder / "echo.pt").write_bytes(b"weights")
    plane.context = replace(plane.context, object_stores=lambda _kind, _place, top: FileStore(top))
    object_stores.add(plane.context, plane.root, StoreCreate(name="models", uri=folder.as_uri()))
    site.api = Api(app_over(plane.context), plane.secret(Role.ADMIN))
    assert site.api.post("/v1/models", {"name": "echo", "description": ""}).status_code == 201
    wanted = {"artifacts": [{"name": "echo.pt", "uri": f"{folder.as_uri()}/echo.pt"}]}
    assert site.api.post("/v1/models/default/echo/versions", wanted).status_code == 201

    def say(subject: Subject, name: str, region: str) -> None:
        residency.put(plane.context, plane.root, subject, name, Residency(regions=(region,)))

    say(Subject.DATA, "models", "eu")
    asked = SPEC | {"working_dir": site.code, "model": "echo@1"}
    refused = problem(site.api.post("/v1/services", asked), 422, "invalid")
    assert refused["field"] == "model"
    assert "what lies in store 'models' may only be in 'eu'" in refused["message"]
    say(Subject.CLUSTER, "lab", "eu")
    made = site.deploy(model="echo@1")
    site.look()
    attempt = site.start(made["id"])
    assert len(site.urls()) == 1
    with plane.store.read() as tx:
        assert staging.inputs_of(tx.jobs.specs([attempt.job_id])[attempt.job_id]) == {}
    say(Subject.DATA, "models", "us")
    assert site.urls() == []


def test_a_release_takes_over_and_can_be_taken_back_before_and_after(site: Site) -> None:
    made = site.deploy()
    site.look()
    first = site.start(made["id"])
    canary = {"strategy": "canary", "steps": [10.0], "bake_seconds": 600.0}
    site.revise(made["id"], release=canary)
    site.look()
    site.start(made["id"], port=9001)
    site.look(2)
    assert site.shares() == {1: 900_000, 2: 100_000}
    assert site.api.get(f"/v1/services/{made['id']}").json()["phase"] == "rolling"
    key = {"Idempotency-Key": "back"}
    for _ in range(2):  # the second is answered as the first was
        answer = site.api.post(f"/v1/services/{made['id']}/rollback", {}, headers=key)
        assert (answer.status_code, len(answer.json()["revisions"])) == (200, 2)
    assert site.shares() == {1: 1_000_000}

    site.revise(made["id"], release=canary)
    site.look()
    site.start(made["id"], port=9002)
    site.look(2)
    assert site.shares() == {1: 900_000, 3: 100_000}
    site.do(made["id"], "promote")
    assert site.shares() == {3: 1_000_000}
    site.look(6)
    assert site.plane.job(first.job_id).cancel_requested_at is not None
    again = site.do(made["id"], "rollback", {"number": 1})
    assert again["revisions"][-1]["number"] == 4
    problem(site.api.post(f"/v1/services/{made['id']}/rollback", {"number": 9}), 404, "not_found")


def test_promote_and_rollback_are_about_the_newest_revision_however_far_it_is(site: Site) -> None:
    made = site.deploy()
    site.look()
    site.start(made["id"])
    problem(site.api.post(f"/v1/services/{made['id']}/promote"), 409, "conflict")
    site.revise(made["id"], release={"strategy": "canary", "steps": [10.0], "bake_seconds": 600.0})
    site.look()
    site.start(made["id"], port=9001)
    site.look(2)
    site.revise(made["id"])
    early = problem(site.api.post(f"/v1/services/{made['id']}/promote"), 409, "conflict")
    assert (early["value"], early["limit"]) == ("pending", "ready")
    site.do(made["id"], "rollback", {})
    site.look()
    states = [each["state"] for each in site.api.get(f"/v1/services/{made['id']}/revisions").json()["items"]]
    assert (states, site.shares()) == (["retired", "retiring", "ready"], {1: 1_000_000})


def test_what_a_gateway_says_counts_as_long_as_its_clock_may_be_wrong(site: Site) -> None:
    made = site.deploy(replicas={"min": 0, "max": 3})
    now = site.plane.clock.at

    def waiting(seconds: float) -> Load:
        return Load(
            gateway=f"gate {seconds}",
            service_id=ServiceId(made["id"]),
            revision_id=None,
            since=now,
            until=now + timedelta(seconds=seconds),
            in_flight=1,
            waiting=1,
            requests=0,
            errors=0,
            latency_ms=(0,) * (len(LATENCY_EDGES_MS) + 1),
        )

    told = [replace(waiting(each), since=now - timedelta(hours=1)) for each in (-301, -300, 15, 16)]
    traffic.report(site.plane.context, told)
    with site.plane.store.read() as tx:
        kept = tx.loads.since(ServiceId(made["id"]), now - timedelta(hours=1))
    assert [each.gateway for each in kept] == ["gate -300", "gate 15"]


def test_who_waits_brings_more_replicas_and_those_beyond_the_fewest_are_surplus(site: Site) -> None:
    made = site.deploy()
    site.look()
    site.start(made["id"])
    revision = site.route().revisions[0].revision_id
    report(site, made["id"], revision, in_flight=9, waiting=5)
    site.look()
    kinds = [(each["ordinal"], each["is_surplus"]) for each in site.replicas(made["id"])]
    assert kinds == [(0, False), (1, True), (2, True)]
    priorities = [site.plane.job(each["job_id"]).priority for each in site.replicas(made["id"])]
    assert priorities == [100, 0, 0]
    site.look(1)
    report(site, made["id"], revision, in_flight=0, waiting=0)
    site.look(5)
    assert site.api.get(f"/v1/services/{made['id']}").json()["desired"] == 3
    site.look(10)
    assert site.api.get(f"/v1/services/{made['id']}").json()["desired"] == 1
    assert [each["ordinal"] for each in site.replicas(made["id"])] == [0]


def test_the_fewest_replicas_ask_to_be_kept_and_so_does_who_takes_the_place_of_one(site: Site) -> None:
    made = site.deploy(replicas={"min": 2, "max": 3, "stable_seconds": 10.0})
    site.look()
    attempt = site.start(made["id"])
    report(site, made["id"], site.route().revisions[0].revision_id, in_flight=9, waiting=5)
    site.look()
    assert kept(site, made["id"]) == {(0, 1): True, (1, 1): True, (2, 1): False}

    job = site.plane.job(attempt.job_id)
    site.plane.end(attempt, Outcome.FAILED, exit_code=1)
    site.plane.finish(job.id, JobState.FAILED)
    site.look(10)
    assert kept(site, made["id"]) == {(0, 2): True, (1, 1): True, (2, 1): False}

    site.do(made["id"], "scale", {"min": 1, "max": 3})
    site.look(1)
    assert sorted(kept(site, made["id"]).values()) == [False, False, True]


def kept(site: Site, service_id: str) -> dict[tuple[int, int], bool]:
    """By place and turn, whether the replica asks as one of the fewest."""
    with site.plane.store.read() as tx:
        found = {}
        for known in tx.replicas.known(ServiceId(service_id), tx.now):
            ask = tx.asks.of_job(known.replica.job_id)
            assert ask is not None
            if known.stays:
                found[known.replica.ordinal, known.replica.turn] = ask.traits.is_lasting
        return found


def test_bounds_can_be_changed_without_a_revision(site: Site) -> None:
    made = site.deploy()
    site.look()
    scaled = site.do(made["id"], "scale", {"min": 2, "max": 2})
    assert (scaled["min_replicas"], scaled["max_replicas"]) == (2, 2)
    site.look()
    assert len(site.replicas(made["id"])) == 2


def report(site: Site, service_id: str, revision_id: RevisionId, *, in_flight: int, waiting: int) -> None:
    now = site.plane.clock.at
    load = Load(
        gateway="gate",
        service_id=ServiceId(service_id),
        revision_id=revision_id,
        since=now - timedelta(seconds=1),
        until=now,
        in_flight=in_flight,
        waiting=waiting,
        requests=0,
        errors=0,
        latency_ms=(0,) * (len(LATENCY_EDGES_MS) + 1),
    )
    traffic.report(site.plane.context, [load])
    traffic.report(site.plane.context, [load])  # saying it again changes nothing
    with pytest.raises(Invalid, match="has 1 counts"):
        traffic.report(site.plane.context, [replace(load, latency_ms=(1,))])


REFUSED: Final[tuple[tuple[Document, int, str, str], ...]] = (
    ({"import_path": None}, 422, "invalid", "body"),
    ({"config": {"text": "x" * 70_000}}, 422, "invalid", "config"),
    ({"replicas": {"min": 3, "max": 2}}, 422, "invalid", "replicas"),
    ({"replicas": {"max": 1001}}, 422, "invalid", "replicas.max"),
    ({"release": {"steps": [50.0, 10.0]}}, 422, "invalid", "release"),
    ({"model": "digits@7"}, 404, "not_found", "model"),
    ({"model": "digits"}, 422, "invalid", "model"),
    ({"working_dir": f"sha256:{'9' * 64}"}, 422, "invalid", "working_dir"),
    ({"queue": "nowhere"}, 404, "not_found", "queue"),
    ({"resources": {"cpus": 64.0}}, 422, "invalid", "resources"),
    ({"environment": {"CROSSDOCK_X": "1"}}, 422, "invalid", "environment"),
    ({"concurency": 3}, 422, "invalid", "concurency"),
)


def test_what_cannot_be_served_is_refused_and_nothing_is_kept(site: Site) -> None:
    for changes, status, code, field in REFUSED:
        wanted = SPEC | {"working_dir": site.code} | changes
        found = problem(site.api.post("/v1/services", wanted), status, code)
        assert (changes, found.get("field")) == (changes, field)
    assert site.api.get("/v1/services").json()["items"] == []


def test_names_are_unique_in_a_project_and_revisions_keep_them(site: Site) -> None:
    made = site.deploy()
    wanted = SPEC | {"working_dir": site.code}
    assert problem(site.api.post("/v1/services", wanted), 409, "conflict")["field"] == "name"
    path = f"/v1/services/{made['id']}/revisions"
    assert problem(site.api.post(path, wanted | {"name": "other"}), 422, "invalid")["field"] == "name"
    problem(site.api.post(f"/v1/services/{made['id']}/promote"), 409, "conflict")
    problem(site.api.post(f"/v1/services/{made['id']}/rollback", {}), 409, "conflict")


def test_viewers_look_and_do_not_touch_and_other_projects_see_nothing(site: Site) -> None:
    made = site.deploy()
    viewer = site.api.as_token(site.plane.secret(Role.VIEWER))
    assert viewer.get(f"/v1/services/{made['id']}").status_code == 200
    problem(viewer.post(f"/v1/services/{made['id']}/delete"), 403, "forbidden")
    assert problem(site.api.get("/v1/services?name=echo"), 422, "invalid")["field"] == "name"
    found = site.api.get("/v1/services?name=echo&project=default").json()["items"]
    assert [each["id"] for each in found] == [made["id"]]
