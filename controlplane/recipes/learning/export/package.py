"""The edge package: a zip with model, runner and signed manifest, the same bytes for the same content."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..data.examples import Examples
from ..models.tasks import TASKS, TaskName
from .onnx_files import TOLERANCE
from .runner import FORMAT
from .zips import zipped

REQUIREMENTS: Final = b"numpy>=2.0\nonnxruntime>=1.20\ncryptography>=45\n"


def signing_key(pem: bytes) -> Ed25519PrivateKey:
    """Raises TypeError for another kind of key."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"packages are signed with an Ed25519 key, not a {type(key).__name__}")
    return key


def packed(
    onnx: bytes, *, task: TaskName, example: Examples, report: Mapping[str, Any], key: Ed25519PrivateKey
) -> bytes:
    """`example` shows names, types and shapes of the inputs; `report` is what compression measured."""
    files = {
        "model.onnx": onnx,
        "run.py": Path(__file__).with_name("runner.py").read_bytes(),
        "requirements.txt": REQUIREMENTS,
    }
    manifest = {
        "format": FORMAT,
        "task": str(task),
        "inputs": [
            {"name": name, "type": example[name].dtype.name, "shape": list(example[name].shape[1:])}
            for name in TASKS[task].inputs
        ],
        "tolerance": TOLERANCE,
        "measured": dict(report["after"]),
        "method": report["method"],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        },
    }
    said = json.dumps(manifest, indent=2, sort_keys=True).encode()
    return zipped(files | {"manifest.json": said, "manifest.sig": key.sign(said)})
