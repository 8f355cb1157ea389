"""python -m tests.sim.scheduling histories|replay|hashes|soak: random histories of scheduling from the command line."""

import argparse
import sys
import time

from schedulers.fair.policy import Fair
from tests.sim.scheduling.rehearsals import page, rehearse, rehearse_many
from tests.sim.scheduling.soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.scheduling", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    histories = verbs.add_parser(
        "histories", help="carries out COUNT from FIRST on; stops at the first that fails"
    )
    histories.add_argument("first", type=int)
    histories.add_argument("count", type=int)
    histories.add_argument("--brief", action="store_true", help="only say which history failed")
    replay = verbs.add_parser("replay", help="carries out one and, if it fails, makes it small")
    replay.add_argument("seed", type=int)
    hashes = verbs.add_parser("hashes", help="prints the trace hash of each history")
    hashes.add_argument("seeds", type=int, nargs="+")
    forever = verbs.add_parser("soak", help="goes on where the last soak ended")
    forever.add_argument("seconds", type=float)
    options = parser.parse_args()
    match options.verb:
        case "histories":
            return _histories(options)
        case "replay":
            outcome = rehearse(options.seed)
            print(outcome if outcome.violation is None else page(outcome, Fair()))
            return 0 if outcome.violation is None else 1
        case "soak":
            return 0 if soak(options.seconds, told=print).violations == 0 else 1
        case _:
            print(*(rehearse(seed).trace_hash for seed in options.seeds), sep="\n")
            return 0


def _histories(options: argparse.Namespace) -> int:
    began, events, plans = time.monotonic(), 0, 0
    for outcome in rehearse_many(range(options.first, options.first + options.count)):
        events, plans = events + outcome.events, plans + outcome.plans
        if outcome.violation is not None:
            told = f"{outcome}, {events} events in all"
            print(told if options.brief else page(outcome, Fair()))
            return 1
    seconds = time.monotonic() - began
    print(f"{options.count} histories: no violation; {events} events, {plans} plans, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
