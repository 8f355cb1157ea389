"""Jobs through the SDK on machines that are bought, really boot, form their Ray over TLS, train, and are gone again."""

from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from controlplane.sdk import Client, Job, JobSpec
from tests.hypervisor.buying import QUIET_SECONDS, buyer

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1500)]

BOOT_SECONDS: Final = 600.0
"""From a job that waits to its end: several Rays start on a busy machine."""

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


@pytest.mark.parametrize("kind", ["aws", "alibaba"])
def test_a_gang_trains_on_machines_that_were_bought_for_it_and_nothing_of_them_stays(
    tmp_path: Path, kind: str
) -> None:
    with buyer(tmp_path / "home", kind) as site, site.server.client() as client:
        job = submit(client, tmp_path / "code")
        site.until(lambda: job.refresh().is_finished, BOOT_SECONDS, "the job must end")
        assert job.state == "succeeded", list(job.logs())
        lines = sorted(line for line in job.logs() if line.startswith("rank"))
        assert [line.split(" on ")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"]
        names = [line.split(" on ")[1].split()[0] for line in lines]
        assert sorted(names) == sorted(site.hall.booted), lines
        assert all(float(line.split()[-1]) < 0.001 for line in lines)

        account = site.accounts[kind]
        site.until(lambda: account.machines() == [], QUIET_SECONDS, "idle machines must go")
        site.leave(client)


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
