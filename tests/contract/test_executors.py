"""The executor contract, on the fake; tests/e2e runs it on real Ray."""

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Ambiguous
from controlplane.domain.ids import AttemptId
from controlplane.executors.base import Executor, Phase
from controlplane.executors.fake import FakeExecutor, Vice
from controlplane.executors.testing import DEAD_PORT, DEADLINE_SECONDS, ExecutorContract


class TestFakeExecutor(ExecutorContract):
    def executor(self) -> FakeExecutor:
        return FakeExecutor()

    def endpoint(self) -> Endpoint:
        return Endpoint(url=DEAD_PORT, token="secret")

    def node_name(self) -> str:
        return "node"

    def unreachable(self, executor: Executor) -> Endpoint:
        assert isinstance(executor, FakeExecutor)
        executor.is_cut_off = True
        return self.endpoint()

    def end(self, executor: Executor, attempt_id: AttemptId) -> None:
        assert isinstance(executor, FakeExecutor)
        executor.phases[attempt_id] = Phase.EXITED

    def test_a_lost_answer_means_that_it_may_have_happened_and_asking_again_is_safe(self) -> None:
        executor, order = FakeExecutor(vices=[Vice.LOSE_ANSWER]), self.order("attempt_lost")
        with pytest.raises(Ambiguous):
            executor.start(order, deadline=DEADLINE_SECONDS)
        executor.start(order, deadline=DEADLINE_SECONDS)
        assert executor.starts == [order.attempt_id]

    def test_a_restarted_cluster_has_another_session_and_no_memory(self) -> None:
        executor, order = FakeExecutor(), self.order("attempt_old")
        before = executor.start(order, deadline=DEADLINE_SECONDS)
        executor.restart_cluster()
        (seen,) = executor.observe(order.endpoint, [order.attempt_id], deadline=DEADLINE_SECONDS)
        assert (seen.phase, seen.session == before) == (Phase.ABSENT, False)
