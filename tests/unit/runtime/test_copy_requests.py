"""Who may ask for which copies, and see them."""

from dataclasses import replace

import pytest

from controlplane.domain.data_copies import CopyState
from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound
from controlplane.domain.ids import ExecutionId, ProjectId
from controlplane.domain.inputs import InputState
from controlplane.domain.manifests import Artifact, Facts, Lineage, manifest_of
from controlplane.identity.principals import Principal, Role
from controlplane.operations import copies, tokens
from controlplane.operations.idempotency import Once, Replay
from controlplane.store import CheckpointRow, Tx
from controlplane.wire.data import CopyCreate
from tests import factories
from tests.unit.operations.world import other_project
from tests.unit.runtime.copy_site import Site, site

__all__ = ["site"]

NEAR = "s3://into/crossdock-inputs/"
OTHERS = {
    "s3://into/runs/7/model.pt": "a checkpoint",
    "s3://into/runs/8/shards/": "a checkpoint",
    "s3://into/kept/runs/7": "the copy of a checkpoint",
    "s3://into/staged/1/": "an input of jobs",
    "s3://into/made/execution-1/": "outputs of a pipeline",
    "s3://into/models/a.onnx": "an artifact of a model",
}
"""What the project `other` has where it lies."""


@pytest.fixture
def shared(site: Site) -> Site:
    """Another project has things in the target's store."""
    other = other_project(site.plane)
    attempt = site.plane.running(project="other")
    token = tokens.create(site.plane.context, site.plane.root, name="x", role=Role.SUBMITTER, project="other")

    def unit(tx: Tx) -> None:
        for seq, uri in enumerate(
            ["s3://into/runs/7/model.pt", "s3://into/runs/8/shards/", "s3://from/runs/7"]
        ):
            row = CheckpointRow(
                attempt_id=attempt.id,
                job_id=attempt.job_id,
                rank=0,
                seq=seq,
                step=seq,
                uri=uri,
                sha256=None,
                at=tx.now,
            )
            tx.records.add_checkpoint(row)
        tx.copies.add(
            factories.copy(
                project_id=other,
                state=CopyState.DONE,
                source="s3://from/runs/7",
                target="s3://into/kept/runs/7",
            )
        )
        made = {"project_id": other, "outputs_uri": "s3://into/made/", "token_id": token.view.row.id}
        tx.executions.add(
            factories.execution(id=ExecutionId("execution-1"), **made), spec="{}", schema_version=1
        )
        keep(tx, other, "s3://into/staged/1/")
        publish(tx, other, "s3://into/models/a.onnx")

    site.plane.store.write(unit)
    return site


def keep(tx: Tx, owner: ProjectId, target: str) -> None:
    known = {"address": "a", "target": target, "state": InputState.READY, "copy_id": factories.copy().id}
    tx.inputs.add(factories.kept_input(project_id=owner, **known))


def publish(tx: Tx, owner: ProjectId, uri: str) -> None:
    artifact = Artifact(name="onnx", uri=uri, size_bytes=1, sha256="0" * 64)
    facts = Facts(
        project="other",
        model="digits",
        number=1,
        created_at=tx.now,
        created_by="anna",
        artifacts=(artifact,),
        lineage=Lineage(parameters={"labels": {"uri": "s3://into/free/x"}}),
        metrics={},
    )
    model = factories.model(project_id=owner)
    tx.models.add(model)
    tx.model_versions.add(model, factories.model_version(manifest=manifest_of(facts)), by="anna")


def submitter(site: Site, project: str | None = "default") -> Principal:
    return site.plane.principal(Role.SUBMITTER, project)


def request(site: Site, who: Principal, target: str, *, source: str = "s3://from/a/", **fields: str) -> str:
    wanted = CopyCreate.model_validate({"project": "default", "source": source, "target": target} | fields)
    return copies.request(site.plane.context, who, wanted).copy.id


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("s3://from/a", "s3://elsewhere/b", Forbidden),
        ("s3://elsewhere/a", "s3://into/b", Forbidden),
        ("s3://from/a/", "s3://into/b", Invalid),
        ("s3://from/a", "s3://from/a", Invalid),
        ("s3://from/a/", "s3://from/a/b/", Invalid),
        ("nonsense", "s3://into/b", Invalid),
    ],
)
def test_what_cannot_be_copied_is_refused_at_once(
    site: Site, source: str, target: str, problem: type[Exception]
) -> None:
    with pytest.raises(problem):
        site.request(source, target)


def test_an_unregistered_bucket_is_refused_with_what_to_do(site: Site) -> None:
    with pytest.raises(Forbidden, match="crossdock stores add NAME s3://elsewhere"):
        site.request("s3://from/a", "s3://elsewhere/b")


