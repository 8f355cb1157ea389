"""Models over the API: published from a job's records, judged by gates, signed, and refused with reasons."""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controlplane.domain.attempts import Attempt
from controlplane.domain.jobs import JobState
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Role
from controlplane.operations import object_stores, records
from controlplane.operations.retention import Walk, step
from controlplane.storage.file import FileStore
from controlplane.wire.data import StoreCreate
from controlplane.wire.protocol import RecordBatch
from tests.unit.api.client import BOTH, Api, app_over, problem
from tests.unit.operations.world import START, World, other_project

DIGITS = "/v1/models/default/digits"
VERSIONS = f"{DIGITS}/versions"
CODE = f"sha256:{'c' * 64}"
YEAR_SECONDS = 366 * 86_400
Document = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Registry:
    plane: World
    api: Api
    folder: Path

    @property
    def top(self) -> str:
        return f"file://{self.folder}"

    def write(self, key: str, content: bytes) -> str:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"{self.top}/{key}"

    def trained(self, *accuracies: float | None, **spec: Any) -> str:  # noqa: ANN401 - fields of a spec
        """A job that reported these, one a step, each with a checkpoint, and succeeded."""
        attempt = self.plane.running(checkpoint_uri=f"{self.top}/runs", **spec)
        said: list[Document] = []
        for at, accuracy in enumerate(accuracies, 1):
            whole = b"weights" + str(at).encode()
            uri = self.write(f"runs/{attempt.job_id}/{at}/state.pt", whole)
            said.append({"kind": "metric", "step": at, "values": {"accuracy": accuracy, "loss": 1 / at}})
            digest = hashlib.sha256(whole).hexdigest().upper()
            said.append({"kind": "checkpoint", "step": at, "uri": uri, "sha256": digest})
        self._report(attempt, said)
        self.plane.end(attempt)
        self.plane.finish(attempt.job_id, JobState.SUCCEEDED)
        return attempt.job_id

    def publish(self, **wanted: object) -> Document:
        answer = self.api.post(VERSIONS, wanted)
        assert answer.status_code == 201, answer.text
        return cast("Document", answer.json())

    def promote(self, number: int, stage: str = "production") -> Document:
        answer = self.api.post(f"{VERSIONS}/{number}/promote", {"stage": stage})
        assert answer.status_code == 200, answer.text
        return cast("Document", answer.json())

    def stages(self) -> dict[int, str]:
        return {each["number"]: each["stage"] for each in self.api.get(VERSIONS).json()["items"]}

    def _report(self, attempt: Attempt, said: list[Document]) -> None:
        stamped = [{"seq": seq, "at": START.isoformat(), **each} for seq, each in enumerate(said, 1)]
        batch = RecordBatch.model_validate({"rank": 0, "records": stamped})
        records.ingest(
            self.plane.context, attempt.id, attempt_token(self.plane.context.server_key, attempt.id), batch
        )


