"""Alarms: a loop is woken when something of its noun is due, and left asleep when it is not."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.runtime.alarms import IDLE_SECONDS, Alarm, Alarms
from controlplane.runtime.bell import Bell
from controlplane.store import Store
from tests.databases import Opener

START = datetime(2026, 1, 1, tzinfo=UTC)
NOUNS = ("apple", "pear", "plum")


class Note(Alarm):
    """One that says whether it was rung since it was last asked."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def ring(self) -> None:
        super().ring()
        self.count += 1


@dataclass(slots=True)
class Yard:
    store: Store
    bell: Bell
    alarms: Alarms
    notes: dict[str, Note]
    seconds: float = 0.0
    seen: dict[str, int] = field(default_factory=dict)

    def poke(self, noun: str, in_seconds: float = 0.0) -> None:
        at = START + timedelta(seconds=self.seconds + in_seconds)
        self.store.write(lambda tx: tx.work.poke(noun, "one", at))

    def rung(self) -> list[str]:
        """Since it was last asked."""
        now = {noun: note.count for noun, note in self.notes.items()}
        before, self.seen = self.seen, now
        return [noun for noun, count in now.items() if count > before.get(noun, 0)]


@pytest.fixture
def yard(sqlite_url: str, open_store: Opener) -> Yard:
    yards: list[Yard] = []
    store = open_store(sqlite_url, now=lambda: START + timedelta(seconds=yards[0].seconds if yards else 0))
    bell, notes = Bell(store.change_marker), {noun: Note() for noun in NOUNS}
    yards.append(Yard(store, bell, Alarms(notes, store=store, bell=bell), notes))
    return yards[0]


def test_only_the_loop_whose_noun_is_due_is_woken(yard: Yard) -> None:
    yard.poke("pear")

    assert yard.alarms.look() == IDLE_SECONDS
    assert yard.rung() == ["pear"]


def test_what_is_due_soon_is_looked_for_in_time(yard: Yard) -> None:
    yard.poke("apple", in_seconds=0.25)
    yard.poke("plum", in_seconds=60)

    assert yard.alarms.look() == pytest.approx(0.25)
    assert yard.rung() == []
    yard.seconds = 0.25
    assert yard.alarms.look() == IDLE_SECONDS
    assert yard.rung() == ["apple"]


def test_a_claim_that_runs_out_wakes_its_loop(yard: Yard) -> None:
    yard.poke("apple")
    yard.store.write(lambda tx: tx.work.claim("apple", "somebody who is gone", 1, 10.0))

    yard.alarms.look()
    assert yard.rung() == []
    yard.seconds = 10
    yard.alarms.look()
    assert yard.rung() == ["apple"]


def test_while_the_database_is_away_it_looks_again_by_and_by(tmp_path: Path) -> None:
    nowhere = Store.open(f"sqlite:///{tmp_path / 'no-such-folder' / 'x.db'}")
    note = Note()

    assert Alarms({"apple": note}, store=nowhere, bell=Bell(nowhere.change_marker)).look() == IDLE_SECONDS
    assert note.count == 0
    nowhere.close()


def test_everybody_is_woken_when_everything_stops(yard: Yard) -> None:
    yard.bell.stop()

    yard.alarms.run()

    assert yard.rung() == list(NOUNS)


def test_a_ring_that_nobody_waited_for_wakes_the_next_who_waits() -> None:
    alarm = Alarm()
    alarm.wait(60)  # the first look is at once

    alarm.ring()
    alarm.wait(60)

    alarm.wait(0)  # nothing has rung since: it only ends because its time is up
