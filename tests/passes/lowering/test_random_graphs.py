"""Random small networks with random scales, held against exact rational arithmetic."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import onnx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger

from .fake_quantizer import Scheme

Lower = Callable[..., onnx.ModelProto]
Shape = tuple[int, int, int]


@dataclass
class Net:
    """ONNX text that grows; every value is [1, C, H, W]."""

    shapes: dict[str, Shape]
    lines: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)

    def add(self, call: str, shape: Shape, *, relu: bool = False) -> None:
        name = f"v{len(self.shapes)}"
        if relu:
            self.lines.append(f"_{name} = {call} {name} = Relu (_{name})")
        else:
            self.lines.append(f"{name} = {call}")
        self.shapes[name] = shape

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(f"float[{','.join(map(str, shape))}] {name}")
        return name

    def text(self) -> str:
        last = list(self.shapes)[-1]
        body = re.sub(rf"\b{last}\b", "y", " ".join(self.lines))
        x, y = ("1," + ",".join(map(str, self.shapes[name])) for name in ("x", last))
        weights = f"<{', '.join(self.weights)}>" if self.weights else ""
        return f"g (float[{x}] x) => (float[{y}] y) {weights} {{ {body} }}"


def _conv(net: Net, draw: st.DrawFn, x: str) -> None:
    c, h, w = net.shapes[x]
    kernel, stride, group = (
        draw(st.sampled_from([1, 2, 3])),
        draw(st.integers(1, 2)),
        draw(st.sampled_from([1, c])),
    )
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(4)]
    out = group * draw(st.integers(1, 2))
    height, width = (
        (n + p - kernel) // stride + 1 for n, p in ((h, pads[0] + pads[2]), (w, pads[1] + pads[3]))
    )
    if min(height, width) < 1:
        return
    weights = f"{net.weight(out, c // group, kernel, kernel)}, {net.weight(out)}"
    attributes = f"group = {group}, strides = [{stride},{stride}], pads = {pads}"
    net.add(f"Conv <{attributes}> ({x}, {weights})", (out, height, width), relu=draw(st.booleans()))


def _binary(net: Net, draw: st.DrawFn, x: str) -> None:
    c, h, w = net.shapes[x]
    others = [n for n, s in net.shapes.items() if all(a in (1, b) for a, b in zip(s, (c, h, w), strict=True))]
    other = draw(st.sampled_from([*others, net.weight(c, 1, 1)]))
    net.add(
        f"{draw(st.sampled_from(['Add', 'Sub', 'Mul']))} ({x}, {other})", (c, h, w), relu=draw(st.booleans())
    )


def _unary(net: Net, draw: st.DrawFn, x: str) -> None:
    op = draw(
        st.sampled_from(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Elu", "Exp", "Abs", "Erf"])
    )
    net.add(f"{op} ({x})", net.shapes[x])


def _pool(net: Net, draw: st.DrawFn, x: str) -> None:
    c, h, w = net.shapes[x]
    if min(h, w) < 2:
        return net.add(f"GlobalAveragePool ({x})", (c, 1, 1))
    include = draw(st.integers(0, 1))
    shape = (c, (h + 2 - 2) // 2 + 1, (w + 2 - 2) // 2 + 1)
    attributes = f"count_include_pad = {include}, kernel_shape = [2,2], strides = [2,2], pads = [1,1,1,1]"
    return net.add(f"AveragePool <{attributes}> ({x})", shape)


def _concat(net: Net, draw: st.DrawFn, x: str) -> None:
    c, h, w = net.shapes[x]
    other = draw(st.sampled_from([n for n, s in net.shapes.items() if s[1:] == (h, w)]))
    net.add(f"Concat <axis = 1> ({x}, {other})", (c + net.shapes[other][0], h, w))


def _matmul(net: Net, draw: st.DrawFn, x: str) -> None:
    c, h, w = net.shapes[x]
    others = [name for name, (d, k, _) in net.shapes.items() if (d, k) == (c, w)]
    if others:
        other = draw(st.sampled_from(others))
        columns = net.shapes[other][2]
    else:
        columns = draw(st.integers(1, 3))
        other = net.weight(w, columns)
    net.add(f"MatMul ({x}, {other})", (c, h, columns), relu=draw(st.booleans()))


def _softmax(net: Net, draw: st.DrawFn, x: str) -> None:
    net.add(f"Softmax <axis = {draw(st.integers(1, 3))}> ({x})", net.shapes[x])


LAYERS = [_conv, _conv, _binary, _unary, _pool, _concat, _softmax, _matmul]


@st.composite
def nets(draw: st.DrawFn) -> str:
    net = Net({"x": (draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(2, 4)))})
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(st.sampled_from(LAYERS))
        layer(net, draw, draw(st.sampled_from(list(net.shapes))))
    if not net.lines:
        net.add("Sigmoid (x)", net.shapes["x"])
    return net.text()


SCHEMES = {
    "uint8": Scheme(dtype="uint8"),
    "int8": Scheme(dtype="int8"),
    "uint16": Scheme(dtype="uint16"),
    "int16": Scheme(dtype="int16"),
    "mixed": Scheme(dtype="int8", also="uint16"),
}
CASES = 400
"""For each scheme: 2,000 together."""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_networks_give_the_exact_codes(lower: Lower, scheme: str) -> None:
    @seed(list(SCHEMES).index(scheme))
    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        text=nets(),
        data=st.integers(0, 2**16),
        scale=st.one_of(st.none(), st.sampled_from([2.0**-5, 0.05]), st.floats(2.0**-9, 0.25, width=32)),
        dialect=st.sampled_from([Dialect.FAST, Dialect.FAST, Dialect.PORTABLE]),
    )
    def hold(text: str, data: int, scale: float | None, dialect: Dialect) -> None:
        chosen = replace(SCHEMES[scheme], scale=scale)
        lower(text, seed=data, scheme=chosen, lowering=LowerInteger(dialect=dialect), again=False)

    hold()
