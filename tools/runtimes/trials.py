"""What is tried: models with samples, quantized and lowered here, and what ONNX Runtime makes of them."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

import onnxq
from onnxq import api, model_io
from onnxq.data.codes import convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.presets import PRESETS
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

__all__ = ["FORMS", "Feeds", "Source", "Trial", "embedded", "given", "make", "of_zoo", "quantized"]

MODELS = Path(__file__).resolve().parents[2] / "models"
LENGTH = 64
"""What an axis gets that differs between samples, such as that of the words of a sentence."""

Feeds: TypeAlias = dict[str, Array]


_INT32 = PRESETS["lower-int32"].text
LOWERINGS = {
    "portable": "lower-portable",
    "int32": "lower-int32",
    "int24": _INT32.replace("lower-integer{", "lower-integer{max_accumulator_bits=24 "),
}
FORMS = ("qdq", *LOWERINGS)


@dataclass(frozen=True, eq=False)
class Source:
    """A float model, samples to calibrate it and others to try it; whether it tells classes apart."""

    name: str
    model: Path
    calibration: Sequence[Feeds]
    samples: Sequence[Feeds]
    classifies: bool = True


@dataclass(frozen=True, eq=False)
class Trial:
    """A model and what goes in, with an axis of samples in front."""

    name: str
    form: str
    model: onnx.ModelProto
    feeds: Feeds
    classifies: bool

    def expected(self) -> list[Array]:
        """What ONNX Runtime makes of it, all optimisations off."""
        session = Session(self.model, optimize=False, threads=1)
        count = len(next(iter(self.feeds.values())))
        runs = [session.run({k: v[i] for k, v in self.feeds.items()}) for i in range(count)]
        return [np.stack([run[port.name] for run in runs]) for port in session.outputs]


def embedded(samples: int) -> Iterator[Source]:
    """The networks of digits that come with the source."""
    sets = [np.load(MODELS / "digits" / name) for name in ("calibration.npy", "test.npy")]
    calibration, test = ([{"image": image[None]} for image in images] for images in sets)
    for path in sorted(MODELS.glob("*.onnx")):
        yield Source(path.stem, path, calibration, test[:samples])


def of_zoo(zoo: ModuleType, name: str, samples: int, calibration: int = 32) -> Source:
    """One of the evaluation models; all its samples get one shape."""
    entry = zoo.load(name)
    tests = list(_tests(zoo, entry, samples))
    everything = _of_one_shape([*entry.calibration(calibration), *tests])
    split = len(everything) - len(tests)
    classifies = entry.task.meter().name == "top1"
    return Source(name, entry.float_model, everything[:split], everything[split:], classifies)


def _tests(zoo: ModuleType, entry: Any, count: int) -> Iterator[Feeds]:
    """Evaluation samples, evenly spread; of a stream the first ones, with the float model's state."""
    task, items = entry.task, entry.task.evaluation()
    if not task.state:
        chosen = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
        yield from (task.encode(items[i]) for i in chosen)
        return
    run, state = zoo.Runner(entry.float_model), task.first_state()
    for item in items[:count]:
        feeds = task.encode(item) | state
        yield feeds
        state = task.next_state(run(feeds))


def _of_one_shape(samples: Sequence[Feeds]) -> list[Feeds]:
    """Samples with zeros behind them, or cut, where their lengths differ."""
    shapes = {
        name: [lengths[0] if len(set(lengths)) == 1 else LENGTH for lengths in zip(*axes, strict=True)]
        for name in samples[0]
        for axes in [[sample[name].shape for sample in samples]]
    }
    return [{name: _fitted(array, shapes[name]) for name, array in sample.items()} for sample in samples]


def _fitted(array: Array, shape: Sequence[int]) -> Array:
    if not array.ndim:
        return array
    cut = array[tuple(slice(0, length) for length in shape)]
    return np.pad(cut, [(0, length - here) for here, length in zip(cut.shape, shape, strict=True)])


@functools.cache
def quantized(source: Source, target: str) -> ir.Model:
    """The Q/DQ form of a source for a target, with the shapes of its samples.

    Raises:
        OnnxqError: it cannot be quantized; says why.
    """
    fixed = api.run(source.model, "fix-shapes", source.calibration[:1]).model
    return onnxq.quantize(fixed, source.calibration, target=target, form="qdq", proof=0).model


def make(source: Source, form: str, target: str) -> Trial:
    """A source in one form: Q/DQ for ``target``, or strict integers in one of the dialects.

    Raises:
        OnnxqError: the form has no arithmetic for one of its operators; says which.
    """
    model = quantized(source, target if form == "qdq" else "integer").clone()
    if form in LOWERINGS:
        model = run_pipeline(model, parse(LOWERINGS[form]), Context()).model
    proto = model_io.to_proto(model)
    ports = Session(proto, optimize=False, threads=1)
    feeds = {
        port.name: np.stack(
            [
                convert(sample[port.name], port.dtype, read_codes(ports.metadata, port.name), port.name)
                for sample in source.samples
            ]
        )
        for port in ports.inputs
    }
    return Trial(source.name, form, proto, feeds, source.classifies)


def given(path: Path, samples: int) -> Trial:
    """A model as it is, on random numbers; open axes have the length 1."""
    proto, rng, feeds = onnx.load(path), np.random.default_rng(0), {}
    for port in Session(proto, optimize=False, threads=1).inputs:
        shape = [samples, *(dim if isinstance(dim, int) else 1 for dim in port.shape)]
        low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(port.dtype.name, (0, 1))
        codes = rng.integers(low, high, shape, endpoint=True)
        feeds[port.name] = (codes if port.dtype.kind in "iu" else rng.normal(size=shape)).astype(port.dtype)
    form = "qdq" if any(node.op_type == "QuantizeLinear" for node in proto.graph.node) else "given"
    return Trial(path.stem, form, proto, feeds, False)
