"""The large-model story in one command: `make story`, or `python -m tests.e2e.large_model`.

A transformer whose layers are divided over two machines learns at one cloud, is told to go, goes on at another from
the very step, is published, and is served by a replica whose layers are divided again. Each chapter says what was
seen; what is not as it must be ends the story with 1.

Real: server, scheduler, SDK, gateway, recipes, Ray, PyTorch and gloo between machines, TLS, the vendors' SDKs, the
machines' own boot from their user data. Played: the accounts (a strict EC2 and an ECS of ours, which check
signatures), the two object stores (likewise), and the machines' hardware, which is namespaces of this one host: it
takes Linux and root. And the model is small, so that the story takes minutes: some 200,000 weights.
"""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.large_model.chapters import Story, Untrue, chapters
from tests.e2e.large_model.training import undisturbed
from tests.hypervisor.two_clouds import two_clouds
from tests.parts import VARIABLE
from tests.server import free_port

IDLE_SECONDS = 120.0
"""Machines wait so long for the next chapter."""


def main() -> int:
    began = time.monotonic()
    os.environ[VARIABLE] = "namespaces,ray,torch"  # without these there is no story, and nothing to skip
    try:
        with TemporaryDirectory(prefix="crossdock-story-") as folder:
            tell(Path(folder))
    except (Untrue, pytest.fail.Exception) as end:
        sys.stdout.write(f"\nThe story broke off: {end}\n")
        return 1
    sys.stdout.write(f"\nThe end, after {time.monotonic() - began:.0f} s.\n")
    return 0


def tell(folder: Path) -> None:
    ports = {"gateway_port": free_port(), "gateway_grpc_port": free_port()}
    with (
        two_clouds(folder, idle_seconds=IDLE_SECONDS, **ports) as clouds,
        undisturbed(folder) as reference,
        clouds.site.server.client() as client,
    ):
        clouds.site.server.start("gateway")
        story = Story(clouds=clouds, client=client, reference=reference)
        for number, chapter in enumerate(chapters(), 1):
            sys.stdout.write(f"\n{number}. {(chapter.__doc__ or '').strip()}\n")
            chapter(story)


if __name__ == "__main__":
    sys.exit(main())
