"""Jobs through the SDK on machines that are bought, really boot, form their Ray over TLS, train, and are gone again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from controlplane.sdk import Client, Job, JobSpec
from tests.hypervisor import clouds, namespaces
from tests.hypervisor.clouds import Account, Hall
from tests.later import Clock
from tests.parts import require_part
from tests.server import RunningServer, eventually, running_server

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1500)]

BOOT_SECONDS: Final = 600.0
"""From a job that waits to its end: several Rays start on a busy machine."""

QUIET_SECONDS: Final = 120.0
SWEEPS_SECONDS: Final = 320.0
"""Longer than the pause between two looks for what was left behind."""

TRAINING: Final = """
    import os, torch
    from torch import distributed, nn

    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.manual_seed(0)
    net, truth = nn.Linear(4, 1), torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    step = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.manual_seed(1 + rank)
    for _ in range(200):
        seen = torch.randn(16, 4)
        loss = ((net(seen) - seen @ truth) ** 2).mean()
        step.zero_grad()
        loss.backward()
        for each in net.parameters():
            distributed.all_reduce(each.grad)
            each.grad /= distributed.get_world_size()
        step.step()
    print(f"rank {rank} of {distributed.get_world_size()} on {os.uname().nodename} lost {loss.item():.6f}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """A server, and an account that it buys from."""

    server: RunningServer
    clock: Clock
    hall: Hall
    account: Account

    def until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        try:
            eventually(condition, seconds, otherwise)
        except TimeoutError:
            self.hall.check()
            with self.server.client() as client:
                claims = "\n".join(map(str, client.claims.list()))
            log = self.server.log("loops")[-3000:]
            pytest.fail(f"{otherwise}\n{claims}\n{self.hall.story()}\n{log}")


@contextmanager
def bought(home: Path, kind: str) -> Iterator[Bought]:
    """The account is registered as docs/clusters.md says, and waiting longer than a second is too long."""
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    for part in ("ray", "torch"):
        require_part(part, find_spec(part) is not None, "it is not installed")
    settings = {"poll_seconds": 2.0, "lease_seconds": 60.0, "idle_seconds": 10.0}
    with (
        running_server(home, program="tests.later", unreachable_after_seconds=60.0, **settings) as server,
        clouds.standing(reach=[server.settings.port]) as hall,
    ):
        clock = Clock(home)
        opens = clouds.aws if kind == "aws" else clouds.alibaba
        with opens(clock, hall) as account, server.client() as client:
            keys = home / "keys.json"
            keys.write_text(account.secret)
            options = [f"--set={name}={value}" for name, value in account.settings().items()]
            added = server.crossdock(
                "clusters", "add", "burst", "--adapter", kind, "--secret-file", str(keys), *options
            )
            assert added.returncode == 0, added.stdout + added.stderr
            client.quotas.set(queue="default", burst_after_seconds=1)
            yield Bought(server=server, clock=clock, hall=hall, account=account)


def submit(client: Client, folder: Path) -> Job:
    folder.mkdir()
    (folder / "main.py").write_text(dedent(TRAINING))
    spec = {
        "name": "gang",
        "entrypoint": "python main.py",
        "tasks": 2,
        "resources": {"cpus": 0.5, "gpus": 1},
    }
    return client.jobs.submit(JobSpec.model_validate(spec), working_dir=folder)


@pytest.mark.parametrize("kind", ["aws", "alibaba"])
def test_a_gang_trains_on_machines_that_were_bought_for_it_and_nothing_of_them_stays(
    tmp_path: Path, kind: str
) -> None:
    with bought(tmp_path / "home", kind) as site, site.server.client() as client:
        job = submit(client, tmp_path / "code")
        site.until(lambda: job.refresh().is_finished, BOOT_SECONDS, "the job must end")
        assert job.state == "succeeded", list(job.logs())
        lines = sorted(line for line in job.logs() if line.startswith("rank"))
        names = [line.split(" on ")[1].split()[0] for line in lines]
        assert sorted(names) == sorted(site.hall.booted), lines
        assert [line.split(" on ")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"]
        assert all(float(line.split()[-1]) < 0.001 for line in lines)

        site.until(lambda: site.account.machines() == [], QUIET_SECONDS, "idle machines must go")
        leave(site, client)


def leave(site: Bought, client: Client) -> None:
    """The cluster is detached, and in the end nothing is there that was made for it."""
    cluster = client.clusters.get("burst").id
    (claim,) = client.claims.list()
    site.clock.skip(SWEEPS_SECONDS + 60)
    site.until(lambda: client.claims.get(claim.id).state == "gone", QUIET_SECONDS, "the claim must be gone")
    client.clusters.drain("burst")
    client.clusters.detach("burst")

    def is_swept() -> bool:
        site.clock.skip(SWEEPS_SECONDS)
        return site.account.left(cluster) == []

    site.until(is_swept, QUIET_SECONDS, "what was made for the cluster must be swept")
    assert site.account.machines() == []
    assert site.hall.hypervisor.addresses == {}
