"""The priority policy: its laws, and its order in plain cases."""

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId
from schedulers.base import AskClass, AskQueued, CapacityChanged, ClusterView, NodeView, Plan, ReasonCode
from schedulers.priority import Priority
from schedulers.testing import EPOCH, EPOCH_US, Picture, PolicyLaws


class TestPriority(PolicyLaws):
    def policy(self) -> Priority:
        return Priority()


ROOM = CapacityChanged(
    nodes=(
        NodeView(
            id=NodeId("n1"),
            cluster_id=ClusterId("c1"),
            allocatable=Amounts(cpu_milli=2000),
            free=Amounts(cpu_milli=2000),
            accelerator=None,
        ),
    ),
    clusters=(ClusterView(id=ClusterId("c1"), name="lab", blocked=None),),
)


def kind(name: str, *, tasks: int = 1, cpu_milli: int = 1000, accelerator: str | None = None) -> AskClass:
    return AskClass(
        id=ClassId(name),
        queue_id="q",
        tasks=tasks,
        amounts=Amounts(cpu_milli=cpu_milli),
        accelerator=accelerator,
    )


def ask(name: str, ask_class: AskClass, *, priority: int = 0, age: int = 0, not_before: int = 0) -> AskQueued:
    return AskQueued(
        id=AskId(name),
        ask_class=ask_class,
        priority=priority,
        submitted=EPOCH_US - age,
        not_before=not_before,
    )


def plan(*asks: AskQueued, room: CapacityChanged = ROOM) -> Plan:
    picture = Picture()
    picture.apply([*asks, room])
    return Priority().plan(picture.snapshot())


def placed(answer: Plan) -> list[str]:
    return [place.ask_id for place in answer.places]


def test_higher_priority_goes_before_older() -> None:
    one = kind("one", cpu_milli=2000)
    assert placed(plan(ask("old", one, age=9), ask("urgent", one, priority=5))) == ["urgent"]


def test_of_equal_priority_the_older_goes_first() -> None:
    one = kind("one")
    assert placed(plan(ask("b", one, age=1), ask("a", one, age=2), ask("c", one))) == ["a", "b"]


def test_a_gang_that_does_not_fit_books_nothing_and_smaller_work_passes() -> None:
    answer = plan(ask("gang", kind("gang", tasks=3), priority=1), ask("small", kind("small")))
    assert placed(answer) == ["small"]
    assert [(defer.class_id, defer.code) for defer in answer.defers] == [("gang", ReasonCode.TOO_LARGE)]


def test_a_full_cluster_says_how_many_tasks_would_fit() -> None:
    answer = plan(ask("first", kind("one")), ask("pair", kind("pair", tasks=2)))
    (defer,) = answer.defers
    assert defer.code is ReasonCode.NO_ROOM
    assert defer.sentence == "needs 2 x (1 cpu); 1 of 2 fit now, on cluster 'lab'"


def test_no_cluster_blocked_clusters_and_missing_models_have_their_own_reasons() -> None:
    one = ask("a", kind("one"))
    cordoned = CapacityChanged(
        nodes=ROOM.nodes, clusters=(ClusterView(id=ClusterId("c1"), name="lab", blocked="is cordoned"),)
    )
    codes = [
        plan(one, room=CapacityChanged()).defers[0].code,
        plan(one, room=cordoned).defers[0].code,
        plan(ask("b", kind("big", accelerator="h100"))).defers[0].code,
    ]
    assert codes == [ReasonCode.NO_CLUSTER, ReasonCode.CLUSTERS_BLOCKED, ReasonCode.NO_ACCELERATOR]


def test_an_ask_leaves_its_back_off_when_the_time_has_come() -> None:
    picture = Picture()
    picture.apply([ask("later", kind("one"), not_before=EPOCH_US + 1_000_000), ROOM])
    engine = Priority().start(picture.snapshot())
    assert not engine.plan(version=0, now=EPOCH).places
    assert placed(engine.plan(version=0, now=EPOCH.replace(second=1))) == ["later"]
