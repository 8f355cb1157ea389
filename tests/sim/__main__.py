"""python -m tests.sim seeds|replay|hashes: the simulated world from the command line."""

import argparse
import sys
import time

from tests.sim.minimise import page
from tests.sim.trials import run, run_many


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    seeds = verbs.add_parser("seeds", help="runs COUNT seeds from FIRST on; stops at the first that fails")
    seeds.add_argument("first", type=int)
    seeds.add_argument("count", type=int)
    seeds.add_argument("--brief", action="store_true", help="only say which seed failed")
    replay = verbs.add_parser("replay", help="runs one seed and, if it fails, tells its smallest story")
    replay.add_argument("seed", type=int)
    hashes = verbs.add_parser("hashes", help="prints the trace hash of each seed")
    hashes.add_argument("seeds", type=int, nargs="+")
    for verb in (seeds, replay, hashes):
        verb.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    match options.verb:
        case "seeds":
            return _seeds(options)
        case "replay":
            return _replay(options)
        case _:
            print(*(run(seed, options.steps).trace_hash for seed in options.seeds), sep="\n")
            return 0


def _seeds(options: argparse.Namespace) -> int:
    began = time.monotonic()
    jobs = starts = strikes = 0
    for result in run_many(range(options.first, options.first + options.count), options.steps):
        jobs, starts = jobs + result.jobs, starts + result.starts
        strikes += len(result.struck)
        if result.violation is not None:
            print(result if options.brief else page(result))
            return 1
    seconds = time.monotonic() - began
    print(
        f"{options.count} seeds x {options.steps} steps: no violation; "
        f"{jobs} jobs, {starts} starts of user code, {strikes} faults, {seconds:.0f} s"
    )
    return 0


def _replay(options: argparse.Namespace) -> int:
    result = run(options.seed, options.steps)
    print(result if result.violation is None else page(result))
    return 0 if result.violation is None else 1


if __name__ == "__main__":
    sys.exit(main())
