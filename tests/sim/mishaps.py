"""Mishaps: what breaks by itself, whoever acts at that moment. Each lasts for a while, or can be made good."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from controlplane.domain.claims import CapacityType
from controlplane.domain.errors import PluginError
from controlplane.domain.ids import LaunchId
from controlplane.identity.launch_tokens import launch_token
from controlplane.reconcilers.claims import ENSURE_SECONDS
from tests.sim.cloud import ZONES
from tests.sim.site import Site

if TYPE_CHECKING:
    from tests.sim.world import World

MOST_MACHINES: Final = 4


def strike(world: "World") -> None:
    """Draws whether something breaks now."""
    kind = world.chance.fault("mishap", PROBABILITIES)
    if kind is None:
        return
    _, happens, where = MISHAPS[kind]
    site = world.chance.pick("mishap at", where(world))
    seconds = world.chance.between("mishap lasts", 2.0, 90.0)
    world.tell(f"{kind}: {site.name} {seconds:.0f} s")
    happens(world, site, seconds)


def heal(world: "World") -> None:
    """Everything works, from now on."""
    world.database_is_away = world.objects.is_away = False
    for site in (*world.registered, *world.own_rays):
        site.is_unreachable = site.is_cut_off = False
    for site in (world.east, world.west):
        while len(site.machines) < MOST_MACHINES:
            site.add_machine()
    cloud = world.cloud
    cloud.cut_zones.clear()
    cloud.sold_out.clear()
    cloud.stuck.clear()
    cloud.throttled_seconds = None
    cloud.partial = 0
    cloud.is_unreachable = False
    if world.ground is not None:
        world.ground.builder.members.partial = 0
        world.ground.builder.silent.clear()


def _lose_machine(world: "World", site: Site, _seconds: float) -> None:
    if site.machines:
        site.lose_machine(world.chance.pick("mishap machine", sorted(site.machines)))


def _add_machine(_world: "World", site: Site, _seconds: float) -> None:
    if len(site.machines) < MOST_MACHINES:
        site.add_machine()


def _restart(_world: "World", site: Site, _seconds: float) -> None:
    site.restart()


def _hide(world: "World", site: Site, seconds: float) -> None:
    site.is_unreachable = True
    world.timeline.after(seconds, lambda: setattr(site, "is_unreachable", False))


def _cut_off(world: "World", site: Site, seconds: float) -> None:
    """Longer than a lease, more often than not."""
    site.is_cut_off = True
    world.timeline.after(2 * seconds, lambda: setattr(site, "is_cut_off", False))


def _kill_wrapper(world: "World", site: Site, _seconds: float) -> None:
    if running := site.running_wrappers():
        world.chance.pick("mishap wrapper", running).die()


def _take_database_away(world: "World", _site: Site, seconds: float) -> None:
    world.database_is_away = True
    world.timeline.after(min(seconds, 20.0), lambda: setattr(world, "database_is_away", False))


def _take_objects_away(world: "World", _site: Site, seconds: float) -> None:
    world.objects.is_away = True
    world.timeline.after(seconds, lambda: setattr(world.objects, "is_away", False))


def _kill_replica(world: "World", _site: Site, _seconds: float) -> None:
    world.crash(world.chance.pick("mishap replica", world.loops))


def _reclaim(world: "World", _site: Site, _seconds: float) -> None:
    """Spot machines first, but any machine may break."""
    sold = world.cloud.machines
    spot = [each for each in sold if each.capacity_type is CapacityType.SPOT] or list(sold)
    if not spot:
        return
    name = world.chance.pick("reclaimed", spot).name
    if world.fleet is not None:
        world.fleet.reclaim(name)
    else:
        world.cloud.reclaim(name)


def _lose_head(world: "World", _site: Site, _seconds: float) -> None:
    """The machine breaks that a whole Ray cluster hangs on."""
    if world.fleet is not None and world.fleet.sites:
        world.cloud.reclaim(world.chance.pick("lost head", world.fleet.sites).head.name)


def _silence(world: "World", _site: Site, _seconds: float) -> None:
    """A machine's program hangs; its Ray goes on."""
    if world.fleet is not None and world.fleet.programs:
        world.chance.pick("silent machine", world.fleet.programs).is_mute = True


def _evict(world: "World", _site: Site, _seconds: float) -> None:
    if world.ground is not None and (members := world.ground.builder.members.machines):
        world.ground.builder.members.reclaim(world.chance.pick("evicted", members).name)


