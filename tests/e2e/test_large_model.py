"""The large-model story, as a person starts it."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.hypervisor import namespaces
from tests.parts import require_part

STORY_SECONDS: Final = 2400.0
CHAPTERS: Final = 7

pytestmark = [pytest.mark.verify, pytest.mark.timeout(STORY_SECONDS + 60)]


def test_the_story_of_the_large_model_is_told_to_its_end() -> None:
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    for part in ("ray", "torch"):
        require_part(part, find_spec(part) is not None, "it is not installed")
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.large_model"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=STORY_SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.findall(r"^(\d)\. ", told.stdout, re.MULTILINE) == [
        str(each) for each in range(1, CHAPTERS + 1)
    ]
    assert re.search(r"^The end, after \d+ s\.$", told.stdout, re.MULTILINE)
