"""The archive for TorchServe: an ONNX graph, what runs it, and the manifest that its loader reads.

The layout is that of `torch-model-archiver` 0.12, which would need an environment of its own for writing one JSON file.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .zips import zipped

ARCHIVER_VERSION: Final = "0.12.0"
INPUTS: Final = "inputs.json"


def archived(onnx: bytes, *, name: str, inputs: Sequence[str]) -> bytes:
    """`inputs` are the graph's, in order."""
    manifest = {
        "createdOn": "",  # the same bytes for the same content
        "runtime": "python",
        "model": {
            "modelName": name,
            "modelVersion": "1.0",
            "serializedFile": "model.onnx",
            "handler": "entry.py",
        },
        "archiverVersion": ARCHIVER_VERSION,
    }
    return zipped(
        {
            "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2).encode(),
            "model.onnx": onnx,
            "entry.py": Path(__file__).with_name("entry.py").read_bytes(),
            INPUTS: json.dumps(list(inputs)).encode(),
        }
    )