def _hush(world: "World", _site: Site, _seconds: float) -> None:
    """A Ray cluster that is being built never answers."""
    if world.ground is not None and (members := world.ground.builder.members.machines):
        world.ground.builder.silent.add(world.chance.pick("hushed", members).claim_id)


def _cut_zone(world: "World", _site: Site, seconds: float) -> None:
    zone = world.chance.pick("cut zone", ZONES)
    world.cloud.cut_zones.add(zone)
    world.timeline.after(seconds, lambda: world.cloud.cut_zones.discard(zone))


def _sell_out(world: "World", _site: Site, seconds: float) -> None:
    offer = (world.chance.pick("sold type", ("small", "large")), world.chance.pick("sold zone", ZONES))
    world.cloud.sold_out.add(offer)
    world.timeline.after(5 * seconds, lambda: world.cloud.sold_out.discard(offer))


def _throttle(world: "World", _site: Site, seconds: float) -> None:
    world.cloud.throttled_seconds = 5.0
    world.timeline.after(seconds, lambda: setattr(world.cloud, "throttled_seconds", None))


def _give_part(world: "World", _site: Site, _seconds: float) -> None:
    world.cloud.partial += 1
    if world.ground is not None:
        world.ground.builder.members.partial += 1


def _lag(world: "World", _site: Site, _seconds: float) -> None:
    world.cloud.list_lag_seconds = lag = world.chance.between("list lag", 0.0, 30.0)
    if world.ground is not None:
        world.ground.builder.members.list_lag_seconds = lag


def _buy_for_nobody(world: "World", _site: Site, _seconds: float) -> None:
    """A process that was frozen in front of a call, or somebody's hand, buys for a claim that is gone."""
    orders = world.judge.purchases.of_the_past
    if not orders:
        return
    old = world.chance.pick("order of the past", orders)
    launch_id = LaunchId(f"{old.launch_id}-again-{world.steps}")
    token = launch_token(world.apis[0].context.server_key, launch_id)
    boot = None if old.boot is None else replace(old.boot, token=token)
    again = replace(old, launch_id=launch_id, machines=1, boot=boot)
    if world.fleet is not None:
        world.fleet.ordered(again)
    with suppress(PluginError):
        world.cloud.ensure(again, deadline=ENSURE_SECONDS)


def _keep_disk(world: "World", _site: Site, _seconds: float) -> None:
    """What is left over cannot be removed for the time being."""
    world.cloud.stuck.update(world.cloud.left)


def _anywhere(world: "World") -> tuple[Site, ...]:
    return (*world.registered, *world.own_rays)


def _attached(world: "World") -> tuple[Site, ...]:
    """Machines there are nobody's purchase."""
    return (world.east, world.west)


def _where_ray_is(world: "World") -> tuple[Site, ...]:
    return (world.east, world.west, *world.own_rays)


Happens = Callable[["World", Site, float], None]
Where = Callable[["World"], tuple[Site, ...]]

MISHAPS: Final[Mapping[str, tuple[float, Happens, Where]]] = {
    "machine lost": (0.008, _lose_machine, _attached),
    "machine added": (0.006, _add_machine, _attached),
    "site restarts": (0.004, _restart, _where_ray_is),
    "site unreachable": (0.006, _hide, _anywhere),
    "site cut off": (0.012, _cut_off, _anywhere),
    "wrapper killed": (0.01, _kill_wrapper, _anywhere),
    "database away": (0.004, _take_database_away, _attached),
    "objects away": (0.004, _take_objects_away, _attached),
    "replica killed": (0.01, _kill_replica, _attached),
    "machine reclaimed": (0.008, _reclaim, _attached),
    "head lost": (0.003, _lose_head, _attached),
    "machine silent": (0.002, _silence, _attached),
    "member evicted": (0.004, _evict, _attached),
    "built Ray is silent": (0.002, _hush, _attached),
    "zone cut": (0.003, _cut_zone, _attached),
    "sold out": (0.006, _sell_out, _attached),
    "cloud throttles": (0.003, _throttle, _attached),
    "gang sold in part": (0.004, _give_part, _attached),
    "lists lag": (0.01, _lag, _attached),
    "disks are kept": (0.004, _keep_disk, _attached),
    "bought for nobody": (0.004, _buy_for_nobody, _attached),
}
"""Probability per step, what happens, and at which site."""

PROBABILITIES: Final = {kind: probability for kind, (probability, _, _) in MISHAPS.items()}
