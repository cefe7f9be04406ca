"""Running a model with any choice of roundings at once, and again after one of them changed.

    runner = Piecewise(model, cuts)
    base = runner.run(sample.feeds, Setting())                   # nothing is rounded: the float model
    one = runner.run(sample.feeds, setting, base)                # computes only what differs from base

A :class:`Setting` says which piece reads which value rounded, and by which parameters. Rounded activations
are made by numpy between two pieces; for a rounded constant the piece gets a second session with it. So no
session is ever built for a combination, and what neither reads nor holds anything else than in ``base`` is
taken from there: the prefix, and every branch beside.

Measured on mobilenet_v2_tf2 (66 pieces, 129 roundings, one thread): each rounding alone takes 8 ms a sample,
as long as one run of the float model; a session for each would take 100 ms to build and 32 ms to run.
Switches inside one graph (Where, If) would round everything in every run, keep the weights from being
constants for ONNX Runtime's kernels, and spare no prefix. Candidates along the batch axis would need a model
that keeps the items of a batch apart, which a graph does not tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
import onnx
import onnx_ir as ir

from onnxq.evaluate.pieces import Piece, split
from onnxq.graph.numeric import Array, FloatArray
from onnxq.quant.qparams import QParams
from onnxq.runtime import Session

__all__ = ["Piecewise", "Rounding", "Run", "Setting"]

_Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Rounding:
    """Quantize and dequantize by one set of parameters; equal parameters make equal roundings."""

    qparams: QParams

    @cached_property
    def key(self) -> _Key:
        q = self.qparams
        return str(q.format), q.format.narrow, q.axis, q.scale.tobytes(), q.zero_point.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rounding) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, x: FloatArray) -> FloatArray:
        """float32 of any shape → the same, on the grid:  clip(⌊x/s⌉, qmin − z, qmax − z) · s"""
        q = self.qparams
        scale = q.broadcast(q.scale, x.ndim)
        zero = q.broadcast(q.zero_point.astype(np.float32), x.ndim)
        y = np.asarray(np.divide(x, scale, dtype=np.float32))
        np.rint(y, out=y)
        np.clip(y, q.format.qmin - zero, q.format.qmax - zero, out=y)
        return np.asarray(np.multiply(y, scale, out=y))


@dataclass(frozen=True)
class Setting:
    """What is rounded: for each (piece, value or constant that it reads), and for outputs of the model."""

    reads: Mapping[tuple[int, str], Rounding] = field(default_factory=dict)
    outputs: Mapping[str, Rounding] = field(default_factory=dict)

    @cached_property
    def by_piece(self) -> Mapping[int, Mapping[str, Rounding]]:
        found: dict[int, dict[str, Rounding]] = {}
        for (index, name), rounding in self.reads.items():
            found.setdefault(index, {})[name] = rounding
        return found

    def __hash__(self) -> int:
        return hash((frozenset(self.reads.items()), frozenset(self.outputs.items())))

    def __or__(self, other: "Setting") -> "Setting":
        """Both; where they differ, what the other says."""
        return Setting({**self.reads, **other.reads}, {**self.outputs, **other.outputs})


@dataclass(frozen=True, eq=False)
class Run:
    """One sample under one setting: every value between pieces, exact, and those that were rounded."""

    setting: Setting
    values: Mapping[str, Array]
    rounded: dict[tuple[str, _Key], Array]
    outputs: Mapping[str, Array]


class Piecewise:
    """A model in pieces, cut at ``cuts`` (names of values); may be used by several threads.

    Raises:
        ModelError: the model cannot be taken apart: a type is not known, or it exceeds 2 GB.
    """

    def __init__(self, model: ir.Model, cuts: set[str]) -> None:
        self.pieces = split(model, cuts)
        self.outputs = tuple(value.name or "" for value in model.graph.outputs)
        self._constants = {name: tensor for piece in self.pieces for name, tensor in piece.constants.items()}
        self._arrays: dict[str, FloatArray] = {}
        self._sessions: dict[tuple[int, frozenset[tuple[str, _Key]]], Session] = {}
        self._lock = Lock()

    def run(self, feeds: Mapping[str, Array], setting: Setting, base: Run | None = None) -> Run:
        """Run one sample; with ``base``, a run of the same sample, only what differs from it.

        Raises:
            DataError: the sample does not fit the model.
            ModelError: a node fails.
        """
        values: dict[str, Array] = dict(feeds) if base is None else dict(base.values)
        run = Run(setting, values, {}, {})
        dirty: set[str] | None = None if base is None else set()
        for piece in self.pieces:
            wanted = setting.by_piece.get(piece.index, {})
            if base is not None and dirty is not None:
                same = wanted == base.setting.by_piece.get(piece.index, {})
                if same and dirty.isdisjoint(piece.reads):
                    continue
                dirty.update(piece.makes)
            taken = {name: self._value(name, wanted.get(name), run, base, dirty) for name in piece.reads}
            values.update(self._session(piece, wanted, taken).run(taken))
        outputs = {
            name: self._value(name, setting.outputs.get(name), run, base, dirty) for name in self.outputs
        }
        return Run(setting, values, run.rounded, outputs)

    def _value(
        self, name: str, rounding: Rounding | None, run: Run, base: Run | None, dirty: set[str] | None
    ) -> Array:
        if name in self._constants and name not in run.values:
            return onnx.numpy_helper.to_array(self._constants[name])
        if rounding is None:
            return run.values[name]
        fresh = base is None or dirty is None or name in dirty
        store = run.rounded if fresh or base is None else base.rounded
        key = name, rounding.key
        if key not in store:
            store[key] = rounding(run.values[name])
        return store[key]

    def _session(self, piece: Piece, wanted: Mapping[str, Rounding], taken: Mapping[str, Array]) -> Session:
        chosen = {name: rounding for name, rounding in wanted.items() if name in piece.constants}
        key = piece.index, frozenset((name, rounding.key) for name, rounding in chosen.items())
        with self._lock:
            if key not in self._sessions:
                ranks = {name: array.ndim for name, array in taken.items()}
                replaced = {name: rounding(self._constant(name)) for name, rounding in chosen.items()}
                self._sessions[key] = Session(piece.model(ranks, replaced), threads=1)
            return self._sessions[key]

    def _constant(self, name: str) -> FloatArray:
        if name not in self._arrays:
            self._arrays[name] = onnx.numpy_helper.to_array(self._constants[name])
        return self._arrays[name]
