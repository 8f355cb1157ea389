"""A test run that is told to end still cleans up."""

import subprocess
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
ENDLESS: Final = """
import signal, pytest

@pytest.fixture
def started():
    yield
    print("cleaned up", flush=True)

def test_endless(started):
    print("running", flush=True)
    signal.pause()
"""


def test_a_terminated_run_stops_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "tests.termination",
        f"--rootdir={tmp_path}",
        str(tmp_path),
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            assert any("running" in line for line in run.stdout)
            run.terminate()
            assert any("cleaned up" in line for line in run.stdout)
        finally:
            run.kill()
    assert run.returncode != 0
