"""Runs `ray start` without the commands that a start does not need, since loading those takes most of its time.

Ray takes it for an installation without Serve and without the state and job commands, which it supports. The Ray
Client server is left out too: nobody here uses it, and it is one more door that runs code.
"""

import sys
from typing import Final

UNNEEDED: Final = ("ray.serve.scripts", "ray.util.state.state_cli", "ray.dashboard.modules.job.cli")


def main() -> None:
    sys.modules.update(dict.fromkeys(UNNEEDED))  # type: ignore[arg-type] # None makes an import fail
    from ray.scripts import scripts  # noqa: PLC0415 # after the line above

    vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    scripts.main()


if __name__ == "__main__":
    main()
