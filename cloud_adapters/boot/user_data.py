"""User data: what a cloud hands to a machine, so that it boots into its claim's Ray cluster.

A shell script for cloud-init with the boot program and its order in it. Equal orders make equal text, byte for byte,
under one version of this server, for clouds refuse a client token that comes with other parameters.
"""

import base64
import json
import math
import zlib
from pathlib import Path
from string import Template
from typing import Final

from cloud_adapters.base import Boot, LaunchOrder, Rejected

MOST_BYTES: Final = 16 * 1024
"""What AWS takes, before it is encoded in base64. Others take more."""

PROGRAM: Final = Path(__file__).with_name("program.py")
METADATA: Final = (
    {"kind": "aws", "url": "http://169.254.169.254"},
    {"kind": "alibaba", "url": "http://100.100.100.200"},
)

# The timer comes before all that can fail. Python is the one that has Ray, else one that is new enough.
SCRIPT: Final = Template(r"""#!/bin/sh
# A machine of Crossdock's launch $launch_id: see docs/machine-protocol.md
umask 077
shutdown -h +$minutes
mkdir -p /var/lib/crossdock && cd /var/lib/crossdock || exit 1
cat > order.json <<'END'
$order
END
cat > program.b85 <<'END'
$program
END
ray=$$(PATH="$$PATH:/opt/crossdock/bin:/opt/ray/bin:/opt/conda/bin" command -v ray)
for python in "$$(dirname "$$(readlink -f "$$ray")")/python3" python3 python3.13 python3.12 python3.11 python3.10; do
  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && break
done
"$$python" -c 'import base64, sys, zlib
sys.stdout.buffer.write(zlib.decompress(base64.b85decode(sys.stdin.read().strip())))' \
  < program.b85 > program.py || exit 1
cat > /etc/systemd/system/crossdock-machine.service <<END
[Unit]
Description=Crossdock machine
StartLimitIntervalSec=0
[Service]
ExecStart=$$(command -v "$$python") /var/lib/crossdock/program.py /var/lib/crossdock/order.json
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=30
OOMPolicy=continue
LimitNOFILE=1048576
LimitMEMLOCK=infinity
TasksMax=infinity
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now crossdock-machine.service
""")


def render(order: LaunchOrder) -> str:
    """Holds no secret but the boot token. Raises `Rejected` without `order.boot`, or beyond `MOST_BYTES`."""
    boot = order.boot
    if boot is None:
        raise Rejected(f"launch {order.launch_id} says nothing of how its machines find the control plane")
    text = SCRIPT.substitute(
        launch_id=order.launch_id,
        minutes=math.ceil(boot.dead_man_seconds / 60) + 1,
        order=json.dumps(_order(order, boot), sort_keys=True),
        program=base64.b85encode(zlib.compress(PROGRAM.read_bytes(), 9)).decode(),
    )
    if len(text.encode()) > MOST_BYTES:
        raise Rejected(
            f"the user data of launch {order.launch_id} takes {len(text.encode())} bytes, {MOST_BYTES} are allowed"
        )
    return text


def _order(order: LaunchOrder, boot: Boot) -> dict[str, object]:
    return {
        "version": 1,
        "claim_id": order.claim_id,
        "launch_id": order.launch_id,
        "urls": boot.urls,
        "token": boot.token,
        "ca_pem": boot.ca_pem,
        "dead_man_seconds": boot.dead_man_seconds,
        "metadata": METADATA,
    }
