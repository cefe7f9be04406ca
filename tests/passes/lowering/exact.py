"""Q/DQ models in rational numbers: slow, obvious, and without a line of the code under test."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxq.graph.numeric import Array

Arrays: TypeAlias = dict[str, Array]

NEAR_TIE = {"fast": Fraction(1, 512), "portable": Fraction(1, 512), "int32": Fraction(1, 256)}
"""Results this close to a half may go either way: multipliers are rounded. Narrow sums err by up to 2^-10,
long ones of the int32 dialect by 2^-11, its norms by 2^-9."""

NEAR_TIE_WIDE = Fraction(1, 16)
"""Of codes of 16 bits, which float32 leaves 8 bits behind the point, and a few operations on it fewer."""

ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "half-even": round,
    "half-up": lambda v: (v + Fraction(1, 2)).__floor__(),
    "half-away": lambda v: (abs(v) + Fraction(1, 2)).__floor__() * (1 if v > 0 else -1),
}


class Exact:
    """A Q/DQ model in rational numbers; each code is compared with the integer model's, then taken over."""

    def __init__(self, model: onnx.ModelProto, actual: Arrays, rounding: str, near_tie: Fraction) -> None:
        self.model, self.actual = model, actual
        self.round, self.near_tie = ROUNDINGS[rounding], near_tie
        self.env: dict[str, Any] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.public = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}

    def run(self) -> None:
        for info in self.model.graph.input:
            self.env[info.name] = self.actual[info.name]
        inputs = {i.name for i in self.model.graph.input}
        for node in self.model.graph.node:
            args: list[Any] = [self.env[name] if name else None for name in node.input]
            if node.op_type == "QuantizeLinear" and node.input[0] in inputs:
                self.env[node.output[0]] = args[0]
            elif node.op_type == "QuantizeLinear":
                self.env[node.output[0]] = self._compare(node, *args)
            elif node.op_type == "DequantizeLinear":
                self.env[node.output[0]] = _dequantize(node, *args)
            else:
                self.env.update(zip(node.output, self._compute(node, args), strict=True))

    def _compute(self, node: onnx.NodeProto, args: list[Any]) -> list[Any]:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        rule = None if {"auto_pad", "ceil_mode"} & set(attributes) else RATIONAL.get(node.op_type)
        if rule is not None:
            result = rule(args, attributes)
            return result if isinstance(result, list) else [result]
        floats = [_to_float(a) for a in args]
        evaluator = ReferenceEvaluator(_single(node, floats, self.model))
        given = {n: a for n, a in zip(node.input, floats, strict=True) if n}
        with np.errstate(over="ignore"):  # 1/(1 + exp(100)) is 0 all the same
            return [_rational(out) for out in evaluator.run(None, given)]

    def _compare(self, node: onnx.NodeProto, real: Any, scale: Array, zero: Array) -> Array:
        name = node.output[0]
        got = self.actual.get(name, self.actual.get(self.public[name]))
        info = np.iinfo(zero.dtype)
        unit = Fraction(float(scale.reshape(-1)[0]))
        codes = real / unit
        expected = np.array(
            [
                min(max(self.round(code) + int(zero.reshape(-1)[0]), info.min), info.max)
                for code in codes.reshape(-1)
            ],
            zero.dtype,
        ).reshape(real.shape)
        if got is None:  # it has no codes of its own: nobody reads it, or it moves with others
            return expected
        assert got.shape == real.shape, name
        triples = zip(codes.reshape(-1), expected.reshape(-1), got.reshape(-1), strict=True)
        for exact, wanted, code in triples:
            tie = (exact + Fraction(1, 2)) % 1
            slack = 1 if min(tie, 1 - tie) < self.near_tie else 0
            assert abs(int(wanted) - int(code)) <= slack, f"{name}: exactly {float(exact)}, found {code}"
        return got


