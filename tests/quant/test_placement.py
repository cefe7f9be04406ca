"""Placement: which nodes are quantized and why not, which values share a scale, where no pair may go."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.quant.placement import plan
from onnxq.quant.plan import Plan, Role
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]


def _plan(model: ir.Model, target: str = "generic-int8") -> Plan:
    from onnxq.passes.importing.infer_shapes import InferShapes
    from onnxq.pipeline.context import Context

    return plan(InferShapes().run(model, Context()).model, load_target(target))


def _values(found: Plan) -> set[str]:
    return {d.value for d in found.values if d.role in (Role.ACTIVATION, Role.CONSTANT)}


def _reason(found: Plan, node: str) -> str:
    return next(n.reason for n in found.nodes if n.node == node and not n.quantized)


def test_conv_relu_is_one_operator_with_weight_and_bias(onnx_text: Text) -> None:
    found = _plan(
        onnx_text("""g (float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, float[4] b> {
        c = Conv (x, W, b)
        y = Relu (c)
    }""")
    )
    assert _values(found) == {"x", "y"}, "no pair between Conv and Relu"
    roles = {d.value: (d.role, d.axis) for d in found.values}
    assert roles["W"] == (Role.WEIGHT, 0)
    assert roles["b"] == (Role.BIAS, None)


def test_a_conv_read_twice_keeps_its_own_pair(onnx_text: Text) -> None:
    found = _plan(
        onnx_text("""g (float[1,3,8,8] x) => (float[1,3,8,8] y) <float[3,3,1,1] W> {
        c = Conv (x, W)
        r = Relu (c)
        y = Add (c, r)
    }""")
    )
    assert {"c", "r"} <= _values(found)


def test_move_operators_share_one_scale(onnx_text: Text) -> None:
    found = _plan(
        onnx_text("""g (float[1,2,8,8] x, float[1,2,8,8] z) => (float[1,4,4,4] y) <float[4,4,1,1] W> {
        c = Concat <axis = 1> (x, z)
        m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)
        y = Conv (m, W)
    }""")
    )
    assert {len(members) for members in found.groups.values()} == {1, 4}
    assert {d.value for d in found.groups["x"]} == {"x", "z", "c", "m"}


def test_moves_between_floats_stay_float(onnx_text: Text) -> None:
    found = _plan(onnx_text("g (float[2,3] x) => (float[3,2] y) { e = Erf (x) y = Transpose (e) }"))
    assert not found.values
    assert "no integer Erf" in _reason(found, "e")
    assert "no quantized operator" in _reason(found, "y")


def test_a_float_reader_keeps_the_exact_value_of_a_float_maker(onnx_text: Text) -> None:
    found = _plan(
        onnx_text("""g (float[2,4] x) => (float[2,4] y, float[2,4] z) <float[4,4] W> {
        e = Erf (x)
        y = MatMul (e, W)
        z = Erf (e)
    }""")
    )
    assert next(d.readers for d in found.values if d.value == "e") == ("y",)


def test_a_mask_stays_float_up_to_its_softmax(onnx_text: Text) -> None:
    found = _plan(
        onnx_text("""g (float[2,4] x, float[2,4] m) => (float[2,4] y)
        <float[4,4] W, float lowest = {-3.4e38}> {
        a = MatMul (x, W)
        n = Mul (m, lowest)
        s = Add (a, n)
        p = Softmax (s)
        y = MatMul (p, W)
    }""")
    )
    assert all("mask" in _reason(found, node) for node in ("n", "s", "p"))
    assert next(d.fixed for d in found.values if d.value == "p") == (0.0, 255 / 256)


def test_a_mask_is_part_of_a_softmax_that_takes_it_in(onnx_text: Text) -> None:
    text = """g (float[2,4] x, float[2,4] m) => (float[2,4] y, float[2,4] z)
        <float[4,4] W, float lowest = {-3.4e38}> {
        a = MatMul (x, W)
        n = Mul (m, lowest)
        s = Add (a, n)
        y = Softmax (s)
        e = Add (a, m)
        z = Softmax (e)
    }"""
    found = _plan(onnx_text(text), "integer")
    assert {n.node for n in found.nodes if not n.quantized} == {"n", "s"}
    assert "takes in" in _reason(found, "s")
    # the mask itself stays a float, and so do the masked scores; what is no mask is rounded
    assert {d.value for d in found.values} == {"x", "W", "m", "a", "y", "e", "z"}


@pytest.mark.parametrize(("target", "float_tail"), [("generic-int8", True), ("integer", False)])
def test_the_last_concat_stays_float_where_the_target_lets_it(
    target: str, float_tail: bool, onnx_text: Text
) -> None:
    found = _plan(
        onnx_text("""g (float[1,2,4,4] x) => (float[1,32] y) <float[1,2,1,1] W, float[1,2,1,1] V> {
        a = Conv (x, W)
        s = Conv (x, V)
        c = Concat <axis = 1> (a, s)
        y = Flatten (c)
    }"""),
        target,
    )
    left = {n.node for n in found.nodes if not n.quantized}
    assert left == ({"c", "y"} if float_tail else set())


@pytest.mark.parametrize(("target", "float_tail"), [("generic-int8", True), ("integer", False)])
def test_decoding_behind_the_last_concat_stays_float_where_the_target_lets_it(
    target: str, float_tail: bool, onnx_text: Text
) -> None:
    text = """g (float[1,2,4,4] x) => (float[1,4,4,4] boxes)
        <float[2,2,1,1] W, float[2,2,1,1] V, float[2,4,1,1] U, float[1,4,1,1] size, float[1,4,4,4] grid> {
        a = Conv (x, W)
        b = Conv (x, V)
        inner = Concat <axis = 1> (a, b)
        p = Conv (inner, U)
        q = Sigmoid (p)
        c = Concat <axis = 1> (p, q)
        m = Mul (c, size)
        boxes = Add (m, grid)
    }"""
    found = _plan(onnx_text(text), target)
    left = {n.node for n in found.nodes if not n.quantized}
    assert left == ({"c", "m", "boxes"} if float_tail else set()), "what a Conv reads is no tail"
    if float_tail:
        assert all("joins or decodes" in _reason(found, name) for name in left)


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        ("g (float[2,3] x, float lo) => (float[2,3] y) { y = Clip (x, lo) }", "bounds are not constant"),
        ("g (int64[2,3] x) => (int64[2,3] y) { y = Add (x, x) }", "works on int64"),
        ("g (float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] y) { y = Conv (x, w) }", "at run time"),
        ("g (float[2,3] x) => (float[2,3] y) { y = Sin (x) }", "target generic-int8 has no integer Sin"),
    ],
)
def test_every_refusal_has_its_reason(graph: str, why: str, onnx_text: Text) -> None:
    found = _plan(onnx_text(graph))
    assert why in _reason(found, "y")
    assert not found.values


def test_pads_with_another_number_than_zero_stay_float(onnx_text: Text) -> None:
    text = """g (float[1,2,4,4] x) => (float[1,2,6,6] y)
        <int64[8] p = {{0,0,1,1,0,0,1,1}}, float v = {{{fill}}}, float[2,2,1,1] W> {{
        c = Conv (x, W)
        y = Pad (c, p, v)
    }}"""
    assert "something else than zero" in _reason(_plan(onnx_text(text.format(fill=-1))), "y")
    assert all(node.quantized for node in _plan(onnx_text(text.format(fill=0))).nodes)
