"""Contracts of the capacity ports: a plugin's tests inherit the class of each port that it has, and bring fixtures."""

import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    Builds,
    ClusterRef,
    Hosts,
    LaunchOrder,
    Leftover,
    Lends,
    MachineState,
    NoCapacity,
    PluginError,
    Rejected,
    Renews,
    Sells,
    Sweeps,
    Termination,
    Transient,
)
from cloud_adapters.testing_claims import CALL_SECONDS, MOST_LOOKS, bought, end, listed

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
        if isinstance(
            seller, Builds
        ):  # what it builds on is in its inventory; an offer would be the same node twice
            assert offers == ()
            return
        keys = [(each.machine_type, each.zone, each.capacity_type) for each in offers]
        assert keys == sorted(set(keys))
        assert (order.machine_type, order.zone, order.capacity_type) in keys
        assert all(each.amounts.named() for each in offers)

    def test_a_launch_buys_once_however_often_it_is_ordered(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        names = bought(seller, order)
        assert len(set(names)) == order.machines
        assert bought(seller, order) == names
        wait()
        assert bought(seller, order) == names
        assert listed(seller, order) == sorted(names)

    def test_what_was_bought_is_tagged_and_comes_up(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        wait()
        machines = seller.list_owned(order.cluster, deadline=CALL_SECONDS)
        assert len(machines) == order.machines
        for machine in machines:
            assert (machine.claim_id, machine.launch_id) == (order.claim_id, order.launch_id)
            assert (machine.zone, machine.state) == (order.zone, MachineState.RUNNING)
            assert machine.host

    def test_a_launch_that_cannot_be_had_keeps_nothing(
        self, seller: Sells, sold_out: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        with pytest.raises(NoCapacity):
            seller.ensure(sold_out, deadline=CALL_SECONDS)
        wait()
        assert listed(seller, sold_out) == []

    def test_a_launch_id_with_other_parameters_is_rejected(self, seller: Sells, order: LaunchOrder) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        with pytest.raises(Rejected):
            seller.ensure(replace(order, machines=order.machines + 1), deadline=CALL_SECONDS)

    def test_another_launch_buys_more(
        self, seller: Sells, order: LaunchOrder, elsewhere: str, wait: Callable[[], None]
    ) -> None:
        second = replace(order, launch_id=f"{order.launch_id}-2", zone=elsewhere)
        names = [*bought(seller, order), *bought(seller, second)]
        wait()
        assert listed(seller, order) == sorted(set(names))
        assert len(names) == 2 * order.machines

    def test_released_members_end_and_the_others_stay(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        first, *others = bought(seller, order)
        wait()
        for _ in range(2):
            seller.release(order.cluster, order.claim_id, [first, "no-such-machine"], deadline=CALL_SECONDS)
            wait()
        assert listed(seller, order) == sorted(others)

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
        assert listed(seller, order) == []

    def test_a_name_is_never_given_out_twice(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        first = bought(seller, order)
        end(seller, order, wait)
        second = bought(seller, replace(order, launch_id=f"{order.launch_id}-2"))
        assert set(first).isdisjoint(second)

    def test_machines_of_another_cluster_are_neither_shown_nor_ended(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        names = bought(seller, order)
        wait()
        other = replace(order.cluster, id=f"{order.cluster.id}-other")
        assert seller.list_owned(other, deadline=CALL_SECONDS) == ()
        assert seller.terminate(other, order.claim_id, deadline=CALL_SECONDS) is Termination.UNSEEN
        seller.release(other, order.claim_id, names, deadline=CALL_SECONDS)
        wait()
        assert listed(seller, order) == sorted(names)

    def test_machines_of_another_claim_are_not_ended(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        names = bought(seller, order)
        wait()
        other = f"{order.claim_id}-other"
        assert seller.terminate(order.cluster, other, deadline=CALL_SECONDS) is Termination.UNSEEN
        seller.release(order.cluster, other, names, deadline=CALL_SECONDS)
        wait()
        assert listed(seller, order) == sorted(names)

    def test_a_claim_that_bought_nothing_is_unseen(self, seller: Sells, order: LaunchOrder) -> None:
        answer = seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        assert answer is Termination.UNSEEN

    def test_a_machine_type_that_is_none_is_rejected(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None]
    ) -> None:
        """A builder has no types: what it cannot do without is a node for each machine."""
        wrong = (
            replace(order, shares=())
            if isinstance(seller, Builds)
            else replace(order, machine_type="no-such")
        )
        with pytest.raises(Rejected):
            seller.ensure(wrong, deadline=CALL_SECONDS)
        wait()
        assert listed(seller, order) == []


class LossesContract:
    """Wants `seller`, `order` and `wait` as `SellsContract` does; `lose_answer`, after which the next purchase is made
    and its answer lost; and `fall_silent`, after which the cloud answers no call.
    """

    @pytest.fixture
    def lose_answer(self) -> Callable[[], None]:
        raise NotImplementedError

    @pytest.fixture
    def fall_silent(self) -> Callable[[], None]:
        raise NotImplementedError

    def test_a_lost_answer_is_ambiguous_and_the_same_call_again_buys_nothing_more(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None], lose_answer: Callable[[], None]
    ) -> None:
        lose_answer()
        with pytest.raises(Ambiguous):
            seller.ensure(order, deadline=CALL_SECONDS)
        names = bought(seller, order)
        wait()
        assert listed(seller, order) == sorted(names)
        assert len(names) == order.machines

    def test_a_cloud_that_does_not_answer_is_never_taken_for_an_empty_one(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None], fall_silent: Callable[[], None]
    ) -> None:
        seller.ensure(order, deadline=CALL_SECONDS)
        wait()
        fall_silent()
        with pytest.raises(Transient):
            seller.list_owned(order.cluster, deadline=CALL_SECONDS)
        with pytest.raises(Transient):
            seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        with pytest.raises(Transient):
            seller.offers(order.cluster, deadline=CALL_SECONDS)


class SecretsContract:
    """Wants `seller` and `order`; `secrets`, of account and machine, in each form that is sent; `refused`, the same
    cluster with keys that are refused; and `fall_silent`, after which the cloud answers no call.
    """

    @pytest.fixture
    def secrets(self) -> tuple[str, ...]:
        raise NotImplementedError

    @pytest.fixture
    def refused(self) -> ClusterRef:
        raise NotImplementedError

    def test_no_secret_is_in_what_is_logged_raised_or_printed(
        self,
        *,
        seller: Sells,
        order: LaunchOrder,
        secrets: tuple[str, ...],
        refused: ClusterRef,
        fall_silent: Callable[[], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        said = [repr(order), repr(order.cluster), repr(seller)]
        said.append(repr(seller.ensure(order, deadline=CALL_SECONDS)))
        said.append(repr(seller.list_owned(order.cluster, deadline=CALL_SECONDS)))
        with pytest.raises(AuthFailed) as locked:
            seller.ensure(replace(order, cluster=refused), deadline=CALL_SECONDS)
        said += traceback.format_exception(locked.value)
        fall_silent()
        with pytest.raises(PluginError) as silent:
            seller.ensure(order, deadline=CALL_SECONDS)
        said += traceback.format_exception(silent.value)
        whole = "".join([*said, *(record.getMessage() for record in caplog.records)])
        assert [secret for secret in secrets if secret in whole] == []


class SweepsContract:
    """Wants `seller`, which also sweeps, `order` and `wait`; `leave_behind`, after which what is bought leaves a thing
    behind that is no machine; and `jam`, which makes a leftover one that cannot be removed.
    """

    @pytest.fixture
    def leave_behind(self) -> Callable[[], None]:
        raise NotImplementedError

    @pytest.fixture
    def jam(self) -> Callable[[Leftover], None]:
        raise NotImplementedError

    def test_what_outlives_its_machine_is_listed_with_its_claim_and_removed(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None], leave_behind: Callable[[], None]
    ) -> None:
        leave_behind()
        left = _left(seller, order, wait)
        assert left
        assert {each.claim_id for each in left} == {order.claim_id}
        sweeper = _sweeper(seller)
        for each in [*left, *left]:  # what is gone already is fine
            sweeper.remove(order.cluster, each, deadline=CALL_SECONDS)
        wait()
        assert sweeper.leftovers(order.cluster, deadline=CALL_SECONDS) == ()

    def test_what_cannot_be_removed_is_rejected_and_stays_listed(
        self,
        seller: Sells,
        order: LaunchOrder,
        wait: Callable[[], None],
        leave_behind: Callable[[], None],
        jam: Callable[[Leftover], None],
    ) -> None:
        leave_behind()
        left = _left(seller, order, wait)
        jam(left[0])
        sweeper = _sweeper(seller)
        with pytest.raises(Rejected):
            sweeper.remove(order.cluster, left[0], deadline=CALL_SECONDS)
        assert left[0] in sweeper.leftovers(order.cluster, deadline=CALL_SECONDS)

    def test_leftovers_of_another_cluster_are_not_shown(
        self, seller: Sells, order: LaunchOrder, wait: Callable[[], None], leave_behind: Callable[[], None]
    ) -> None:
        leave_behind()
        assert _left(seller, order, wait)
        other = replace(order.cluster, id=f"{order.cluster.id}-other")
        assert _sweeper(seller).leftovers(other, deadline=CALL_SECONDS) == ()


class RenewsContract:
    """Wants `seller`, which also renews, `order`, `wait` and `wait_until`; machines end by themselves before
    `last_end`, an hour or more ahead, unless they are renewed. `lock` makes the provider refuse that for one of them.
    """

    @pytest.fixture
    def last_end(self) -> datetime:
        raise NotImplementedError

    @pytest.fixture
    def wait_until(self) -> Callable[[datetime], None]:
        raise NotImplementedError

    @pytest.fixture
    def lock(self) -> Callable[[str], None]:
        raise NotImplementedError

    def test_a_machine_that_nobody_renews_ends_by_itself(
        self,
        seller: Sells,
        order: LaunchOrder,
        last_end: datetime,
        wait: Callable[[], None],
        wait_until: Callable[[datetime], None],
    ) -> None:
        names = bought(seller, order)
        wait()
        assert listed(seller, order) == sorted(names)
        wait_until(last_end)
        wait()
        assert listed(seller, order) == []

    def test_renewed_machines_live_until_the_new_end(
        self,
        seller: Sells,
        order: LaunchOrder,
        last_end: datetime,
        wait: Callable[[], None],
        wait_until: Callable[[datetime], None],
    ) -> None:
        assert isinstance(seller, Renews)
        names = bought(seller, order)
        wait()
        later = last_end + timedelta(hours=1)
        for _ in range(2):
            seller.renew(order.cluster, order.claim_id, until=later, deadline=CALL_SECONDS)
        wait_until(last_end)
        wait()
        assert listed(seller, order) == sorted(names)
        wait_until(later)
        wait()
        assert listed(seller, order) == []

    def test_a_machine_that_cannot_be_renewed_does_not_cost_the_others_their_lives(
        self,
        seller: Sells,
        order: LaunchOrder,
        last_end: datetime,
        wait: Callable[[], None],
        wait_until: Callable[[datetime], None],
        *,
        lock: Callable[[str], None],
    ) -> None:
        assert isinstance(seller, Renews)
        first, *others = sorted(bought(seller, replace(order, machines=3)))
        wait()
        lock(first)
        later = last_end + timedelta(hours=1)
        with pytest.raises(PluginError, match=first):
            seller.renew(order.cluster, order.claim_id, until=later, deadline=CALL_SECONDS)
        wait_until(last_end)
        wait()
        assert listed(seller, order) == others

    def test_renewing_a_claim_without_machines_is_fine(
        self, seller: Sells, order: LaunchOrder, last_end: datetime
    ) -> None:
        assert isinstance(seller, Renews)
        seller.renew(order.cluster, order.claim_id, until=last_end, deadline=CALL_SECONDS)


def _sweeper(seller: Sells) -> Sweeps:
    assert isinstance(seller, Sweeps)
    return seller


def _left(seller: Sells, order: LaunchOrder, wait: Callable[[], None]) -> tuple[Leftover, ...]:
    """What a claim that was bought and ended leaves."""
    seller.ensure(order, deadline=CALL_SECONDS)
    wait()
    end(seller, order, wait)
    return _sweeper(seller).leftovers(order.cluster, deadline=CALL_SECONDS)
