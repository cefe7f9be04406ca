"""Q/DQ on every edge of a float model, written for the tests of lowerings alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxq.graph.numeric import Array
from onnxq.runtime import Session

MOVES = {
    "MaxPool",
    "Reshape",
    "Flatten",
    "Transpose",
    "Slice",
    "Pad",
    "Resize",
    "Split",
    "Squeeze",
    "Unsqueeze",
}
MOVES |= {"Identity", "Expand", "Tile", "DepthToSpace", "Gather", "ReduceMax", "GlobalMaxPool"}
LINEAR = {"Conv", "Gemm", "ConvTranspose"}


@dataclass(frozen=True)
class Scheme:
    """Types of activations and weights; ``scale`` for all activations instead of a measured one.

    ``room`` leaves codes below zero where no value is negative, so that a Relu or Clip has something to cut.
    With ``power_of_two`` scales nothing in an integer model is approximate. Where ``also`` names a type,
    every second value or so has that one.
    """

    dtype: str = "uint8"
    weight: str = "int8"
    per_channel: bool = True
    scale: float | None = None
    room: bool = True
    power_of_two: bool = False
    also: str | None = None

    @property
    def wide(self) -> bool:
        """Whether values of 16 bits may occur."""
        return "16" in f"{self.dtype}{self.also}"

    def rounded(self, scale: Array | float) -> Array:
        """A scale as float32, the next power of two where the scheme wants one."""
        wanted = np.exp2(np.ceil(np.log2(scale))) if self.power_of_two else scale
        return np.asarray(wanted, np.float32)


class FakeQuantizer:
    """Q/DQ on every edge of a float model, with ranges measured on random inputs."""

    def __init__(self, proto: onnx.ModelProto, rng: np.random.Generator, scheme: Scheme) -> None:
        self.rng, self.scheme, self.graph = rng, scheme, proto.graph
        self.weight = np.dtype(scheme.weight)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.arrays = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
        self.params: dict[str, tuple[Array, Array]] = {}
        self.real: dict[str, str] = {}
        names = [o for node in proto.graph.node for o in node.output]
        inputs = {i.name: _sample(i, rng) for i in proto.graph.input}
        values = Session(proto, optimize=False, threads=1, extra_outputs=names).run(inputs, names)
        self.ranges = {
            k: (float(v.min()), float(v.max())) for k, v in (values | inputs).items() if v.dtype == np.float32
        }
        for info in proto.graph.input:
            if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                self._pair(info.name, info.name)
        for node in proto.graph.node:
            self._node(node)
        del proto.graph.node[:], proto.graph.initializer[:], proto.graph.value_info[:]
        proto.graph.node.extend(self.nodes)
        proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in self.initializers.items())
        self.model = onnx.shape_inference.infer_shapes(proto, strict_mode=True)

    def _node(self, node: onnx.NodeProto) -> None:
        inputs = [self._input(node, i, name) for i, name in enumerate(node.input)]
        outputs = {i.name for i in self.graph.output}
        made = onnx.NodeProto()
        made.CopyFrom(node)
        del made.input[:], made.output[:]
        made.input.extend(inputs)
        made.output.extend(f"{o}_float" if o in outputs and o in self.ranges else o for o in node.output)
        self.nodes.append(made)
        for name, produced in zip(node.output, made.output, strict=True):
            if _moves(node) and node.input[0] in self.params:
                self.params[name] = self.params[node.input[0]]
            if name.startswith("_") or name not in self.ranges:
                self.real[name] = produced
                continue
            self._pair(name, produced, public=name if name in outputs else None)

    def _input(self, node: onnx.NodeProto, index: int, name: str) -> str:
        array = self.arrays.get(name)
        if array is None or name.startswith("f_") or array.dtype != np.float32:
            if array is not None:
                self.initializers[name] = array
            return self.real.get(name, name)
        if node.op_type in LINEAR and index == 2:
            return self._bias(node, name, array)
        linear = node.op_type in LINEAR or node.op_type == "MatMul"
        return self._weight(node, name, array) if linear else self._constant(name, array)

    def _weight(self, node: onnx.NodeProto, name: str, array: Array) -> str:
        trans = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Conv" or trans else array.ndim - 1
        axis = 1 if node.op_type == "ConvTranspose" else axis
        others = tuple(i for i in range(array.ndim) if i != axis) if self.scheme.per_channel else None
        scale = self.scheme.rounded(np.abs(array).max(axis=others) / 127)
        zero = np.full(
            scale.shape, 0 if self.weight.kind == "i" else self.rng.integers(100, 150), self.weight
        )
        shape = [-1 if i == axis else 1 for i in range(array.ndim)] if self.scheme.per_channel else []
        codes = np.rint(array / scale.reshape(shape)).astype(np.int64) + zero.reshape(shape)
        self.params[name] = (scale, zero)
        return self._dequantize(name, _clipped(codes, self.weight), axis)

    def _bias(self, node: onnx.NodeProto, name: str, array: Array) -> str:
        weight = self.params[node.input[1]][0]
        repeats = len(array) // weight.size if weight.ndim else 1
        scale = np.asarray(self.params[node.input[0]][0] * np.tile(weight, repeats), np.float32)
        scale = scale.reshape(()) if not weight.ndim else scale
        codes = np.clip(np.rint(array.astype(np.float64) / scale), -(2**31), 2**31 - 1).astype(np.int32)
        self.params[name] = (scale, np.zeros(scale.shape, np.int32))
        return self._dequantize(name, codes, 0)

    def _constant(self, name: str, array: Array) -> str:
        dtype = self._dtype()
        levels = 2 ** (8 * dtype.itemsize)
        scale = self.scheme.rounded(max(np.abs(array).max(), 1e-3) / (levels * 0.4))
        zero = np.asarray(self.rng.integers(0, 20) + (levels * 43 // 100 if dtype.kind == "u" else 0), dtype)
        self.params[name] = (scale, zero)
        return self._dequantize(name, _clipped(np.rint(array / scale).astype(np.int64) + int(zero), dtype), 0)

    def _dtype(self) -> np.dtype[Any]:
        """The type of the next value."""
        second = self.scheme.also is not None and self.rng.random() < 0.5
        return np.dtype(self.scheme.also if second else self.scheme.dtype)

    def _dequantize(self, name: str, codes: Array, axis: int) -> str:
        if f"{name}_dq" not in self.real.values():
            self.initializers[f"{name}_q"] = codes
            self._add("DequantizeLinear", f"{name}_q", name, f"{name}_dq", axis)
            self.real[name] = f"{name}_dq"
        return f"{name}_dq"

    def _pair(self, name: str, produced: str, public: str | None = None) -> None:
        self.params.setdefault(name, self._range(name))
        self._add("QuantizeLinear", produced, name, f"{name}_q", 0)
        self._add("DequantizeLinear", f"{name}_q", name, public or f"{name}_dq", 0)
        self.real[name] = public or f"{name}_dq"

    def _range(self, name: str) -> tuple[Array, Array]:
        low, high = (float(end) * self.rng.uniform(0.7, 1.1) for end in self.ranges[name])
        spare = self.rng.uniform(0, 0.3) * high if self.scheme.room else 0.0
        low, high = min(low, 0.0) - spare, max(high, 1e-3)
        info = np.iinfo(self._dtype())
        steps = info.max - info.min
        given = None if self.scheme.scale is None else self.scheme.scale * 255 / steps
        scale = self.scheme.rounded((high - low) / steps if given is None else given)
        zero = np.clip(np.rint(info.min - low / scale), info.min, info.max)
        return scale, np.asarray(zero, info.dtype)

    def _add(self, op: str, source: str, params: str, output: str, axis: int) -> None:
        scale, zero = self.params[params]
        self.initializers |= {f"{params}_s": scale, f"{params}_z": zero}
        node = helper.make_node(op, [source, f"{params}_s", f"{params}_z"], [output])
        if scale.ndim:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return tapped


def _clipped(codes: Array, dtype: np.dtype[Any]) -> Array:
    info = np.iinfo(dtype)
    return np.clip(codes, info.min, info.max).astype(dtype)


def shape_of(info: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value or 2 for d in info.type.tensor_type.shape.dim]


def _sample(info: onnx.ValueInfoProto, rng: np.random.Generator) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    if dtype.kind == "f":
        return rng.normal(size=shape_of(info)).astype(dtype)
    return (np.arange(np.prod(shape_of(info))) % 2).reshape(shape_of(info)).astype(dtype)


def _moves(node: onnx.NodeProto) -> bool:
    return node.op_type in MOVES and not any(a.s in (b"linear", b"cubic") for a in node.attribute)
