"""One task of a gang: pretends to learn, and reports how it goes. Needs the standard library alone."""

import json
import math
import os
import sys
import time
from pathlib import Path

STEPS = 40


def main() -> None:
    rank, size = int(os.environ["CROSSDOCK_RANK"]), int(os.environ["CROSSDOCK_WORLD_SIZE"])
    for step in range(1, STEPS + 1):
        time.sleep(0.2)
        loss = math.exp(-step / 12) + 0.02 * rank
        sys.stdout.write(f"task {rank} of {size}: step {step}, loss {loss:.3f}\n")
        sys.stdout.flush()
        report({"kind": "metric", "step": step, "values": {"loss": loss}})
        report({"kind": "progress", "fraction": step / STEPS, "message": f"step {step} of {STEPS}"})


def report(record: dict[str, object]) -> None:
    """One JSON line in the file that the wrapper reads and passes on."""
    with Path(os.environ["CROSSDOCK_RECORDS"]).open("a", encoding="utf-8") as records:
        records.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
