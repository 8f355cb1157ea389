"""Planted bugs of the fair policy; see plants.py. The net `histories` is that of `tests.sim.scheduling`.

`kueue`, `volcano`, `armada` and `KAI` are the schedulers of these names.
"""

from typing import Final

from tests.sim.plants import Edit, Plant, plant

FAIR: Final = "schedulers/fair/"
CASES: Final = "tests/scheduling/test_cases.py"
HISTORIES: Final = "histories"

SCHEDULING_PLANTS: Final[tuple[Plant, ...]] = (
    plant(
        "who goes first among victims is turned round",
        FAIR + "victims.py",
        "candidates.sort(key=lambda candidate: candidate.rank)",
        "candidates.sort(key=lambda candidate: candidate.rank, reverse=True)",
        seen_in="armada #5071",
        net=CASES,
    ),
    plant(
        "quota limits are forgotten while victims are sought",
        FAIR + "trials.py",
        "        if self.ledger.is_overdrawn(self.heir.facts.queue, self.request):\n            return None\n",
        "",
        seen_in="kueue #10171",
        net=HISTORIES,
    ),
    Plant(
        name="what fits of a gang is seated",
        edits=(
            Edit(
                path=FAIR + "packing.py",
                old="    enough = have >= _whole(parts[-1].tasks, slices)\n",
                new="    enough = have >= 1\n",
            ),
            Edit(
                path=FAIR + "packing.py",
                old="    if int(have.sum()) < tasks:\n        return None\n",
                new="    tasks = min(tasks, int(have.sum()))\n    if not tasks:\n        return None\n",
            ),
        ),
        seen_in="KAI #500, yunikorn #234",
        net=HISTORIES,
    ),
    plant(
        "seats that are promised to an heir are free for all",
        FAIR + "world.py",
        "            self.promises[nomination.ask_id] = Promise(nomination, facts, request)\n"
        "        self.fleet.withhold(self._kept_for_heirs())\n",
        "            self.promises[nomination.ask_id] = Promise(nomination, facts, request)\n",
        seen_in="volcano #5805",
        net=HISTORIES,
    ),
    plant(
        "leaving seats count in quota beside their heir",
        FAIR + "holdings.py",
        "            leaving.append(held)\n            continue\n",
        "            leaving.append(held)\n",
        seen_in="kueue #2596",
        net=HISTORIES,
    ),
    plant(
        "protected time is ignored",
        FAIR + "victims.py",
        "    return bool(holding.seats) and clock.is_past(holding.ask.protected_until)",
        "    return bool(holding.seats)",
        seen_in="kueue #8522, KAI #136",
        net=HISTORIES,
    ),
    plant(
        "more urgent work is guaranteed before what is pinned",
        FAIR + "victims.py",
        "    return 0 if tier is Tier.PINNED else 1\n",
        "    return 1\n",
        net="tests/unit/schedulers/fair/test_pins.py",
    ),
    plant(
        "pinned work goes for more urgent pinned work",
        FAIR + "victims.py",
        "        return owns_all or not self.request or self.stake in guaranteed\n",
        "        return False\n",
        net="tests/unit/schedulers/fair/test_pins.py",
    ),
    plant(
        "pinned work keeps what it borrows",
        FAIR + "victims.py",
        "        return owns_all or not self.request or self.stake in guaranteed\n",
        "        return True\n",
        net=CASES,
    ),
    plant(
        "an order taken from a set",
        FAIR + "deciding.py",
        "defers=tuple(defers[id_] for id_ in sorted(defers)),",
        "defers=tuple(defers[id_] for id_ in frozenset(defers)),",
        net="tests/sim/scheduling/test_histories.py",
    ),
    plant(
        "entitlements move within an epoch",
        FAIR + "clock.py",
        "        began = self.now - self.now % EPOCH\n",
        "        began = self.now\n",
        net=HISTORIES,
    ),
    plant(
        "the ledger keeps what was let go",
        FAIR + "standing.py",
        "        self.ledger.remove(queue, holding.request)\n",
        "",
        seen_in="kueue #8095",
        net=HISTORIES,
    ),
    plant(
        "who is put back makes another one's going illegal",
        FAIR + "trials.py",
        "            if again is not None and self._all_legal():\n",
        "            if again is not None:\n",
        seen_in="kueue #14543",
        net=CASES,
    ),
    plant(
        "nobody remembers who lost to whom",
        FAIR + "victims.py",
        "                if loser == other:\n                    return True\n",
        "",
        seen_in="kueue #3779, #7101",
        net=CASES,
    ),
    plant(
        "order and eviction compare otherwise",
        FAIR + "order.py",
        "ledger.share(node, line.request), ledger.borrows(node, line.request)",
        "ledger.share(node), ledger.borrows(node, line.request)",
        seen_in="kueue #2821",
        net=CASES,
    ),
    plant(
        "what is its own heir is promised nothing",
        FAIR + "world.py",
        "self.class_of(nomination.ask_id) or self._stopping(nomination.ask_id)",
        "self.class_of(nomination.ask_id)",
        net="tests/unit/schedulers/fair/test_resizes.py",
    ),
    plant(
        "who grows takes seats of another flavor",
        FAIR + "growing.py",
        "    return [(name, mask) for name, mask in role.masks if name == flavor]\n",
        "    return role.masks if flavor else ()\n",
        net=HISTORIES,
    ),
    plant(
        "resized again as soon as it runs",
        FAIR + "growing.py",
        "clock.is_past(ask.protected_until) and ask.admitted_at < clock.epoch()",
        "ask.admitted_at < clock.now",
        net=HISTORIES,
    ),
)
