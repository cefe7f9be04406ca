"""How far one model is from another on the same samples: per output, and per tensor on demand.

    result = compare("float.onnx", "int8.onnx", samples, labels="labels.npy")
    result.outputs[0].sqnr_db, result.top1

The models run side by side, one sample at a time. A model whose inputs or outputs are integer codes is fed
and read through its metadata, see :mod:`onnxq.data.codes`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxq import model_io
from onnxq.data.arrays import read_npy
from onnxq.data.codes import align, convert, read_codes
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError, ModelError
from onnxq.evaluate.comparison import Comparison, TensorComparison, TopOne
from onnxq.evaluate.meters import Meter, Outputs, output_meters
from onnxq.evaluate.metrics import LabelMatch
from onnxq.graph.numeric import Array, IntArray
from onnxq.model_io import ModelSource
from onnxq.runtime import Session

__all__ = ["compare"]


def compare(
    reference: ModelSource,
    test: ModelSource,
    samples: Samples,
    *,
    per_tensor: bool = False,
    labels: Array | str | Path | None = None,
    label_offset: int = 0,
    optimize: bool = True,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Run both models on all samples, which are named and typed as the reference takes them.

    Inputs and outputs are matched by name, the rest by position if the counts are equal; the test model may
    lack some. ``labels`` are class indices, one for each item of each batch in the order of the samples;
    ``label_offset`` is the index of class 0 in the output. ``optimize=False`` computes both graphs as
    written. ``per_tensor`` always does, in further sessions that keep all tapped tensors of one sample; it
    goes by names, which mean the same only where one model was made from the other.

    Raises:
        DataError: there are no samples, they do not fit, or labels do not go with them.
        ModelError: a model cannot run, or nothing of the two can be matched.
    """
    left, right = (Session(model, optimize=optimize, threads=threads) for model in (reference, test))
    pair, outputs = _Pair(left, right), output_meters(left, right)
    taps = _Taps(reference, test, threads) if per_tensor else None
    top1 = LabelMatch(_labels(labels) + label_offset) if labels is not None else None
    count, total = 0, len(samples)
    for count, sample in enumerate(samples, start=1):
        results = pair.run(sample)
        for meter in outputs:
            meter.update(*results)
        if top1 is not None:
            top1.update(sample.name, *outputs[0].pick(*results))
        if taps is not None:
            taps.update(sample)
        if progress is not None:
            progress("comparing", count, total)
    if count == 0:
        raise DataError("there are no samples to compare the models on")
    matched = {meter.name for meter in outputs}
    return Comparison(
        samples=count,
        outputs=tuple(meter.value() for meter in outputs),
        tensors=taps.value() if taps is not None else (),
        unmatched=tuple(port.name for port in left.outputs if port.name not in matched),
        top1=TopOne(*top1.value()) if top1 is not None else None,
    )


class _Pair:
    """Two sessions that are fed with the same samples, each in its own types."""

    def __init__(self, reference: Session, test: Session) -> None:
        self._sessions = (reference, test)
        offered = [port.name for port in test.inputs]
        pairs = align((port.name for port in reference.inputs), offered)
        same = {port.name: port.name for port in reference.inputs}
        self._sources = (same, {ours: theirs for theirs, ours in pairs.items()})
        if missing := [name for name in offered if name not in self._sources[1]]:
            raise ModelError(
                f"input '{missing[0]}' of the model under test matches no input of the reference "
                f"({', '.join(same)}): give both the same names"
            )

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> tuple[Outputs, Outputs]:
        """The outputs of both as they come, those of the reference first."""
        try:
            left, right = (
                session.run(self._feeds(sample, session, sources), outputs)
                for session, sources in zip(self._sessions, self._sources, strict=True)
            )
        except DataError as error:
            raise DataError(f"sample '{sample.name}': {error}") from error
        return left, right

    def _feeds(self, sample: Sample, session: Session, sources: Mapping[str, str]) -> dict[str, Array]:
        feeds: dict[str, Array] = {}
        for port in session.inputs:
            source = sources[port.name]
            if source not in sample.feeds:
                raise DataError(f"it has no input '{source}', only {', '.join(sample.feeds)}")
            array, own = sample.feeds[source], read_codes(session.metadata, port.name)
            given = read_codes(self._sessions[0].metadata, source)
            if array.dtype.kind in "iu" and given is not None and given != own:
                array = given.dequantize(array)
            feeds[port.name] = convert(array, port.dtype, own, f"input '{port.name}'")
        return feeds


class _Taps:
    """Tensors of one name and kind inside both models, computed as written: floats, or integer codes."""

    def __init__(self, reference: ModelSource, test: ModelSource, threads: int | None) -> None:
        models = [m if isinstance(m, ir.Model) else model_io.load(Path(m)) for m in (reference, test)]
        inner = [_inner_names(model) for model in models]
        names = [name for name in inner[0] if name in inner[1]]
        left, right = (Session(m, optimize=False, threads=threads, extra_outputs=names) for m in models)
        kinds = [{p.name: p.dtype for p in s.outputs if p.dtype.kind in "iuf"} for s in (left, right)]
        self._meters = [
            Meter(name, name, integer=kinds[0][name].kind != "f")
            for name in names
            if kinds[0].get(name) == kinds[1].get(name) is not None
        ]
        self._pair = _Pair(left, right)

    def update(self, sample: Sample) -> None:
        results = self._pair.run(sample, [meter.name for meter in self._meters])
        for meter in self._meters:
            meter.update(*results)

    def value(self) -> tuple[TensorComparison, ...]:
        measured = [meter.value() for meter in self._meters]
        return tuple(sorted(measured, key=lambda t: math.inf if math.isnan(t.sqnr_db) else t.sqnr_db))


def _inner_names(model: ir.Model) -> dict[str, None]:
    """Values that nodes of the main graph make and that are not public, in their order."""
    public = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    made = (value.name for node in model.graph if node.op_type != "Constant" for value in node.outputs)
    return {name: None for name in made if name and name not in public}


def _labels(labels: Array | str | Path) -> IntArray:
    array = labels if isinstance(labels, np.ndarray) else read_npy(labels)
    if array.dtype.kind not in "iu" or array.size == 0:
        raise DataError(f"labels are {array.dtype}{list(array.shape)}, expected integer class indices")
    return array.reshape(-1).astype(np.int64)