def test_one_target_takes_one_copy_at_a_time(site: Site) -> None:
    site.request("s3://from/a", "s3://into/b")
    with pytest.raises(Conflict):
        site.request("s3://from/c", "s3://into/b")


def test_another_projects_copy_is_not_there(site: Site) -> None:
    copy = site.request("s3://from/a", "s3://into/b")
    other_project(site.plane)
    stranger = site.plane.principal(Role.SUBMITTER, "other")
    for call in (copies.get, copies.cancel):
        with pytest.raises(NotFound):
            call(site.plane.context, stranger, copy.id)
    assert copies.listed(site.plane.context, stranger, before=None, limit=10) == []


def test_a_viewer_may_look_and_not_copy(site: Site) -> None:
    viewer = site.plane.principal(Role.VIEWER, "default")
    copy = site.request("s3://from/a", "s3://into/b")
    assert copies.get(site.plane.context, viewer, copy.id).copy.id == copy.id
    with pytest.raises(Forbidden):
        copies.cancel(site.plane.context, viewer, copy.id)


@pytest.mark.parametrize("target", ["s3://into/", "s3://into/runs/", *OTHERS])
def test_what_is_read_for_another_project_is_not_copied_over(shared: Site, target: str) -> None:
    source = "s3://from/a/" if target.endswith("/") else "s3://from/a"
    for who in (submitter(shared), submitter(shared, None), shared.plane.principal(Role.ADMIN, "default")):
        with pytest.raises(Forbidden, match="only an admin token of all projects may") as refused:
            request(shared, who, target, source=source)
        assert refused.value.field == "target"
        assert refused.value.value == target
        assert OTHERS.get(target, "of another project") in refused.value.message
    assert request(shared, shared.plane.root, target, source=source)


@pytest.mark.parametrize(
    "target",
    [
        "s3://into/runs/8/shards/deep/er/",
        "s3://into/runs/7/model.pt/",
        "s3://into/staged/1/corpus/",
        "s3://into/made/execution-1/train/1/outputs/",
    ],
)
def test_nor_is_anything_put_below_it(shared: Site, target: str) -> None:
    with pytest.raises(Forbidden, match="of another project"):
        request(shared, submitter(shared), target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://from/a", "s3://into/runs/7/model.pt2"),
        ("s3://from/a", "s3://into/runs/7/MODEL.pt"),
        ("s3://from/a", "s3://into/models/A.onnx"),
        ("s3://from/a", "s3://into/models/a"),
        ("s3://from/a/", "s3://into/made/execution-2/"),
        ("s3://from/a", "s3://into/free/x"),
        ("s3://from/a/", "s3://into/run/"),
        ("s3://into/runs/", "s3://from/runs/8/"),
    ],
)
def test_beside_it_there_is_room(shared: Site, source: str, target: str) -> None:
    assert request(shared, submitter(shared), target, source=source)


@pytest.mark.parametrize("target", OTHERS)
def test_the_owner_may_copy_over_its_own(shared: Site, target: str) -> None:
    source = "s3://from/a/" if target.endswith("/") else "s3://from/a"
    assert request(shared, submitter(shared, "other"), target, source=source, project="other")


@pytest.mark.parametrize("below", ["", "project_1/abc/", "project_1/abc/x"])
def test_only_the_server_writes_where_inputs_lie_near_the_work(site: Site, below: str) -> None:
    source = "s3://from/a" if below.endswith("x") else "s3://from/a/"
    for store in ("into", "from"):
        target = f"s3://{store}/crossdock-inputs/{below}"
        with pytest.raises(
            Forbidden, match=f"is below 'crossdock-inputs' of store '{store}', where only the server"
        ):
            request(site, submitter(site), target, source=source)
    assert request(site, site.plane.root, f"{NEAR}{below}", source=source)


def test_a_request_that_was_accepted_before_is_answered_as_then(site: Site) -> None:
    who = submitter(site)
    wanted = CopyCreate(project="default", source="s3://from/a", target="s3://into/models/a.onnx")
    once: Once[copies.CopyView] = Once(
        token_id=who.token_id, key="key", request_hash=b"hash", code=201, render=lambda view: view.copy.id
    )
    copy = copies.request(site.plane.context, who, wanted, once=once).copy
    other = other_project(site.plane)
    site.plane.store.write(lambda tx: publish(tx, other, wanted.target))
    with pytest.raises(Replay) as before:
        copies.request(site.plane.context, who, wanted, once=once)
    assert before.value.remembered.body == copy.id
    with pytest.raises(Forbidden):
        copies.request(site.plane.context, who, wanted, once=replace(once, key="another"))
