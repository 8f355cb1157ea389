"""Runs `ray start`, lighter and more patient. A program of its own: the keeper starts it, nothing imports Ray here.

Lighter: loading the commands that a start does not need takes most of its time. Ray takes it for an installation
without Serve and without the state and job commands, which it supports. The Ray Client server is left out too: nobody
here uses it, and it is one more door that runs code.

More patient: Ray gives a node 30 seconds to appear, and its raylet dies when the agents beside it have not said within
15 which ports they took: too few on a busy machine. Ports that were chosen by who starts it are said before; it also
knows when to give up.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

UNNEEDED: Final = ("ray.serve.scripts", "ray.util.state.state_cli", "ray.dashboard.modules.job.cli")
AGENT_PORTS: Final = ("dashboard_agent_listen_port", "runtime_env_agent_port")
PAUSE_SECONDS: Final = 0.2


def main() -> None:
    sys.modules.update(dict.fromkeys(UNNEEDED))  # type: ignore[arg-type] # None makes an import fail
    from ray import _raylet  # noqa: PLC0415 # after the line above
    from ray._private import node  # noqa: PLC0415 # as above
    from ray.scripts import scripts  # noqa: PLC0415 # as above

    vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    services = vars(vars(scripts)["services"])
    services["get_node"] = _patient(services["get_node"])
    say = vars(_raylet)["persist_port"]
    node.Node.start_raylet = _after_saying_ports(node.Node.start_raylet, say)  # type: ignore[method-assign] # on purpose
    scripts.main()


def _patient(look: Callable[..., object]) -> Callable[..., object]:
    def look_until_found(*arguments: object, **options: object) -> object:
        while True:
            try:
                return look(*arguments, **options)
            except RuntimeError:
                time.sleep(PAUSE_SECONDS)

    return look_until_found


def _after_saying_ports(start: Callable[..., None], say: Callable[..., None]) -> Callable[..., None]:
    def start_raylet(node: object, *arguments: object, **options: object) -> None:
        # A private part of Ray, pinned by the test that boots one: `node` is its Node.
        inside = vars(node)
        for name in AGENT_PORTS:
            if port := getattr(inside["_ray_params"], name):
                say(inside["_session_dir"], inside["_node_id"], name, port)
        start(node, *arguments, **options)

    return start_raylet


if __name__ == "__main__":
    main()
