"""Command lines and environments of the head and the nodes. Pure; standard library only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_adapters.local.ports import Service, last_port_of, port_of
from cloud_adapters.local.processes import TAG_VARIABLE
from cloud_adapters.local.shape import MEBIBYTE, Shape

GPU_RESOURCE: Final = "logical_gpu"
"""A resource of our own: Ray's `GPU` on a machine without any would send user code looking for CUDA."""

HEAD: Final = 0
"""The head's slot; the nodes are 1, 2..."""

START_SECONDS: Final = 150.0
"""How long the head or a node may take to start. A busy laptop needs more than Ray's own patience."""

HEAD_OBJECT_STORE_BYTES: Final = 80 * MEBIBYTE
PASSED_ON: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "OMP_NUM_THREADS",
        "PYTHONPYCACHEPREFIX",
    }
    | {"PYTHONDONTWRITEBYTECODE", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"}
)
"""All that user code may see of the server's environment: the rest may hold its secrets."""

PORT_FLAGS: Final = {
    "--dashboard-agent-listen-port": Service.AGENT_HTTP,
    "--dashboard-agent-grpc-port": Service.AGENT_GRPC,
    "--metrics-export-port": Service.METRICS,
    "--runtime-env-agent-port": Service.RUNTIME_ENV_AGENT,
    "--node-manager-port": Service.NODE_MANAGER,
    "--object-manager-port": Service.OBJECT_MANAGER,
    "--min-worker-port": Service.TASKS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """One life of a cluster, from its start to its end."""

    tag: str
    base_port: int
    folder: Path
    """Private to us, with a short name: Ray's sockets lie below it, and a socket's path has 107 bytes at most."""

    token_file: Path
    shape: Shape

    @property
    def ray_folder(self) -> Path:
        """Ray opens its folder to everybody; the one around it stays closed."""
        return self.folder / "r"

    @property
    def url(self) -> str:
        return f"http://{address_of(HEAD)}:{port_of(self.base_port, HEAD, Service.DASHBOARD)}"

    @property
    def gcs(self) -> tuple[str, int]:
        return address_of(HEAD), port_of(self.base_port, HEAD, Service.GCS)


def address_of(slot: int) -> str:
    """Ray replaces 127.0.0.1 by the machine's outer address, so the head is 127.0.0.2."""
    return f"127.0.0.{slot + 2}"


def start_flags(blueprint: Blueprint, slot: int) -> tuple[str, ...]:
    """Arguments of `ray` that start the head or a node in the background."""
    special = _head_flags(blueprint) if slot == HEAD else _node_flags(blueprint)
    return (
        "start",
        *special,
        *_port_flags(blueprint.base_port, slot),
        f"--node-ip-address={address_of(slot)}",
    )


def environment(
    blueprint: Blueprint, slot: int, *, bin_folder: Path, ours: Mapping[str, str]
) -> dict[str, str]:
    passed_on = {name: value for name, value in ours.items() if name in PASSED_ON}
    return passed_on | {
        # Jobs inherit PATH: `python` must be the one that has Ray.
        "PATH": f"{bin_folder}:{ours.get('PATH', '/usr/bin:/bin')}",
        TAG_VARIABLE: f"{blueprint.tag}.{slot}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(blueprint.token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{START_SECONDS:.0f}",
        # The dashboard then reads usage per node from Ray's core, without an autoscaler.
        "RAY_enable_autoscaler_v2": "1",
        "DASHBOARD_METRIC_PORT": str(port_of(blueprint.base_port, slot, Service.DASHBOARD_METRICS)),
    }


def _head_flags(blueprint: Blueprint) -> tuple[str, ...]:
    base = blueprint.base_port
    return (
        "--head",
        f"--port={port_of(base, HEAD, Service.GCS)}",
        f"--dashboard-host={address_of(HEAD)}",
        f"--dashboard-port={port_of(base, HEAD, Service.DASHBOARD)}",
        "--include-dashboard=true",
        "--no-monitor",
        # Nodes must not have this flag: their jobs' logs would not be found.
        f"--temp-dir={blueprint.ray_folder}",
        "--num-cpus=0",
        "--num-gpus=0",
        f"--object-store-memory={HEAD_OBJECT_STORE_BYTES}",
    )


def _node_flags(blueprint: Blueprint) -> tuple[str, ...]:
    shape = blueprint.shape
    host, port = blueprint.gcs
    return (
        f"--address={host}:{port}",
        # All nodes share one folder of logs, and the head's monitor reads it.
        "--include-log-monitor=false",
        f"--num-cpus={shape.cpus_per_node}",
        "--num-gpus=0",
        f"--memory={shape.memory_bytes_per_node}",
        f"--object-store-memory={shape.object_store_bytes_per_node}",
        f"--resources={json.dumps({GPU_RESOURCE: shape.gpus_per_node} if shape.gpus_per_node else {})}",
    )


def _port_flags(base: int, slot: int) -> tuple[str, ...]:
    fixed = (f"{flag}={port_of(base, slot, service)}" for flag, service in PORT_FLAGS.items())
    return (*fixed, f"--max-worker-port={last_port_of(base, slot)}")
