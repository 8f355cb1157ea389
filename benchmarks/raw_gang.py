"""A gang by hand: the placement group that ours makes, and one command per bundle, without keeping anything.

Started as a Ray job: `python raw_gang.py COMMAND CPUS NODE_ID...`; prints what each bundle's command printed, one each.
"""

import subprocess
import sys

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def main(command: str, cpus: int, node_ids: list[str]) -> None:
    ray.init(address="auto", log_to_driver=False)
    pinned = [{"ray.io/node-id": node_id} for node_id in node_ids]
    group = ray.util.placement_group(
        [{"CPU": cpus} for _ in node_ids], strategy="PACK", bundle_label_selector=pinned
    )
    ray.get(group.ready())
    started = ray.remote(num_cpus=cpus)(output_of)
    bundles = [
        started.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank)).remote(command)
        for rank in range(len(node_ids))
    ]
    print("".join(ray.get(bundles)))


def output_of(command: str) -> str:
    return subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
