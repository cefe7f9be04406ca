"""Quantizers that benchmarks compare: onnxq, onnxruntime.quantization and onnxsim, at their best for x86."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import version_converter
from zoo_loader import Entry, Feeds

import onnxq

__all__ = ["CONTESTANTS"]

PER_CHANNEL_OPSET = 13


def ours(entry: Entry, samples: Sequence[Feeds], target: str, path: Path) -> None:
    """onnxq for a target, as Q/DQ."""
    onnxq.quantize(entry.float_model, samples, target=target, form="qdq", proof=0).save(path)


def onnxruntimes(entry: Entry, samples: Sequence[Feeds], target: str, path: Path) -> None:
    """onnxruntime.quantization after quant_pre_process: uint8 activations, int8 weights per channel."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    with TemporaryDirectory(prefix="onnxq-") as folder:
        raised, prepared = Path(folder) / "raised.onnx", Path(folder) / "prepared.onnx"
        onnx.save(_raised(entry.float_model), raised)
        quant_pre_process(str(raised), str(prepared), auto_merge=True)
        quantize_static(
            str(prepared),
            str(path),
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def onnxsims(entry: Entry, samples: Sequence[Feeds], target: str, path: Path) -> None:
    """onnxsim.quantize_static of the whole graph: uint8 activations, int8 weights per channel."""
    import onnxsim

    model, _ = onnxsim.simplify(_raised(entry.float_model))
    batches = [dict(sample) for sample in samples]
    onnx.save(onnxsim.quantize_static(model, batches, full_graph=True, per_channel=True), path)


CONTESTANTS = {"onnxq": ours, "onnxruntime": onnxruntimes, "onnxsim": onnxsims}
"""Each writes the quantized model of an entry, calibrated on samples, to a path."""


class _Reader:
    """Samples as onnxruntime.quantization wants them."""

    def __init__(self, samples: Sequence[Feeds]) -> None:
        self._samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self._samples, None)


def _raised(path: Path) -> onnx.ModelProto:
    """A model that Q/DQ per channel can be put in."""
    model = onnx.load(path)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= PER_CHANNEL_OPSET:
        return model
    return version_converter.convert_version(model, PER_CHANNEL_OPSET)
