"""Accepting jobs: what is written, what is refused, and that nothing is half-created."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Outcome
from controlplane.domain.errors import Forbidden, Invalid, NotFound
from controlplane.domain.ids import TokenId
from controlplane.domain.jobs import JobState
from controlplane.identity.principals import Role
from controlplane.operations import batches, jobs, object_stores, submission
from controlplane.operations.idempotency import Once, Replay
from controlplane.store import JobView
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from tests.unit.operations.world import World, other_project


def spec(name: str, **given: object) -> tuple[JobSpec, str]:
    made = JobSpec.model_validate({"name": name, "entrypoint": "true", **given})
    return made, made.model_dump_json(exclude_unset=True)


def test_a_job_without_dependencies_is_queued_when_the_call_returns(plane: World) -> None:
    view = plane.submit(
        labels={"team": "vision"}, tasks=2, resources={"cpus": 1.5, "memory": "1GiB", "gpus": 0.5}
    )
    assert (view.job.state, view.job.came_from, view.job.version) == (JobState.QUEUED, "held", 2)
    assert plane.event_kinds()[-1] == "job.queued"
    with plane.store.read() as tx:
        assert tx.jobs.view(view.job.id) == view
        ask = tx.asks.of_job(view.job.id)
    assert ask is not None
    assert (ask.tasks, ask.amounts) == (2, Amounts(cpu_milli=1500, memory_bytes=1024**3, gpu_milli=500))


def test_the_spec_is_stored_as_it_was_sent(plane: World) -> None:
    text = '{ "entrypoint":"true",  "name":"odd",\n "priority": 7 }'
    with_text = batches.submit_many(plane.context, plane.root, [(JobSpec.model_validate_json(text), text)])
    assert with_text[0].spec == text


def test_asks_that_a_policy_must_treat_alike_share_a_class(plane: World) -> None:
    def class_of(**given: Any) -> str:  # noqa: ANN401 - fields of a spec
        with plane.store.read() as tx:
            ask = tx.asks.of_job(plane.submit(**given).job.id)
        assert ask is not None
        return ask.class_id

    first = class_of(name="one", priority=5)
    assert class_of(name="two", labels={"a": "b"}) == first
    others = [
        class_of(tasks=2),
        class_of(resources={"cpus": 2.0}),
        class_of(resources={"cpus": 1.0, "accelerator": "A100"}),
        class_of(resources={"cpus": 1.0, "custom": {"fpga": 1.0}}),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("given", "field"), [({"project": "nowhere"}, "project"), ({"queue": "nowhere"}, "queue")]
)
def test_an_unknown_home_is_not_found_and_nothing_is_written(
    plane: World, given: dict[str, Any], field: str
) -> None:
    before = plane.counts()
    with pytest.raises(NotFound) as caught:
        plane.submit(**given)
    assert (caught.value.field, caught.value.value, plane.counts()) == (field, "nowhere", before)


def test_another_projects_name_is_as_unknown_as_any(plane: World) -> None:
    other_project(plane)
    ours = plane.principal(Role.SUBMITTER, "default")
    with pytest.raises(NotFound) as theirs:
        plane.submit(who=ours, project="other")
    with pytest.raises(NotFound) as nobodys:
        plane.submit(who=ours, project="nowhere")
    assert theirs.value.message.replace("other", "nowhere") == nobodys.value.message


def test_a_viewer_may_not_submit(plane: World) -> None:
    with pytest.raises(Forbidden, match="the role viewer may not submit jobs"):
        plane.submit(who=plane.principal(Role.VIEWER, "default"))


def test_an_archive_that_was_never_uploaded_is_refused(plane: World) -> None:
    digest = f"sha256:{'0' * 64}"
    with pytest.raises(Invalid) as caught:
        plane.submit(working_dir=digest)
    assert (caught.value.field, caught.value.value) == ("working_dir", digest)


def test_a_job_that_waits_is_held_until_all_have_succeeded(plane: World) -> None:
    first = plane.submit(name="first").job
    second = plane.submit(name="second", depends_on=[first.id]).job
    assert (second.state, second.depends_on) == (JobState.HELD, (first.id,))
    assert plane.is_poked("job", second.id)
    assert not plane.is_poked("job", first.id)


def test_a_dependency_that_has_succeeded_holds_nothing_up(plane: World) -> None:
    attempt = plane.end(plane.running(name="first"))
    plane.finish(attempt.job_id, JobState.SUCCEEDED)
    assert plane.submit(depends_on=[attempt.job_id]).job.state is JobState.QUEUED


def test_a_dependency_that_can_no_longer_succeed_is_refused(plane: World) -> None:
    first = plane.submit(name="first").job
    jobs.cancel(plane.context, plane.root, first.id)
    before = plane.counts()
    with pytest.raises(Invalid, match=f"job {first.id} is cancelled") as caught:
        plane.submit(depends_on=[first.id])
    assert (caught.value.field, caught.value.value, plane.counts()) == ("depends_on", first.id, before)


def test_a_dependency_of_another_project_is_unknown(plane: World) -> None:
    other_project(plane)
    theirs = plane.submit(project="other").job
    with pytest.raises(Invalid, match="there is no job") as caught:
        plane.submit(depends_on=[theirs.id])
    assert (caught.value.field, caught.value.value) == ("depends_on", theirs.id)


def test_a_batch_may_wait_for_itself_in_any_order(plane: World) -> None:
    views = batches.submit_many(
        plane.context,
        plane.root,
        [spec("eval", depends_on=["train"]), spec("train", depends_on=["fetch"]), spec("fetch")],
    )
    evaluation, training, fetch = (view.job for view in views)
    assert [view.job.name for view in views] == ["eval", "train", "fetch"]
    assert (evaluation.depends_on, training.depends_on) == ((training.id,), (fetch.id,))
    assert [view.job.state for view in views] == [JobState.HELD, JobState.HELD, JobState.QUEUED]


def test_a_cycle_is_refused_by_name_and_nothing_is_written(plane: World) -> None:
    before = plane.counts()
    batch = [spec("a", depends_on=["b"]), spec("b", depends_on=["c"]), spec("c", depends_on=["a"]), spec("d")]
    with pytest.raises(Invalid) as caught:
        batches.submit_many(plane.context, plane.root, batch)
    assert caught.value.value in {"a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"}
    assert (caught.value.field, plane.counts()) == ("jobs", before)


def test_a_job_that_waits_for_itself_is_a_cycle(plane: World) -> None:
    with pytest.raises(Invalid, match="a -> a"):
        batches.submit_many(plane.context, plane.root, [spec("a", depends_on=["a"])])


def test_a_name_that_several_jobs_of_a_batch_carry_cannot_be_waited_for(plane: World) -> None:
    with pytest.raises(Invalid, match="2 jobs of the batch are named 'a'") as caught:
        batches.submit_many(plane.context, plane.root, [spec("a"), spec("a"), spec("b", depends_on=["a"])])
    assert (caught.value.field, caught.value.limit) == ("jobs.2.depends_on", 1)


def test_one_bad_job_refuses_the_whole_batch(plane: World) -> None:
    before = plane.counts()
    with pytest.raises(NotFound):
        batches.submit_many(plane.context, plane.root, [spec("a"), spec("b", queue="nowhere")])
    assert plane.counts() == before


def test_a_gang_that_no_cluster_could_hold_is_refused_with_what_the_largest_holds(plane: World) -> None:
    plane.cluster("small", nodes=1, gpus=2)
    plane.cluster("large", nodes=2, gpus=2)
    before = plane.counts()
    with pytest.raises(Invalid) as caught:
        plane.submit(tasks=8, resources={"cpus": 1.0, "gpus": 1.0})
    assert caught.value.message == "needs 8 x {cpu 1, gpu 1}, the largest cluster 'large' holds 4"
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("tasks", 8, 4)
    assert plane.counts() == before


def test_an_elastic_gang_is_taken_where_its_fewest_tasks_fit(plane: World) -> None:
    plane.cluster("large", nodes=2, gpus=2)
    wanted = {"cpus": 1.0, "gpus": 1.0}
    plane.submit(tasks=8, min_tasks=4, resources=wanted)
    with pytest.raises(Invalid, match="needs 5 x") as caught:
        plane.submit(tasks=8, min_tasks=5, resources=wanted)
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("min_tasks", 5, 4)


def test_a_task_that_no_node_could_hold_names_its_resources(plane: World) -> None:
    plane.cluster("lab", accelerator="A100")
    with pytest.raises(Invalid, match="the largest cluster 'lab' holds 0") as caught:
        plane.submit(resources={"cpus": 1.0, "accelerator": "H100"})
    assert (caught.value.field, caught.value.value) == ("resources", "{cpu 1, accelerator H100}")


def test_a_role_that_no_cluster_could_hold_is_named(plane: World) -> None:
    plane.cluster("large", nodes=2, gpus=2)
    head = {"name": "head"}
    with pytest.raises(
        Invalid, match=r"needs 5 x \{cpu 1, gpu 1\}, the largest cluster 'large' holds 4"
    ) as caught:
        plane.submit(roles=[head, {"name": "rest", "tasks": 5, "resources": {"gpus": 1.0}}])
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("roles.1.tasks", 5, 4)
    with pytest.raises(Invalid, match="holds 0") as caught:
        plane.submit(roles=[{"name": "wide", "resources": {"gpus": 3.0}}, head])
    assert (caught.value.field, caught.value.value) == ("roles.0.resources", "{cpu 1, gpu 3}")


def test_a_gang_is_not_spread_over_clusters(plane: World) -> None:
    plane.cluster("one", nodes=1, gpus=2)
    plane.cluster("two", nodes=1, gpus=2)
    with pytest.raises(Invalid, match="holds 2"):
        plane.submit(tasks=4, resources={"gpus": 1.0})


def test_what_would_fit_an_empty_cluster_is_accepted_though_it_is_full_now(plane: World) -> None:
    cluster = plane.cluster("lab", nodes=1)
    plane.place(plane.submit(tasks=4).job, cluster, tasks=4)
    assert plane.submit(tasks=4).job.state is JobState.QUEUED


def test_while_a_cluster_was_never_seen_any_gang_may_wait(plane: World) -> None:
    plane.cluster("known", nodes=1)
    plane.cluster("unknown", seen=False)
    assert plane.submit(tasks=500).job.state is JobState.QUEUED


def test_without_any_cluster_any_gang_may_wait(plane: World) -> None:
    assert plane.submit(tasks=500).job.state is JobState.QUEUED


def test_a_retry_is_a_new_job_with_the_same_spec(plane: World) -> None:
    attempt = plane.end(plane.running(name="first", labels={"a": "b"}), Outcome.FAILED, exit_code=3)
    plane.finish(attempt.job_id, JobState.FAILED, "exit code 3")
    again = jobs.retry(plane.context, plane.root, attempt.job_id)
    assert (again.job.retry_of, again.job.state) == (attempt.job_id, JobState.QUEUED)
    assert (json.loads(again.spec)["labels"], again.attempts) == ({"a": "b"}, 0)


def test_a_retried_job_of_a_batch_waits_for_the_same_jobs(plane: World) -> None:
    batch = [spec("fetch"), spec("train", depends_on=["fetch"])]
    fetch, train = (view.job for view in batches.submit_many(plane.context, plane.root, batch))
    jobs.cancel(plane.context, plane.root, train.id)
    again = jobs.retry(plane.context, plane.root, train.id).job
    assert (again.depends_on, again.state) == ((fetch.id,), JobState.HELD)


def test_an_answer_that_was_given_before_goes_before_a_refusal(plane: World) -> None:
    def again(key: str) -> JobView:
        return submission.submit(plane.context, plane.root, *spec("wide", tasks=99), once=_once(key, str))

    first = again("key")
    plane.cluster(nodes=2)

    with pytest.raises(Replay) as known:
        again("key")
    assert known.value.remembered.body == str(first)
    with pytest.raises(Invalid, match="needs 99 x"):
        again("another key")


def test_one_who_submits_has_its_answer_ready_before_it_keeps_others_from_writing(plane: World) -> None:
    others: list[JobView] = []

    def rendered(view: JobView) -> str:
        if not others:  # a unit that wrote through another door would be a bug
            others.append(plane.submit(name="another"))
        return view.job.name

    view = submission.submit(plane.context, plane.root, *spec("mine"), once=_once("key", rendered))

    with plane.store.read() as tx:
        assert [tx.jobs.get(each.job.id) for each in (view, *others)] == [view.job, others[0].job]
        remembered = tx.idempotency.get(TokenId("token_1"), "key")
    assert remembered is not None
    assert remembered.body == "mine"


def test_a_store_that_comes_while_a_job_is_examined_binds_it(
    plane: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uri = tmp_path_factory.mktemp("raw").as_uri()

    def rendered(view: JobView) -> str:
        object_stores.add(plane.context, plane.root, StoreCreate(name="raw", uri=uri))
        return view.job.name

    asked = spec("reads", inputs={"corpus": f"{uri}/corpus/"})
    view = submission.submit(plane.context, plane.root, *asked, once=_once("key", rendered))

    with plane.store.read() as tx:
        ask = tx.asks.of_job(view.job.id)
    assert ask is not None
    assert ask.traits.stores == ("raw",)


def _once(key: str, render: Callable[[JobView], str]) -> Once[JobView]:
    return Once(token_id=TokenId("token_1"), key=key, request_hash=b"request", code=201, render=render)
