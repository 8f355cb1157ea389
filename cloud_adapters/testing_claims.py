"""What the contracts of sellers do with an order's claim: buy it, list it, end it."""

from collections.abc import Callable

from cloud_adapters.base import LaunchOrder, MachineState, Sells, Termination

CALL_SECONDS = 15.0
MOST_LOOKS = 100


def end(seller: Sells, order: LaunchOrder, wait: Callable[[], None]) -> None:
    """Until the provider shows nothing of it any more."""
    for _ in range(MOST_LOOKS):
        answer = seller.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        wait()
        if answer is not Termination.GOING and not listed(seller, order):
            return


def bought(seller: Sells, order: LaunchOrder) -> list[str]:
    return [machine.name for machine in seller.ensure(order, deadline=CALL_SECONDS)]


def listed(seller: Sells, order: LaunchOrder) -> list[str]:
    """Those of the order's claim that are not on their way out."""
    return [
        machine.name
        for machine in seller.list_owned(order.cluster, deadline=CALL_SECONDS)
        if machine.claim_id == order.claim_id and machine.state is not MachineState.STOPPING
    ]
