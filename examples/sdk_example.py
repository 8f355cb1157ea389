"""Submits a gang of two tasks, follows its output, and says how it went.

Before: `crossdock server init`, then `crossdock server run` in another terminal.
"""

from pathlib import Path

from controlplane.sdk import Client, JobFailed, JobSpec, Resources, Retry

CODE = Path(__file__).parent / "gang"


def main(client: Client) -> None:
    spec = JobSpec(
        name="gang",
        entrypoint="python train.py",
        tasks=2,
        resources=Resources(cpus=1),
        retry=Retry(max_attempts=2),
    )
    job = client.jobs.submit(spec, working_dir=CODE)
    print(f"{job.id}: {job.explain().sentence}")
    for line in job.logs(follow=True):
        print(line)
    try:
        job.wait(check=True)
    except JobFailed as failed:
        print(f"failed: {failed}")
        return
    losses = {point.rank: point.values["loss"] for point in job.metrics()}
    for attempt in job.attempts():
        nodes = ", ".join(seat.node for seat in attempt.seats)
        print(
            f"attempt {attempt.number} on {attempt.cluster} ({nodes}): {attempt.outcome}, last losses {losses}"
        )


if __name__ == "__main__":
    with Client() as opened:
        main(opened)
