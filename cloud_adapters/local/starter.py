"""Runs `ray start`, lighter and more patient. A program of its own: the keeper starts it, nothing imports Ray here.

Lighter: loading the commands that a start does not need takes most of its time. Ray takes it for an installation
without Serve and without the state and job commands, which it supports. The Ray Client server is left out too: nobody
here uses it, and it is one more door that runs code.

More patient: Ray gives a node 30 seconds to appear, too few on a busy machine. The keeper knows when to give up.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

UNNEEDED: Final = ("ray.serve.scripts", "ray.util.state.state_cli", "ray.dashboard.modules.job.cli")
PAUSE_SECONDS: Final = 0.2


def main() -> None:
    sys.modules.update(dict.fromkeys(UNNEEDED))  # type: ignore[arg-type] # None makes an import fail
    from ray.scripts import scripts  # noqa: PLC0415 # after the line above

    vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    services = vars(vars(scripts)["services"])
    services["get_node"] = _patient(services["get_node"])
    scripts.main()


def _patient(look: Callable[..., object]) -> Callable[..., object]:
    def look_until_found(*arguments: object, **options: object) -> object:
        while True:
            try:
                return look(*arguments, **options)
            except RuntimeError:
                time.sleep(PAUSE_SECONDS)

    return look_until_found


if __name__ == "__main__":
    main()
