"""`crossdock doctor` on this machine: what it says, its exit codes, and embedded clusters that lost their keeper."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_adapters.local.place import Life, Place
from cloud_adapters.local.processes import TAG_VARIABLE
from controlplane.admin import doctor as command
from controlplane.admin.doctor import ALL_WELL, COULD_NOT_LOOK, FINDINGS, doctor
from controlplane.admin.server import init
from controlplane.domain.errors import Invalid
from controlplane.settings import Settings
from controlplane.store import Store
from tests.store.planting import raw

TAG = "0123456789ab"
DEAD_PID = 2**22 + 1
"""Higher than any that Linux gives out."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a control plane that was set up and never ran."""
    made = Settings.read({"CROSSDOCK_HOME": str(tmp_path / "home")})
    init(made)
    return made


def directory(settings: Settings) -> Path:
    """Of its embedded cluster."""
    store = Store.open(settings.database_url)
    with store.read() as tx:
        (cluster,) = tx.clusters.list()
    store.close()
    return Path(dict(cluster.settings)["directory"])


@contextmanager
def abandoned(place: Place, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a cluster whose keepers are gone."""
    folder.mkdir()
    life = Life(
        tag=TAG,
        folder=str(folder),
        base_port=1,
        url="http://127.0.0.2:1",
        keeper_pid=DEAD_PID,
        keeper_started=1,
        is_up=True,
    )
    place.write_life(life)
    process = subprocess.Popen(["sleep", "600"], env=os.environ | {TAG_VARIABLE: f"{TAG}.1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_fresh_control_plane_is_well(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(settings, repair=False, as_json=False) == ALL_WELL
    *notes, summary = capsys.readouterr().out.splitlines()
    assert notes == [
        "note: no scheduling loop is running: what waits for one, and the nodes of clusters, were not judged",
        "note: cluster local is down with the server, and was not asked",
    ]
    assert summary.startswith("all is well; looked at 0 jobs, 0 claims and 0 clusters in ")


def test_processes_that_outlived_their_keeper_are_found_and_ended(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "GUARD_SECONDS", 0.0)
    place = Place.make(directory(settings))
    with abandoned(place, tmp_path / "ray") as process:
        assert doctor(settings, repair=False, as_json=True) == FINDINGS
        finding, summary = map(json.loads, capsys.readouterr().out.splitlines())
        assert (finding["rule"], finding["is_repairable"]) == ("cluster_without_keeper", True)
        assert f"{process.pid} among them" in finding["sentence"]
        assert (summary["kind"], summary["findings"]) == ("summary", 1)
        assert process.poll() is None
        assert doctor(settings, repair=True, as_json=False) == FINDINGS
        assert "repaired: ended what was left of it" in capsys.readouterr().out
        process.wait(10)  # raises if it lives; its code is told to whoever waits first
    assert doctor(settings, repair=False, as_json=True) == ALL_WELL


def test_what_is_wrong_comes_with_what_can_be_done(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with raw(settings.database_url) as operator:
        operator.execute("INSERT INTO edges VALUES ('job', 'failed', 'queued')")
    assert doctor(settings, repair=False, as_json=False) == FINDINGS
    first, *_, summary = capsys.readouterr().out.splitlines()
    assert first == (
        "edges: job failed -> queued is too much in the table of moves; stop the server and run "
        "`crossdock server init` of the version that made the database"
    )
    assert summary.startswith("1 findings; looked at ")


def test_a_database_that_cannot_be_read_is_no_clean_bill(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.home / "crossdock.db").write_bytes(b"not a database" * 1000)
    (settings.home / "crossdock.db-wal").unlink(missing_ok=True)
    assert doctor(settings, repair=False, as_json=False) == COULD_NOT_LOOK
    assert capsys.readouterr().err.startswith("could not look: the database is away: ")


def test_a_folder_without_a_control_plane_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="server init"):
        doctor(replace(settings, home=tmp_path / "elsewhere"), repair=False, as_json=False)
