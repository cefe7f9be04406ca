"""How far one model is from another on the same samples: per output, and per tensor on demand.

    result = compare("float.onnx", "int8.onnx", samples, labels="labels.npy")
    result.outputs[0].sqnr_db, result.top1

The models run side by side, one sample at a time. A model whose inputs or outputs are integer codes is fed
and read through its metadata, see :mod:`onnxq.data.codes`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq import model_io
from onnxq.data.arrays import read_npy
from onnxq.data.codes import Codes, align, convert, read_codes
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError, ModelError
from onnxq.evaluate.metrics import Agreement, CodeMatch, Cosine, LabelMatch, MaxError, Sqnr
from onnxq.graph.numeric import Array, IntArray
from onnxq.runtime import Session

__all__ = ["Comparison", "TensorComparison", "TopOne", "compare"]

ModelSource: TypeAlias = ir.Model | Path | str
Outputs: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class TensorComparison:
    """One tensor of both models, over all samples. Where no sample could be compared, numbers are NaN."""

    name: str
    """Its name in the reference."""
    test_name: str
    samples: int
    """How many samples were compared."""
    mismatched: int
    """How many could not be, because the shapes differ in more than axes of 1."""
    sqnr_db: float
    cosine: float
    max_error: float
    agreement: float | None
    """Share of equal argmax decisions; None where there is nothing to decide."""
    codes_equal: float | None = None
    """Share of equal integer codes; None unless both are integers of one scale and zero point."""
    codes_max_difference: int | None = None


@dataclass(frozen=True)
class TopOne:
    """Share of samples whose first output is largest at the labelled class."""

    reference: float
    test: float


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` measured."""

    samples: int
    outputs: tuple[TensorComparison, ...]
    tensors: tuple[TensorComparison, ...]
    """Intermediate tensors of one name and type, the worst SQNR first, those not comparable last."""
    unmatched: tuple[str, ...]
    """Outputs of the reference that the other model does not have."""
    top1: TopOne | None

    def to_json(self) -> str:
        """Strict JSON: infinities and NaN are the texts "inf", "-inf" and "nan"."""
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)


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
    pair, outputs = _Pair(left, right), _output_meters(left, right)
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


class _Meter:
    """All metrics of one tensor; integer codes are compared as codes and as the numbers they stand for."""

    def __init__(
        self,
        name: str,
        test_name: str,
        codes: tuple[Codes | None, Codes | None] = (None, None),
        *,
        integer: bool = False,
    ) -> None:
        self.name, self.test_name, self._codes = name, test_name, codes
        self._code_match = CodeMatch() if integer and codes[0] == codes[1] else None
        self._sqnr, self._cosine, self._error = Sqnr(), Cosine(), MaxError()
        self._agreement = Agreement()
        self._samples = self._mismatched = 0

    def pick(self, reference: Outputs, test: Outputs) -> tuple[Array, Array]:
        return reference[self.name], test[self.test_name]

    def update(self, reference: Outputs, test: Outputs) -> None:
        r, t = self.pick(reference, test)
        if _sizes(r) != _sizes(t):
            self._mismatched += 1
            return
        self._samples += 1
        t = t.reshape(r.shape)
        if self._code_match is not None:
            self._code_match.update(r, t)
        r, t = (c.dequantize(x) if c else x for c, x in zip(self._codes, (r, t), strict=True))
        for metric in (self._sqnr, self._cosine, self._error, self._agreement):
            metric.update(r, t)

    def value(self) -> TensorComparison:
        measured = self._samples > 0
        match = self._code_match if measured else None
        return TensorComparison(
            name=self.name,
            test_name=self.test_name,
            samples=self._samples,
            mismatched=self._mismatched,
            sqnr_db=self._sqnr.value() if measured else math.nan,
            cosine=self._cosine.value() if measured else math.nan,
            max_error=self._error.value() if measured else math.nan,
            agreement=self._agreement.value(),
            codes_equal=match.value() if match else None,
            codes_max_difference=match.largest() if match else None,
        )


class _Taps:
    """Tensors of one name and kind inside both models, computed as written: floats, or integer codes."""

    def __init__(self, reference: ModelSource, test: ModelSource, threads: int | None) -> None:
        models = [m if isinstance(m, ir.Model) else model_io.load(Path(m)) for m in (reference, test)]
        inner = [_inner_names(model) for model in models]
        names = [name for name in inner[0] if name in inner[1]]
        left, right = (Session(m, optimize=False, threads=threads, extra_outputs=names) for m in models)
        kinds = [{p.name: p.dtype for p in s.outputs if p.dtype.kind in "iuf"} for s in (left, right)]
        self._meters = [
            _Meter(name, name, integer=kinds[0][name].kind != "f")
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


def _output_meters(reference: Session, test: Session) -> list[_Meter]:
    ours, theirs = (
        {port.name: port.dtype.kind for port in session.outputs if port.dtype.kind in "biuf"}
        for session in (reference, test)
    )
    pairs = align(ours, theirs)
    if not pairs:
        raise ModelError(f"no output of {list(theirs)} matches one of the reference, {list(ours)}")
    return [
        _output_meter((reference, test), names, (ours[names[0]], theirs[names[1]])) for names in pairs.items()
    ]


def _output_meter(
    sessions: tuple[Session, Session], names: tuple[str, str], kinds: tuple[str, str]
) -> _Meter:
    left, right = (
        read_codes(session.metadata, name) if kind in "iu" else None
        for session, name, kind in zip(sessions, names, kinds, strict=True)
    )
    real = [kind == "f" or codes is not None for kind, codes in zip(kinds, (left, right), strict=True)]
    if real[0] != real[1]:
        bare = names[1] if real[0] else names[0]
        raise ModelError(
            f"output '{bare}' is integer without metadata onnxq.scale.{bare}, but its twin has real "
            "numbers: add the scale (and onnxq.zero_point) to the model's metadata"
        )
    return _Meter(*names, (left, right), integer=kinds[0] in "iu" and kinds[1] in "iu")


def _sizes(array: Array) -> list[int]:
    """The shape without axes of 1: [N,1000,1,1] and [N,1000] hold the same in the same order."""
    return [size for size in array.shape if size != 1]


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


def _plain(value: object) -> object:
    """Floats that JSON cannot write become texts."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
