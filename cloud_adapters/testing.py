"""Contracts of the capacity ports: a plugin's tests inherit the class of each port that it has, and bring fixtures."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloud_adapters.base import (
    AuthFailed,
    ClusterRef,
    Hosts,
    LaunchOrder,
    Lends,
    MachineState,
    NoCapacity,
    Rejected,
    Sells,
    Termination,
    Transient,
)

CALL_SECONDS = 15.0
BOOT_SECONDS = 180.0
MOST_LOOKS = 100


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


class SellsContract:
    """Wants the fixtures `seller`, `order` (two machines that can be had), `sold_out` (the same, that cannot be had),
    `elsewhere` (another zone that has them) and `wait`, which lets a list lag, a boot and an end go by.
    """

    @pytest.fixture
    def seller(self) -> Sells:
        raise NotImplementedError

    @pytest.fixture
    def order(self) -> LaunchOrder:
        raise NotImplementedError

    @pytest.fixture
    def sold_out(self) -> LaunchOrder:
        raise NotImplementedError

    @pytest.fixture
    def elsewhere(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def wait(self) -> Callable[[], None]:
        raise NotImplementedError

    def test_offers_are_sorted_and_what_is_ordered_is_among_them(
        self, seller: Sells, order: LaunchOrder
    ) -> None:
        offers = seller.offers(order.cluster, deadline=CALL_SECONDS)
        keys = [(each.machine_type, each.zone, each.capacity_type) for each in offers]
        assert keys == sorted(set(keys))
        assert (order.machine_type, order.zone, order.capacity_type) in keys
        assert all(each.amounts.named() for each in offers)

    def test_a_launch_buys_once_however_often_it_is_ordered(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        names = _bought(seller, order)
        assert len(set(names)) == order.machines
        assert _bought(seller, order) == names
        wait()
        assert _bought(seller, order) == names
        assert _listed(seller, order) == sorted(names)

    def test_what_was_bought_is_tagged_and_comes_up(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        wait()
        for machine in seller.list_owned(order.cluster, deadline=CALL_SECONDS):
            assert (machine.claim_id, machine.launch_id) == (order.claim_id, order.launch_id)
            assert (machine.zone, machine.state) == (order.zone, MachineState.RUNNING)
            assert machine.host

    def test_a_launch_that_cannot_be_had_keeps_nothing(
        self, seller: Sells, sold_out: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        with pytest.raises(NoCapacity):
            seller.ensure(sold_out, deadline=CALL_SECONDS)
        wait()
        assert _listed(seller, sold_out) == []

    def test_a_launch_id_with_other_parameters_is_rejected(self, seller: Sells, order: LaunchOrder) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        with pytest.raises(Rejected):
            seller.ensure(replace(order, machines=order.machines + 1), deadline=CALL_SECONDS)

    def test_another_launch_buys_more(
        self, seller: Sells, order: LaunchOrder, elsewhere: str, wait: Callable[[], None]
    ) -> None:
        second = replace(order, launch_id=f"{order.launch_id}-2", zone=elsewhere)
        names = [*_bought(seller, order), *_bought(seller, second)]
        wait()
        assert _listed(seller, order) == sorted(set(names))
        assert len(names) == 2 * order.machines

    def test_released_members_end_and_the_others_stay(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        first, *others = _bought(seller, order)
        wait()
        for _ in range(2):
            seller.release(order.cluster, order.claim_id, [first, "no-such-machine"], deadline=CALL_SECONDS)
            wait()
        assert _listed(seller, order) == sorted(others)

    def test_a_terminated_claim_is_going_until_nothing_is_left(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        wait()
        answers = [seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)]
        while answers[-1] is Termination.GOING and len(answers) < MOST_LOOKS:
            wait()
            answers.append(seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS))
        assert answers[0] is Termination.GOING
        assert answers[-1] is not Termination.GOING
        wait()
        assert _listed(seller, order) == []

    def test_a_claim_that_bought_nothing_is_unseen(self, seller: Sells, order: LaunchOrder) -> None:
        answer = seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        assert answer is Termination.UNSEEN


def _bought(seller: Sells, order: LaunchOrder) -> list[str]:
    return [machine.name for machine in seller.ensure(order, deadline=CALL_SECONDS)]


def _listed(seller: Sells, order: LaunchOrder) -> list[str]:
    """Those of the order's claim that are not on their way out."""
    return [
        machine.name
        for machine in seller.list_owned(order.cluster, deadline=CALL_SECONDS)
        if machine.claim_id == order.claim_id and machine.state is not MachineState.STOPPING
    ]
