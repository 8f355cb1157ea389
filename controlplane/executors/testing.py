"""The contract of every executor, as a suite to inherit: give `executor` and `endpoint`, and the rest is tested."""

import time
from abc import ABC, abstractmethod

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Transient
from controlplane.domain.ids import AttemptId, JobId
from controlplane.executors.base import Executor, Launch, Lists, Order, OrderSeat, Phase

DEADLINE_SECONDS = 30.0
END_SECONDS = 90.0
PAUSE_SECONDS = 0.1
DEAD_PORT = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""


class ExecutorContract(ABC):
    """One test class per executor inherits this."""

    @abstractmethod
    def executor(self) -> Executor: ...

    @abstractmethod
    def endpoint(self) -> Endpoint: ...

    @abstractmethod
    def node_name(self) -> str:
        """A node that takes a task of one CPU."""

    def unreachable(self, executor: Executor) -> Endpoint:
        """An endpoint at which the given executor gets no answer."""
        del executor
        return Endpoint(url=DEAD_PORT)

    def end(self, executor: Executor, attempt_id: AttemptId) -> None:
        """Plays the task that ends. Nothing to do where tasks are real: without a control plane they give up."""
        del executor, attempt_id

    def order(self, attempt: str) -> Order:
        return Order(
            attempt_id=AttemptId(attempt),
            job_id=JobId("job_contract"),
            number=1,
            endpoint=self.endpoint(),
            seats=(OrderSeat(rank=0, node_name=self.node_name(), amounts=Amounts(cpu_milli=1000)),),
            launch=Launch.TASKS,
            command="true",
            function=None,
            urls=(DEAD_PORT,),
            token="cda_nobody",
            lease_seconds=2.0,
            grace_seconds=1.0,
            start_timeout_seconds=2.0,
            log_quota_bytes=1024,
        )

    def test_an_order_that_was_taken_is_known(self) -> None:
        executor, order = self.executor(), self.order("attempt_known")
        session = executor.start(order, deadline=DEADLINE_SECONDS)
        (seen,) = executor.observe(order.endpoint, [order.attempt_id], deadline=DEADLINE_SECONDS)
        assert (seen.attempt_id, seen.session) == (order.attempt_id, session)
        assert seen.phase is not Phase.ABSENT

    def test_a_second_start_of_the_same_attempt_changes_nothing(self) -> None:
        executor, order = self.executor(), self.order("attempt_twice")
        first = executor.start(order, deadline=DEADLINE_SECONDS)
        assert executor.start(order, deadline=DEADLINE_SECONDS) == first

    def test_an_unknown_attempt_is_absent_and_can_be_stopped(self) -> None:
        executor, unknown = self.executor(), AttemptId("attempt_unknown")
        executor.stop(self.endpoint(), unknown, deadline=DEADLINE_SECONDS)
        (seen,) = executor.observe(self.endpoint(), [unknown], deadline=DEADLINE_SECONDS)
        assert seen.phase is Phase.ABSENT

    def test_observations_come_in_the_order_asked_for(self) -> None:
        ids = [AttemptId(f"attempt_{number}") for number in (3, 1, 2)]
        seen = self.executor().observe(self.endpoint(), ids, deadline=DEADLINE_SECONDS)
        assert [each.attempt_id for each in seen] == ids

    def test_no_answer_is_transient_and_never_an_observation(self) -> None:
        executor = self.executor()
        away = self.unreachable(executor)
        with pytest.raises(Transient):
            executor.observe(away, [AttemptId("attempt_any")], deadline=2.0)

    def test_what_lives_is_listed_until_it_has_ended(self) -> None:
        executor, order = self.executor(), self.order("attempt_listed")
        if not isinstance(executor, Lists):
            return
        executor.start(order, deadline=DEADLINE_SECONDS)
        assert order.attempt_id in executor.listed(order.endpoint, deadline=DEADLINE_SECONDS)
        self.end(executor, order.attempt_id)
        until = time.monotonic() + END_SECONDS
        while order.attempt_id in executor.listed(order.endpoint, deadline=DEADLINE_SECONDS):
            assert time.monotonic() < until, "it is listed for ever"
            time.sleep(PAUSE_SECONDS)

    def test_a_list_is_whole_or_there_is_none(self) -> None:
        executor = self.executor()
        if isinstance(executor, Lists):
            with pytest.raises(Transient):
                executor.listed(self.unreachable(executor), deadline=2.0)

    def test_nothing_printable_shows_a_token(self) -> None:
        order = self.order("attempt_quiet")
        assert order.token not in repr(order)
        assert "secret" not in repr(Endpoint(url=DEAD_PORT, token="secret"))
