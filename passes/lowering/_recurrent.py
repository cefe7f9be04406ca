"""What an LSTM, GRU or RNN node says, read once: weights, lengths and functions of each direction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input
from onnxq.graph.numeric import FloatArray

__all__ = ["GATES", "RECURRENT", "Direction", "Function", "Layer", "layer_of"]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""How many blocks of rows the weights have."""

RECURRENT = tuple(GATES)

_WAYS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Which directions read the sequence backwards."""

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

_ALPHA = {
    "Affine": None,
    "Elu": 1.0,
    "HardSigmoid": 0.2,
    "LeakyRelu": 0.01,
    "ScaledTanh": None,
    "ThresholdedRelu": None,
}
"""Defaults; None where the standard and ONNX Runtime, which takes 0, do not agree on one."""

_BETA = {"Affine": None, "HardSigmoid": 0.5, "ScaledTanh": None}

_FUNCTIONS = frozenset({"Relu", "Sigmoid", "Softplus", "Softsign", "Tanh", *_ALPHA})


@dataclass(frozen=True)
class Function:
    """An activation with its numbers, as far as it has any."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class Direction:
    """One direction's weights: ``w`` [gates·H, I], ``r`` [gates·H, H], biases ``wb`` and ``rb`` [gates·H]
    (zeros if absent), ``p`` [3·H] or None; whether it reads the sequence ``backward``; its functions."""

    w: FloatArray
    r: FloatArray
    wb: FloatArray
    rb: FloatArray
    p: FloatArray | None
    backward: bool
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class Layer:
    """A recurrent node with all that is constant in it."""

    node: ir.Node
    x: ir.Value
    steps: int
    hidden: int
    batch_first: bool
    directions: tuple[Direction, ...]
    clip: float | None
    input_forget: bool
    linear_before_reset: bool

    @property
    def batch(self) -> int | ir.SymbolicDim | None:
        return None if self.x.shape is None else self.x.shape[0 if self.batch_first else 1]

    @property
    def states(self) -> int:
        """Two of an LSTM, the hidden and the cell state, else one."""
        return 2 if self.node.op_type == "LSTM" else 1

    def initial(self, state: int) -> ir.Value | None:
        """The input with the state before the first step; None for zeros."""
        value = get_input(self.node, 5 + state)
        found = constant(value)
        return None if found is not None and not found.any() else value


def layer_of(node: ir.Node) -> Layer | str:
    """What a recurrent node says; else why it cannot be written out, and what helps."""
    x = get_input(node, 0)
    if x is None or x.shape is None or x.dtype is None:
        return "the shape of its input is not known: run infer-shapes, or fix axes (--fix-shapes samples)"
    batch_first = bool(node.attributes.get_int("layout", 0))
    steps = x.shape[1 if batch_first else 0]
    if not isinstance(steps, int):
        return f"its sequence length is '{steps}': fix it with fix-shapes (--fix-shapes samples)"
    weights = [constant(get_input(node, i)) for i in (1, 2)]
    w, r = weights
    if w is None or r is None or any(_is_computed(get_input(node, i)) for i in (3, 7)):
        return "its weights are computed at run time"
    if why := _misshapen(node, w, r) or _varies(node, steps):
        return why
    directions = _directions(node, w, r)
    if isinstance(directions, str):
        return directions
    clip = node.attributes.get_float("clip", None)
    return Layer(
        node,
        x,
        steps,
        r.shape[2],
        batch_first,
        directions,
        clip,
        bool(node.attributes.get_int("input_forget", 0)),
        bool(node.attributes.get_int("linear_before_reset", 0)),
    )


def _is_computed(value: ir.Value | None) -> bool:
    return value is not None and constant(value) is None


def _misshapen(node: ir.Node, w: FloatArray, r: FloatArray) -> str | None:
    """Whether the weights are others than the direction and the recurrent weights say."""
    way = node.attributes.get_string("direction", "forward") or "forward"
    if way not in _WAYS:
        return f"its direction '{way}' is none of {', '.join(_WAYS)}"
    count, hidden = len(_WAYS[way]), r.shape[-1] if r.ndim else 0
    rows, columns = GATES[node.op_type] * hidden, w.shape[-1] if w.ndim else 0
    wanted = {1: (rows, columns), 2: (rows, hidden), 3: (2 * rows,), 7: (3 * hidden,)}
    for index, each in wanted.items():
        shape = (count, *each)
        found = constant(value := get_input(node, index))
        if value is not None and found is not None and (found.shape != shape or not hidden):
            return f"'{value.name}' has the shape {list(found.shape)} where {list(shape)} belongs"
    return None


def _varies(node: ir.Node, steps: int) -> str | None:
    """Whether sequences of one batch may have different lengths."""
    if (lengths := get_input(node, 4)) is None:
        return None
    found = constant(lengths)
    if found is None:
        return f"its sequence lengths are given at run time by '{lengths.name}'"
    return (
        None if (found == steps).all() else f"its sequences are shorter than the {steps} steps of its input"
    )


def _directions(node: ir.Node, w: FloatArray, r: FloatArray) -> tuple[Direction, ...] | str:
    count, rows = w.shape[0], GATES[node.op_type] * r.shape[2]
    b, p = constant(get_input(node, 3)), constant(get_input(node, 7))
    biases = np.zeros((count, 2 * rows), w.dtype) if b is None else b
    flags = _WAYS[node.attributes.get_string("direction", "forward") or "forward"]
    functions = _functions(node, len(flags))
    if isinstance(functions, str):
        return functions
    each = len(functions) // len(flags)
    return tuple(
        Direction(
            w[i],
            r[i],
            biases[i, :rows],
            biases[i, rows:],
            None if p is None or not p[i].any() else p[i],
            flag,
            functions[i * each : (i + 1) * each],
        )
        for i, flag in enumerate(flags)
    )


def _functions(node: ir.Node, directions: int) -> tuple[Function, ...] | str:
    """The functions of all directions; alphas and betas are for those that have one, in their order."""
    names = node.attributes.get_strings("activations", None) or _DEFAULTS[node.op_type] * directions
    known = {name.lower(): name for name in _FUNCTIONS}
    if unknown := [name for name in names if name.lower() not in known]:
        return f"its activation {unknown[0]} is none of {', '.join(sorted(_FUNCTIONS))}"
    if len(names) != (wanted := len(_DEFAULTS[node.op_type]) * directions):
        return f"it names {len(names)} activations where {wanted} belong"
    spelled = [known[name.lower()] for name in names]
    alphas = list(_numbers(node.attributes.get_floats("activation_alpha", None), spelled, _ALPHA))
    betas = list(_numbers(node.attributes.get_floats("activation_beta", None), spelled, _BETA))
    made = []
    for name, alpha, beta in zip(spelled, alphas, betas, strict=True):
        if alpha is None or beta is None:
            return f"its activation {name} needs {'activation_alpha' if alpha is None else 'activation_beta'}"
        made.append(Function(name, alpha, beta))
    return tuple(made)


def _numbers(
    given: Sequence[float] | None, names: Sequence[str], defaults: Mapping[str, float | None]
) -> Iterator[float | None]:
    left = iter(given or ())
    for name in names:
        yield next(left, defaults[name]) if name in defaults else 0.0
