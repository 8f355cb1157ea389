"""Tensors: as bytes, and back without running code."""

import io
from collections.abc import Mapping
from typing import Any

import torch

from . import storage


def saved(state: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def load(uri: str, device: torch.device) -> dict[str, Any]:
    """Reads tensors and plain values only: a checkpoint brings no code."""
    state: dict[str, Any] = torch.load(io.BytesIO(storage.read(uri)), map_location=device, weights_only=True)
    return state
