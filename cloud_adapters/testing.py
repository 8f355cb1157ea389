"""Contracts of the capacity ports: a plugin's tests inherit the class of each port that it has, and bring fixtures."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloud_adapters.base import AuthFailed, ClusterRef, Hosts, Lends, Transient

CALL_SECONDS = 15.0
BOOT_SECONDS = 180.0


class LendsContract:
    """Wants the fixtures `adapter`, `cluster` (which answers and has nodes), `silent` and `locked`."""

    @pytest.fixture
    def adapter(self) -> Lends:
        raise NotImplementedError

    @pytest.fixture
    def cluster(self) -> ClusterRef:
        raise NotImplementedError

    @pytest.fixture
    def silent(self) -> ClusterRef:
        """One that does not answer."""
        raise NotImplementedError

    @pytest.fixture
    def locked(self) -> ClusterRef:
        """One that refuses our token."""
        raise NotImplementedError

    def test_an_inventory_is_whole_and_names_every_node_once(
        self, adapter: Lends, cluster: ClusterRef
    ) -> None:
        seen = adapter.inventory(cluster, deadline=CALL_SECONDS)
        assert seen.complete
        assert seen.session
        names = [machine.name for machine in seen.machines]
        assert names
        assert sorted(set(names)) == names

    def test_every_node_says_where_it_is_and_what_it_can_hold(
        self, adapter: Lends, cluster: ClusterRef
    ) -> None:
        for machine in adapter.inventory(cluster, deadline=CALL_SECONDS).machines:
            assert machine.host
            assert machine.allocatable.named()
            assert machine.used.fits_in(machine.allocatable)
            assert machine.labels == tuple(sorted(machine.labels))

    def test_looking_changes_nothing(self, adapter: Lends, cluster: ClusterRef) -> None:
        first, second = (adapter.inventory(cluster, deadline=CALL_SECONDS) for _ in range(2))
        assert first.session == second.session
        assert [machine.name for machine in first.machines] == [machine.name for machine in second.machines]

    def test_several_threads_may_look_at_once(self, adapter: Lends, cluster: ClusterRef) -> None:
        with ThreadPoolExecutor(4) as threads:
            seen = list(
                threads.map(lambda _: adapter.inventory(cluster, deadline=CALL_SECONDS).session, range(8))
            )
        assert len(set(seen)) == 1

    def test_a_cluster_that_does_not_answer_is_transient(self, adapter: Lends, silent: ClusterRef) -> None:
        with pytest.raises(Transient):
            adapter.inventory(silent, deadline=0.5)

    def test_a_refused_token_is_told_from_silence(self, adapter: Lends, locked: ClusterRef) -> None:
        with pytest.raises(AuthFailed):
            adapter.inventory(locked, deadline=CALL_SECONDS)


class HostsContract:
    """Wants the fixtures `adapter` (which also lends) and `fresh`: a cluster that was never booted."""

    @pytest.fixture
    def fresh(self) -> ClusterRef:
        raise NotImplementedError

    def test_a_cluster_boots_once_and_ends_for_good(self, adapter: Lends, fresh: ClusterRef) -> None:
        """One test and not four, since a real boot takes its time."""
        assert isinstance(adapter, Hosts)
        endpoint = adapter.boot(fresh, deadline=BOOT_SECONDS)
        running = replace(fresh, endpoint=endpoint)
        first = adapter.inventory(running, deadline=CALL_SECONDS)
        assert adapter.boot(fresh, deadline=BOOT_SECONDS) == endpoint
        assert adapter.inventory(running, deadline=CALL_SECONDS).session == first.session
        assert first.machines
        for _ in range(2):
            adapter.shut_down(fresh, deadline=CALL_SECONDS)
        with pytest.raises(Transient):
            adapter.inventory(running, deadline=CALL_SECONDS)

    def test_ending_what_never_ran_is_fine(self, adapter: Hosts, fresh: ClusterRef) -> None:
        adapter.shut_down(fresh, deadline=CALL_SECONDS)
