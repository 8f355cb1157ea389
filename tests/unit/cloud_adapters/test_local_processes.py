"""Finding and ending processes of one cluster, and the place that says whose they are."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_adapters.local.place import Life, Place, write_secret
from cloud_adapters.local.processes import (
    TAG_VARIABLE,
    Process,
    descendants,
    is_alive,
    kill,
    kill_all,
    members,
    read,
    slot_of,
)

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, *command: str, **environment: str) -> subprocess.Popen[bytes]:
    """Returns when it has said its first line."""
    process = stack.enter_context(
        subprocess.Popen(command or SLEEP, env=os.environ | environment, stdout=subprocess.PIPE)
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_members_are_found_by_tag_and_strangers_are_not(started: ExitStack, tmp_path: Path) -> None:
    ours = start(started, **{TAG_VARIABLE: "abc.2"})
    start(started, **{TAG_VARIABLE: "abcd.2"})
    start(started)
    assert [process.pid for process in members("abc", tmp_path)] == [ours.pid]
    assert slot_of(ours.pid, "abc") == "2"


def test_who_writes_into_the_folder_is_a_member_and_who_reads_is_not(
    started: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    code = "import sys, time; file = open(sys.argv[1], sys.argv[2]); print(flush=True); time.sleep(600)"
    writes, _reads = (
        start(started, sys.executable, "-c", code, str(tmp_path / "log"), mode) for mode in "ar"
    )
    assert [process.pid for process in members("abc", tmp_path)] == [writes.pid]


def test_children_of_children_are_descendants(started: ExitStack) -> None:
    code = f"import subprocess, sys; subprocess.Popen({SLEEP!r}); sys.stdout.close(); import time; time.sleep(600)"
    parent = start(started, sys.executable, "-c", code)
    (child,) = descendants(parent.pid)
    started.callback(kill, child)
    assert child.parent == parent.pid
    assert child in descendants(os.getpid())


def test_killing_goes_on_until_nothing_is_found(started: ExitStack) -> None:
    processes = [start(started) for _ in range(2)]
    found = [read(process.pid) for process in processes]

    def alive() -> list[Process]:
        return [process for process in found if process and is_alive(process.pid, process.started)]

    assert kill_all(alive, within_seconds=10)
    assert alive() == []


def test_a_pid_that_passed_on_is_spared(started: ExitStack) -> None:
    stranger = start(started)
    now = read(stranger.pid)
    assert now is not None
    kill(replace(now, started=now.started - 1))
    assert is_alive(now.pid, now.started)


def test_a_zombie_counts_as_gone(started: ExitStack) -> None:
    process = start(started)
    process.kill()
    until = time.monotonic() + 10
    while read(process.pid) is not None:
        assert time.monotonic() < until
        time.sleep(0.01)  # poll


def test_one_keeper_at_a_time_holds_a_place(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "deep" / "place")
    held = place.lock()
    assert held is not None
    assert place.lock() is None
    os.close(held)
    again = place.lock()
    assert again is not None
    os.close(again)


def test_a_place_and_its_secrets_are_closed_to_others(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "place")
    write_secret(place.token_file, "s3cret")
    assert place.token() == "s3cret"
    assert oct(place.directory.stat().st_mode)[-3:] == "700"
    assert oct(place.token_file.stat().st_mode)[-3:] == "600"


def test_a_life_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    place, life = Place.make(tmp_path), life_of(os.getpid(), 1)
    place.write_life(life)
    assert place.life() == life


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tag": "abc"}'])
def test_a_life_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "keeper.json").write_text(text)
    assert Place(directory=tmp_path).life() is None


def test_a_life_is_kept_while_its_very_keeper_lives() -> None:
    me = read(os.getpid())
    assert me is not None
    life = life_of(me.pid, me.started)
    assert life.is_kept
    assert not replace(life, keeper_started=me.started + 1).is_kept
    assert not replace(life, ended="it was asked to").is_kept


def life_of(pid: int, started: int) -> Life:
    return Life(
        tag="abc",
        folder="/short/x",
        base_port=20_000,
        url="http://127.0.0.2:20001",
        keeper_pid=pid,
        keeper_started=started,
    )
