"""Int8 models: ONNX Runtime's quantiser, dynamic or with calibrated activations."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxruntime import quantization

from ..data.batches import batches_in_order
from ..data.examples import Column, Examples


def int8_dynamic(onnx: bytes) -> bytes:
    """Weights as int8; the range of activations is found anew in every run. Dense layers only."""
    return _through_files(
        onnx,
        lambda source, target: quantization.quantize_dynamic(
            source, target, op_types_to_quantize=["MatMul", "Gemm"], weight_type=quantization.QuantType.QInt8
        ),
    )


def int8_static(onnx: bytes, calibration: Examples, inputs: tuple[str, ...]) -> bytes:
    """Weights as int8 with a scale for each channel, activations as uint8 in the ranges that calibration saw."""
    return _through_files(
        onnx,
        lambda source, target: quantization.quantize_static(
            source,
            target,
            _Calibration(calibration, inputs),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        ),
    )


class _Calibration:
    """One of the quantiser's readers, by what it does."""

    def __init__(self, examples: Examples, inputs: tuple[str, ...]) -> None:
        self._batches: Iterator[Mapping[str, Column]] = (
            {name: batch[name] for name in inputs} for batch in batches_in_order(examples, 32)
        )

    def get_next(self) -> Mapping[str, Column] | None:
        return next(self._batches, None)


def _through_files(onnx: bytes, quantize: Any) -> bytes:  # noqa: ANN401 - a call of an untyped package
    """The quantiser takes and leaves files, and advises on stderr what does not apply to models this small."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        source.write_bytes(onnx)
        quantize(source, target)
        return target.read_bytes()
