"""A trainable ONNX file as a PyTorch module, and its trained initializers back in the file.

The module walks the nodes of the file, so that what is trained is the very graph that is deployed: nothing is
rebuilt, and writing back is setting initializers by name. Rounding passes gradients straight through. Then

    Q → Clip → DQ:   y = (clamp(round(x/s) + z, low, high) − z)·s

has the gradient of LSQ for the scale s (Esser et al. 2020, arXiv:1902.08153), by automatic differentiation.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

BOUNDS = {onnx.TensorProto.INT8: (-128, 127), onnx.TensorProto.UINT8: (0, 255)}
LINEAR = ("Conv", "Gemm")

Attributes = Mapping[str, Any]


def round_through(x: Tensor) -> Tensor:
    """Round half to even, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise ValueError(f"a Conv pads its sides differently: {pads}")
    out: Tensor = functional.conv2d(
        x, weight, bias, a["strides"], pads[:2], a["dilations"], a.get("group", 1)
    )
    return out


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(x, weight if a.get("transB") else weight.T, bias)


OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": lambda a, x: functional.avg_pool2d(x, a["kernel_shape"], a["strides"]),
    "Clip": lambda a, x, low, high: torch.clamp(x, low, high),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Conv": _conv,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": lambda a, x: torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda a, x: functional.hardswish(x),
    "MaxPool": lambda a, x: functional.max_pool2d(x, a["kernel_shape"], a["strides"]),
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: torch.relu(x),
}
"""What the digit models are made of; ``a`` are the node's attributes."""


class TrainableOnnx(nn.Module):
    """The graph of a file that ``insert-qdq{trainable=true}`` made, for one input and one output.

    Parameters are the float weights in front of Q/DQ, the biases, and of each scale the logarithm of what it
    grows by: one learning rate then suits all, and no scale can turn negative. Zero points stay.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model
        unknown = {n.op_type for n in model.graph.node} - {*OPERATORS, "QuantizeLinear", "DequantizeLinear"}
        if unknown:
            raise ValueError(f"no PyTorch form is written down for {', '.join(sorted(unknown))}")
        arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.bounds = {t.name: BOUNDS.get(t.data_type, (0, 0)) for t in model.graph.initializer}
        self.scales = {n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear"}
        names = dict.fromkeys(name for name in _trained(model) if name in arrays)
        self.places = {name: i for i, name in enumerate(names)}
        self.weights = nn.ParameterList(self._parameter(name, arrays[name]) for name in names)
        self.first = {name: torch.tensor(arrays[name]) for name in names if name in self.scales}
        rest = {name: torch.tensor(array) for name, array in arrays.items() if name not in names}
        self.constants = {
            n: t.float() if t.dtype in (torch.int8, torch.uint8) else t for n, t in rest.items()
        }

    def forward(self, x: Tensor) -> Tensor:
        """The graph, with codes as floats."""
        known: dict[str, Tensor] = {self.model.graph.input[0].name: x}
        for node in self.model.graph.node:
            inputs = [known[n] if n in known else self._initializer(n) for n in node.input if n]
            known[node.output[0]] = self._run(node, inputs)
        return known[self.model.graph.output[0].name]

    def trained(self) -> onnx.ModelProto:
        """The file with the trained numbers in it; nodes and names are the same.

        Scales are rounded to 16 bits. Where an average has the scale of what it averages, many results lie
        half-way between two codes, and only such a scale lets float32 compute them exactly.
        """
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        for tensor in made.graph.initializer:
            if tensor.name in self.places:
                array = self._initializer(tensor.name).detach().numpy().astype(np.float32)
                array = _shortened(array) if tensor.name in self.scales else array
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return made

    def _parameter(self, name: str, array: np.ndarray) -> nn.Parameter:
        return nn.Parameter(torch.tensor(np.zeros_like(array) if name in self.scales else array))

    def _initializer(self, name: str) -> Tensor:
        if name not in self.places:
            return self.constants[name]
        parameter = self.weights[self.places[name]]
        trained: Tensor = self.first[name] * parameter.exp() if name in self.scales else parameter
        return trained

    def _run(self, node: onnx.NodeProto, inputs: list[Tensor]) -> Tensor:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return OPERATORS[node.op_type](attributes, *inputs)
        x, scale, zero_point = inputs
        if scale.ndim:
            shape = [1] * x.ndim
            shape[attributes.get("axis", 1)] = -1
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        if node.op_type == "DequantizeLinear":
            return (x - zero_point) * scale
        return torch.clamp(round_through(x / scale) + zero_point, *self.bounds[node.input[2]])


def _shortened(scale: np.ndarray) -> np.ndarray:
    fraction, exponent = np.frexp(scale)
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, 16)), exponent - 16), np.float32)


def _trained(model: onnx.ModelProto) -> Iterator[str]:
    """What QuantizeLinear reads and divides by, and the biases."""
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            yield from node.input[:2]
        elif node.op_type in LINEAR:
            yield from node.input[2:3]
