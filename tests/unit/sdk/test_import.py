"""The SDK stays light."""

import subprocess
import sys

HEAVY = {
    "alembic",
    "alibabacloud_oss_v2",
    "boto3",
    "cryptography",
    "fastapi",
    "kubernetes",
    "numpy",
    "psycopg",
    "ray",
    "sqlalchemy",
    "starlette",
    "torch",
    "uvicorn",
    "yaml",
}
OURS = {"controlplane", "controlplane.sdk", "controlplane.wire"}


def test_importing_the_sdk_loads_no_server_ray_or_cloud_package() -> None:
    code = "import controlplane.sdk, sys; print('\\n'.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    parts = {".".join(name.split(".")[:2]) for name in loaded if name.partition(".")[0] == "controlplane"}
    assert parts == OURS
