"""python -m tests.sim seeds|replay|hashes|plants|soak: the simulated world from the command line."""

import argparse
import sys
import time

from tests.sim.hunt import HEADING, hunt
from tests.sim.minimise import page
from tests.sim.plants_all import ALL_PLANTS
from tests.sim.soak import soak
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
    plants = verbs.add_parser(
        "plants", help="plants each known bug and tells within how many seeds it is caught"
    )
    plants.add_argument("names", nargs="*", help="only plants whose name contains one of these")
    plants.add_argument("--seeds", type=int, default=200, help="give up after so many")
    soak = verbs.add_parser("soak", help="goes on where the last soak ended")
    soak.add_argument("seconds", type=float)
    for verb in (seeds, replay, hashes, plants, soak):
        verb.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    match options.verb:
        case "seeds":
            return _seeds(options)
        case "replay":
            return _replay(options)
        case "plants":
            return _plants(options)
        case "soak":
            return _soak(options)
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


def _plants(options: argparse.Namespace) -> int:
    chosen = [
        plant
        for plant in ALL_PLANTS
        if not options.names or any(name in plant.name for name in options.names)
    ]
    missed = 0
    print(HEADING)
    for plant in chosen:
        catch = hunt(plant, seeds=options.seeds, steps=options.steps)
        missed += not catch.is_caught
        print(catch, flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted bugs were caught")
    return 1 if missed else 0


def _soak(options: argparse.Namespace) -> int:
    record = soak(options.seconds, options.steps, told=print)
    return 0 if record.violations == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
