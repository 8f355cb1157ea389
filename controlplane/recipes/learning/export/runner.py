"""Answers with the model beside this file, on one device and without a network.

    python run.py --public-key key.pem < inputs.json

Standard input is a JSON object with one list for each input of the model; standard output gets the scores
and, by example, the index of the highest. Nothing is run unless every file is as the manifest says, and the
manifest as its signer left it. Needs numpy and onnxruntime, and cryptography to check the signature.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FORMAT = 1


class Refused(Exception):
    """The package is not what its signer made."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Answer with the model of this package.")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--public-key", type=Path, help="PEM file of whoever signed the package")
    trust.add_argument(
        "--trust-unsigned", action="store_true", help="check that files are whole, not who made them"
    )
    arguments = parser.parse_args()
    try:
        answer = run(Path(__file__).parent, arguments.public_key, json.load(sys.stdin))
    except (Refused, ValueError) as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


def run(folder: Path, public_key: Path | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """Scores and, by example, the index of the highest. Raises `Refused`, and ValueError for wrong inputs."""
    manifest = checked(folder, public_key)
    import numpy as np
    import onnxruntime

    fed = {}
    for wanted in manifest["inputs"]:
        if wanted["name"] not in inputs:
            raise ValueError(f"the model needs {wanted['name']}")
        array = np.asarray(inputs[wanted["name"]], dtype=wanted["type"])
        if list(array.shape[1:]) != wanted["shape"]:
            raise ValueError(
                f"one of {wanted['name']} has shape {wanted['shape']}, not {list(array.shape[1:])}"
            )
        fed[wanted["name"]] = array
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, fed)
    return {"scores": scores.tolist(), "highest": scores.argmax(axis=-1).tolist()}


def checked(folder: Path, public_key: Path | None) -> dict[str, Any]:
    """The manifest, once its signature and all files are as they should be."""
    said = (folder / "manifest.json").read_bytes()
    if public_key is not None:
        _check_signature(said, (folder / "manifest.sig").read_bytes(), public_key)
    manifest: dict[str, Any] = json.loads(said)
    if manifest["format"] != FORMAT:
        raise Refused(f"the package has format {manifest['format']}, this runner knows {FORMAT}")
    for name, facts in manifest["files"].items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if digest != facts["sha256"]:
            raise Refused(f"{name} has sha256 {digest}, the manifest says {facts['sha256']}")
    return manifest


def _check_signature(said: bytes, signature: bytes, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(public_key.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise Refused(f"packages are signed with Ed25519, not {type(key).__name__}")
    try:
        key.verify(signature, said)
    except InvalidSignature:
        raise Refused("the manifest was not signed with this key") from None


if __name__ == "__main__":
    sys.exit(main())