@pytest.fixture
def registry(plane: World, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """With a store of files and a model without versions."""
    folder = tmp_path_factory.mktemp("shared").resolve()
    plane.context = replace(plane.context, object_stores=lambda _kind, _place, folder: FileStore(folder))
    object_stores.add(plane.context, plane.root, StoreCreate(name="shared", uri=f"file://{folder}"))
    api = Api(app_over(plane.context), plane.secret(Role.ADMIN))
    assert api.post("/v1/models", {"name": "digits", "description": "by hand"}).status_code == 201
    return Registry(plane=plane, api=api, folder=folder)


@BOTH
def test_a_job_publishes_with_its_id_alone_and_its_lineage_is_looked_up(registry: Registry) -> None:
    registry.plane.store.write(lambda tx: tx.uploads.add(CODE, 1, START))
    job_id = registry.trained(0.5, 0.9, working_dir=CODE, environment={"LR": "0.1"})
    data = registry.write("prepared/manifest.json", b'{"seed":7}')
    first = registry.publish(job=job_id, data=data)
    content = b"weights2"
    assert first["artifacts"] == [
        {
            "name": "checkpoint",
            "uri": f"{registry.top}/runs/{job_id}/2/state.pt",
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    assert first["metrics"] == {"accuracy": 0.9, "loss": 0.5}
    lineage = first["lineage"]
    assert lineage.pop("parameters")["environment"] == {"LR": "0.1"}
    assert lineage == {
        "job_id": job_id,
        "code": CODE,
        "checkpoint_step": 2,
        "evaluation_job_id": None,
        "data_uri": data,
        "data_sha256": hashlib.sha256(b'{"seed":7}').hexdigest(),
        "parent": None,
    }
    assert (first["number"], first["stage"], first["version"]) == (1, "candidate", 1)
    second = registry.publish(job=job_id, parent=1)
    assert (second["number"], second["lineage"]["parent"]) == (2, 1)
    assert registry.stages() == {2: "candidate", 1: "candidate"}


def test_an_older_checkpoint_is_published_with_the_metrics_of_its_time(registry: Registry) -> None:
    job_id = registry.trained(0.9, 0.4)
    uri = f"{registry.top}/runs/{job_id}/1/state.pt"
    made = registry.publish(job=job_id, artifacts=[{"name": "best.pt", "uri": uri}])
    assert (made["metrics"]["accuracy"], made["lineage"]["checkpoint_step"]) == (0.9, 1)


def test_a_copy_of_a_checkpoint_is_the_jobs_own(registry: Registry) -> None:
    job_id = registry.trained(0.9)
    copied = registry.write("elsewhere/state.pt", b"weights1")
    made = registry.publish(job=job_id, artifacts=[{"name": "copy", "uri": copied}])
    assert made["lineage"]["checkpoint_step"] == 1


def test_what_a_job_wrote_is_its_own_and_what_it_did_not_is_refused(registry: Registry) -> None:
    job_id = registry.trained(0.9, outputs_uri=f"{registry.top}/out")
    exported = registry.write("out/model.onnx", b"graph")
    made = registry.publish(job=job_id, artifacts=[{"name": "model.onnx", "uri": exported}])
    assert (made["lineage"]["job_id"], made["lineage"]["checkpoint_step"]) == (job_id, None)
    foreign = registry.write("others/model.onnx", b"graph of others")
    wrong = {"job": job_id, "artifacts": [{"name": "model.onnx", "uri": foreign}]}
    refused = problem(registry.api.post(VERSIONS, wrong), 422, "invalid")
    assert (refused["field"], refused["value"]) == ("artifacts.0.uri", foreign)
    limit = f"{registry.top}/out, {registry.top}/runs"
    assert limit.startswith(refused["limit"].removesuffix("..."))  # a long one is cut


def test_metrics_of_an_evaluation_count_before_those_of_the_training(registry: Registry) -> None:
    trained, evaluated = registry.trained(0.99), registry.trained(0.9, 0.8)
    made = registry.publish(job=trained, evaluated_by=evaluated)
    assert made["metrics"]["accuracy"] == 0.8
    assert made["lineage"]["evaluation_job_id"] == evaluated


def test_what_comes_from_elsewhere_has_no_metrics_but_those_of_an_evaluation(registry: Registry) -> None:
    uri = registry.write("bought/model.onnx", b"graph")
    artifact = {"name": "model.onnx", "uri": uri, "size_bytes": 5}
    assert registry.publish(artifacts=[artifact])["metrics"] == {}
    assert registry.publish(artifacts=[artifact], evaluated_by=registry.trained(0.7))["metrics"][
        "accuracy"
    ] == (0.7)


def test_nothing_is_published_of_what_is_not_there_or_not_what_it_was_said_to_be(registry: Registry) -> None:
    uri, absent = registry.write("model.onnx", b"graph"), f"{registry.top}/absent.onnx"
    actual = hashlib.sha256(b"graph").hexdigest()

    def refused(status: int, code: str, **artifact: object) -> Document:
        whole = {"artifacts": [{"name": "good", "uri": uri}, {"name": "bad", "uri": uri, **artifact}]}
        return problem(registry.api.post(VERSIONS, whole), status, code)

    wrong = refused(422, "invalid", sha256="0" * 64)
    assert (wrong["field"], wrong["value"], wrong["limit"]) == ("artifacts.1.sha256", "0" * 64, actual)
    longer = refused(422, "invalid", size_bytes=6)
    assert (longer["field"], longer["value"], longer["limit"]) == ("artifacts.1.size_bytes", 6, 5)
    missing = refused(404, "not_found", uri=absent)
    assert (missing["field"], missing["value"]) == ("artifacts.1.uri", absent)
    assert refused(422, "invalid", uri=registry.write("empty", b""))["limit"] == 1
    assert refused(422, "invalid", uri=f"{registry.top}/")["field"] == "artifacts.1.uri"
    assert refused(403, "forbidden", uri="s3://unheard-of/model")["value"] == "s3://unheard-of/model"
    assert registry.api.get(DIGITS).json()["versions"] == 0
    assert registry.stages() == {}


def test_a_checkpoint_that_was_changed_since_it_was_reported_is_refused(registry: Registry) -> None:
    job_id = registry.trained(0.9)
    registry.write(f"runs/{job_id}/1/state.pt", b"weights!")
    refused = problem(registry.api.post(VERSIONS, {"job": job_id}), 422, "invalid")
    assert refused["field"] == "artifacts.0.sha256"
    assert refused["value"] == hashlib.sha256(b"weights1").hexdigest()


def test_artifacts_beyond_the_limit_are_refused_before_they_are_read(registry: Registry) -> None:
    context = registry.plane.context
    registry.api.app.state.site = replace(
        registry.api.app.state.site,
        context=replace(context, settings=replace(context.settings, publish_limit_bytes=8)),
    )
    artifacts = [{"name": name, "uri": registry.write(name, b"12345")} for name in ("a", "b")]
    refused = problem(registry.api.post(VERSIONS, {"artifacts": artifacts}), 413, "too_large")
    assert (refused["value"], refused["limit"]) == (10, 8)


def test_jobs_that_cannot_be_published_are_refused(registry: Registry) -> None:
    plane, api = registry.plane, registry.api
    other_project(plane)
    assert problem(api.post(VERSIONS, {"job": "job_none"}), 404, "not_found")["value"] == "job_none"
    running = plane.running().job_id
    still = problem(api.post(VERSIONS, {"job": running}), 409, "conflict")
    assert (still["field"], still["value"], still["limit"]) == ("job", "active", "succeeded")
    foreign = registry.trained(0.9, project="other")
    theirs = problem(api.post(VERSIONS, {"job": foreign}), 422, "invalid")
    assert (theirs["field"], theirs["value"], theirs["limit"]) == ("job", foreign, "default")
    bound = api.as_token(plane.secret(Role.SUBMITTER, "default"))
    problem(bound.post(VERSIONS, {"job": foreign}), 404, "not_found")
    problem(api.post(VERSIONS, {"job": registry.trained(0.9), "evaluated_by": foreign}), 422, "invalid")
    silent = problem(api.post(VERSIONS, {"job": registry.trained()}), 422, "invalid")
    assert silent["field"] == "artifacts"
    orphan = problem(api.post(VERSIONS, {"job": registry.trained(0.9), "parent": 7}), 404, "not_found")
    assert (orphan["field"], orphan["value"], orphan["limit"]) == ("parent", 7, 0)
    problem(api.post(VERSIONS, {}), 422, "invalid")


@BOTH
def test_a_promotion_takes_the_place_of_the_version_that_serves(registry: Registry) -> None:
    for accuracy in (0.8, 0.9):
        registry.publish(job=registry.trained(accuracy))
    first = registry.promote(1)
    assert (first["stage"], first["promoted_at"]) == ("production", first["since"])
    assert registry.promote(1) == first
    registry.promote(2)
    assert registry.stages() == {2: "production", 1: "staging"}
    assert registry.api.get(DIGITS).json()["production"] == 2
    assert registry.api.get(f"{VERSIONS}/production").json()["number"] == 2
    kinds = [kind for kind in registry.plane.event_kinds() if kind.startswith("model")]
    assert kinds == [
        "model.created",
        "model_version.candidate",
        "model_version.candidate",
        "model_version.production",
        "model_version.staging",
        "model_version.production",
    ]


@BOTH
def test_a_gate_keeps_out_what_does_not_reach_it(registry: Registry) -> None:
    gate = {"name": "good", "metric": "accuracy", "limit": 0.85, "slack": 0.02}
    assert registry.api.post(f"{DIGITS}/gates", gate).json()["gates"] == [gate | {"comparison": "at_least"}]
    for accuracy in (0.8, 0.95, 0.9, 0.93, None):
        registry.publish(job=registry.trained(accuracy))
    low = problem(registry.api.post(f"{VERSIONS}/1/promote", {}), 409, "gate_not_passed")
    assert (low["field"], low["value"], low["limit"]) == ("gates.good", 0.8, 0.85)
    assert low["message"] == "gate 'good': accuracy is 0.8, at least 0.85 is asked for"
    registry.promote(2)
    worse = problem(registry.api.post(f"{VERSIONS}/3/promote", {}), 409, "gate_not_passed")
    assert (worse["field"], worse["value"], worse["limit"]) == ("gates.good", 0.9, 0.93)
    registry.promote(4)
    problem(registry.api.post(f"{VERSIONS}/5/promote", {}), 409, "gate_not_passed")
    assert registry.promote(3, "staging")["stage"] == "staging"
    assert registry.stages() == {5: "candidate", 4: "production", 3: "staging", 2: "staging", 1: "candidate"}


def test_a_gate_on_a_metric_that_nobody_reported_is_not_passed(registry: Registry) -> None:
    registry.api.post(
        f"{DIGITS}/gates", {"name": "fast", "metric": "latency", "comparison": "at_most", "limit": 5}
    )
    registry.publish(job=registry.trained(0.9))
    refused = problem(registry.api.post(f"{VERSIONS}/1/promote", {}), 409, "gate_not_passed")
    assert refused["message"] == "gate 'fast': the metric 'latency' was not reported"
    assert (refused["value"], refused["limit"]) == (None, 5)
    assert registry.api.post(f"{DIGITS}/gates/remove", {"name": "fast"}).json()["gates"] == []
    registry.promote(1)


def test_who_served_before_is_called_back_though_the_newer_one_is_better(registry: Registry) -> None:
    registry.api.post(f"{DIGITS}/gates", {"name": "kept", "metric": "accuracy", "slack": 0})
    for accuracy in (0.8, 0.9, 0.85):
        registry.publish(job=registry.trained(accuracy))
    registry.promote(1)
    registry.promote(2)
    problem(registry.api.post(f"{VERSIONS}/3/promote", {}), 409, "gate_not_passed")
    registry.promote(1)
    assert registry.stages() == {3: "candidate", 2: "staging", 1: "production"}


def test_what_is_archived_is_promoted_no_more(registry: Registry) -> None:
    registry.publish(job=registry.trained(0.9))
    registry.promote(1)
    assert registry.api.post(f"{VERSIONS}/1/archive").json()["stage"] == "archived"
    assert registry.api.post(f"{VERSIONS}/1/archive").status_code == 200
    refused = problem(registry.api.post(f"{VERSIONS}/1/promote", {}), 409, "conflict")
    assert (refused["field"], refused["value"], refused["limit"]) == (
        "stage",
        "archived",
        "candidate, staging",
    )
    problem(registry.api.get(f"{VERSIONS}/production"), 404, "not_found")


def test_the_manifest_holds_all_facts_and_the_servers_key_signed_it(registry: Registry) -> None:
    made = registry.publish(job=registry.trained(0.9))
    registry.promote(1)
    shown = registry.api.get(f"{VERSIONS}/1/manifest").json()
    key = registry.api.get("/v1/models/key").json()
    assert shown["key_id"] == key["key_id"] == made["key_id"]
    public = cast("Ed25519PublicKey", load_pem_public_key(key["public_key"].encode()))
    public.verify(base64.b64decode(shown["signature"]), shown["manifest"].encode())
    said = json.loads(shown["manifest"])
    assert (said["format"], said["model"], said["number"]) == (1, "digits", 1)
    for name in ("artifacts", "metrics", "lineage"):
        assert said[name] == made[name]
    assert registry.api.get("/v1/models/key").json() == key


@BOTH
def test_a_version_keeps_its_facts_when_its_job_is_archived(registry: Registry) -> None:
    made = registry.publish(job=registry.trained(0.9))
    plane = registry.plane
    plane.clock.pass_seconds(YEAR_SECONDS)
    lease = plane.store.write(lambda tx: tx.leases.take("retention", "test", 60))
    assert lease is not None
    assert step(plane.context, lease, Walk()).archived == 1
    problem(registry.api.get(f"/v1/jobs/{made['lineage']['job_id']}"), 404, "not_found")
    assert registry.api.get(f"{VERSIONS}/1").json() == made


@BOTH
def test_a_publication_that_is_sent_twice_is_made_once(registry: Registry) -> None:
    wanted = {"job": registry.trained(0.9)}
    twice = [registry.api.post(VERSIONS, wanted, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert twice[0].json() == twice[1].json()
    assert twice[1].headers["Idempotent-Replay"] == "true"
    assert registry.stages() == {1: "candidate"}


def test_roles_and_projects_hold(registry: Registry) -> None:
    plane, api = registry.plane, registry.api
    other_project(plane)
    viewer = api.as_token(plane.secret(Role.VIEWER))
    submitter = api.as_token(plane.secret(Role.SUBMITTER))
    stranger = api.as_token(plane.secret(Role.ADMIN, "other"))
    job_id = registry.trained(0.9)
    gate = {"name": "good", "metric": "accuracy", "limit": 0.5}
    problem(viewer.post("/v1/models", {"name": "mine"}), 403, "forbidden")
    problem(viewer.post(VERSIONS, {"job": job_id}), 403, "forbidden")
    problem(submitter.post(f"{DIGITS}/gates", gate), 403, "forbidden")
    assert submitter.post(VERSIONS, {"job": job_id}).status_code == 201
    assert submitter.post(f"{VERSIONS}/1/promote", {}).status_code == 200
    assert viewer.get(f"{VERSIONS}/1").json()["number"] == 1
    problem(viewer.post(f"{VERSIONS}/1/archive"), 403, "forbidden")
    for path in (DIGITS, VERSIONS, f"{VERSIONS}/1", f"{VERSIONS}/1/manifest"):
        problem(stranger.get(path), 404, "not_found")
    problem(stranger.post(f"{VERSIONS}/1/promote", {}), 404, "not_found")
    assert stranger.get("/v1/models").json()["items"] == []


def test_models_and_versions_are_listed_in_pages(registry: Registry) -> None:
    api, job_id = registry.api, registry.trained(0.9)
    api.post("/v1/models", {"name": "words"})
    for _ in range(3):
        registry.publish(job=job_id)
    first = api.get("/v1/models?limit=1").json()
    second = api.get("/v1/models", params={"limit": 1, "after": first["next"]}).json()
    assert [each["name"] for each in (*first["items"], *second["items"])] == ["digits", "words"]
    assert second["next"] is None
    page = api.get(f"{VERSIONS}?limit=2").json()
    rest = api.get(VERSIONS, params={"limit": 2, "after": page["next"]}).json()
    assert [each["number"] for each in (*page["items"], *rest["items"])] == [3, 2, 1]
    problem(api.get("/v1/models/default/words/versions", params={"after": page["next"]}), 422, "invalid")


def test_names_that_are_taken_or_unknown_are_refused(registry: Registry) -> None:
    api = registry.api
    assert problem(api.post("/v1/models", {"name": "digits"}), 409, "conflict")["value"] == "digits"
    problem(api.post("/v1/models", {"name": "No"}), 422, "invalid")
    problem(api.post("/v1/models", {"name": "x", "project": "none"}), 404, "not_found")
    problem(api.get("/v1/models/default/none"), 404, "not_found")
    problem(api.get(f"{VERSIONS}/1"), 404, "not_found")
    problem(api.get(f"{VERSIONS}/{'9' * 40}"), 404, "not_found")
    assert problem(api.get(f"{VERSIONS}/newest"), 422, "invalid")["value"] == "newest"
    problem(api.post(f"{DIGITS}/gates", {"name": "g", "metric": "m"}), 422, "invalid")
    problem(api.post(f"{DIGITS}/gates/remove", {"name": "g"}), 404, "not_found")


def test_a_version_does_not_lie_where_its_project_may_not_be(registry: Registry) -> None:
    artifact = {"name": "model.onnx", "uri": registry.write("model.onnx", b"graph")}
    registry.api.post("/v1/residency", {"subject": "project", "name": "default", "regions": ["eu"]})
    refused = problem(registry.api.post(VERSIONS, {"artifacts": [artifact]}), 403, "forbidden")
    assert refused["value"] == f"{registry.top}"
    assert registry.stages() == {}