def _conv(args: list[Any], a: dict[str, Any]) -> Any:
    x, w, *rest = args
    axes = x.ndim - 2
    group, strides = a.get("group", 1), a.get("strides", [1] * axes)
    windows = _windows(x, w.shape[2:], a, Fraction(0))
    size = w.shape[0] // group
    taps = w.shape[1]
    out = [
        sum(
            (windows[:, g // size * taps + c][..., k] * w[g, c].reshape(-1)[k])
            for c in range(taps)
            for k in range(w[g, c].size)
        )
        + (rest[0][g] if rest and rest[0] is not None else 0)
        for g in range(w.shape[0])
    ]
    assert len(strides) == axes
    return np.stack(out, axis=1)


def _conv_transpose(args: list[Any], a: dict[str, Any]) -> Any:
    """Every element scatters its multiple of the kernel."""
    x, w, *rest = args
    axes, group = x.ndim - 2, a.get("group", 1)
    strides, dilations, pads, extra = (
        a.get(key, [default] * size)
        for key, default, size in (
            ("strides", 1, axes),
            ("dilations", 1, axes),
            ("pads", 0, 2 * axes),
            ("output_padding", 0, axes),
        )
    )
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    full = [(n - 1) * s + r + e for n, s, r, e in zip(x.shape[2:], strides, reach, extra, strict=True)]
    out = np.full((x.shape[0], w.shape[1] * group, *full), Fraction(0), object)
    for c, tap in ((c, tap) for c in range(x.shape[1]) for tap in np.ndindex(*w.shape[2:])):
        for o in range(w.shape[1]):
            target = c // (x.shape[1] // group) * w.shape[1] + o
            places = tuple(
                slice(k * d, k * d + (n - 1) * s + 1, s)
                for k, d, n, s in zip(tap, dilations, x.shape[2:], strides, strict=True)
            )
            out[(slice(None), target, *places)] += x[:, c] * w[(c, o, *tap)]
    cut = tuple(slice(p, n - q) for p, q, n in zip(pads[:axes], pads[axes:], full, strict=True))
    bias = rest[0].reshape(-1, *[1] * axes) if rest else Fraction(0)
    return out[(slice(None), slice(None), *cut)] + bias


def _windows(x: Any, kernel: Any, a: dict[str, Any], fill: Any) -> Any:
    """[N, C, *out, taps]; ``fill`` stands outside."""
    axes = len(kernel)
    pads, strides, dilations = (
        a.get("pads", [0] * 2 * axes),
        a.get("strides", [1] * axes),
        a.get("dilations", [1] * axes),
    )
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)], constant_values=fill)
    sizes = [
        (padded.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(axes)
    ]
    taps = []
    for tap in np.ndindex(*kernel):
        places = zip(tap, dilations, sizes, strides, strict=True)
        index: Any = (..., *(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in places))
        taps.append(padded[index])
    return np.stack(taps, axis=-1)


def _average(args: list[Any], a: dict[str, Any]) -> Any:
    windows = _windows(args[0], a["kernel_shape"], a, Fraction(0))
    inside = _windows(
        np.full(args[0].shape, 1, object), a["kernel_shape"], a, 1 if a.get("count_include_pad") else 0
    )
    return windows.sum(axis=-1) * _inverse(inside.sum(axis=-1))


def _gemm(args: list[Any], a: dict[str, Any]) -> Any:
    left = args[0].T if a.get("transA") else args[0]
    right = args[1].T if a.get("transB") else args[1]
    product = np.matmul(left, right) * Fraction(a.get("alpha", 1.0))
    return product + args[2] * Fraction(a.get("beta", 1.0)) if len(args) > 2 else product


def _mean(args: list[Any], a: dict[str, Any]) -> Any:
    axes = (
        tuple(range(2, args[0].ndim)) if len(args) < 2 and "axes" not in a else tuple(a.get("axes", args[-1]))
    )
    total = args[0].sum(axis=axes, keepdims=bool(a.get("keepdims", 1)))
    return total / Fraction(args[0].size, max(total.size, 1))


def _inverse(counts: Any) -> Any:
    return np.vectorize(lambda n: Fraction(1, int(n)), otypes=[object])(counts)


RATIONAL: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Add": lambda v, a: v[0] + v[1],
    "AveragePool": _average,
    "Concat": lambda v, a: np.concatenate(v, axis=a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": lambda v, a: v[0] / v[1],
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "MatMul": lambda v, a: np.matmul(v[0], v[1]),
    "Max": lambda v, a: np.maximum(*v),
    "MaxPool": lambda v, a: _windows(v[0], a["kernel_shape"], a, Fraction(-(10**9))).max(axis=-1),
    "Min": lambda v, a: np.minimum(*v),
    "Mul": lambda v, a: v[0] * v[1],
    "ReduceMean": _mean,
    "Relu": lambda v, a: v[0] * (v[0] > 0),
    "Reshape": lambda v, a: v[0].reshape([d or v[0].shape[i] for i, d in enumerate(v[1])]),
    "Sub": lambda v, a: v[0] - v[1],
    "Transpose": lambda v, a: v[0].transpose(a["perm"]),
}


def _dequantize(node: onnx.NodeProto, codes: Array, scale: Array, zero: Array) -> Any:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if scale.ndim else []
    return (codes.astype(np.int64) - zero.astype(np.int64).reshape(shape)).astype(object) * _rational(
        scale
    ).reshape(shape)


def _rational(array: Any) -> Any:
    if array.dtype.kind != "f":
        return array
    fractions = [Fraction(float(v)) for v in array.reshape(-1)]
    return np.array([*fractions, None], object)[:-1].reshape(array.shape)


def _to_float(value: Any) -> Any:
    return (
        value.astype(np.float64).astype(np.float32) if value is not None and value.dtype == object else value
    )


def _single(node: onnx.NodeProto, args: list[Any], model: onnx.ModelProto) -> onnx.ModelProto:
    made = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(node.input, args, strict=True)
        if n
    ]
    outputs = [onnx.ValueInfoProto(name=o) for o in node.output]
    return helper.make_model(
        helper.make_graph([node], "one", made, outputs), opset_imports=model.opset_import
    )
