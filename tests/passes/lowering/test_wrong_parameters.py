"""Q/DQ graphs of other tools whose scales, zero points or axes are wrong: each node is named."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.errors import CheckError, PassError
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context

Text = Callable[..., ir.Model]

GIVEN = {"xs": "0.05", "ys": "0.1", "ws": "0.02, 0.02", "bs": "0.001, 0.001", "bz": "0, 0", "axis": "0"}


def _model(onnx_text: Text, **changes: str) -> ir.Model:
    given = GIVEN | changes
    length = {name: len(text.split(",")) for name, text in given.items()}
    return onnx_text(f"""g (float[N,2,4] x) => (float[N,2,2] y) <
        float xs = {{{given["xs"]}}}, uint8 xz = {{128}}, float ys = {{{given["ys"]}}},
        float[{length["ws"]}] ws = {{{given["ws"]}}}, int8[{length["ws"]}] wz,
        float[{length["bs"]}] bs = {{{given["bs"]}}}, int32[{length["bz"]}] bz = {{{given["bz"]}}},
        int8[2,2,3] W, int32[2] B> {{
            xq = QuantizeLinear (x, xs, xz)
            xd = DequantizeLinear (xq, xs, xz)
            wd = DequantizeLinear <axis = {given["axis"]}> (W, ws)
            bd = DequantizeLinear <axis = 0> (B, bs, bz)
            c = Conv (xd, wd, bd)
            yq = QuantizeLinear (c, ys, xz)
            y = DequantizeLinear (yq, ys, xz)
        }}""")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"xs": "0.0"}, "QuantizeLinear (output 'xq'): its scale 'xs' is 0"),
        ({"xs": "-0.05"}, "DequantizeLinear (output 'xd'): its scale 'xs' is -0.05"),
        ({"ys": "1e-42"}, "its scale 'ys' is 1.00053e-42, too small for a normal float32"),
        ({"ws": "0.02, 0.0"}, "(output 'wd'): its scale 'ws' is 0 at channel 1"),
        ({"ws": "-1.0, -1.0"}, "its scale 'ws' is -1 at channel 0, and 1 others are no better"),
        ({"ws": "0.02, 0.02, 0.02"}, "it has 3 scales along axis 0, where 'W' has 2 channels"),
        ({"axis": "7"}, "its axis is 7, and its input 'W' has 3 axes"),
        ({"bs": "0.001, -0.001"}, "(output 'bd'): its scale 'bs' is -0.001 at channel 1"),
        ({"bz": "1, 2, 3"}, "(output 'bd'): it has 3 zero points, and scales: 2"),
    ],
)
def test_wrong_parameters_are_named(onnx_text: Text, changes: dict[str, str], says: str) -> None:
    with pytest.raises(PassError, match="wrong scales or zero points") as caught:
        LowerInteger().run(_model(onnx_text, **changes), Context())
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_scales_that_are_no_numbers_are_named(onnx_text: Text, number: float) -> None:
    model = _model(onnx_text)
    model.graph.initializers["ws"].const_value = ir.tensor([0.02, number], ir.DataType.FLOAT, name="ws")
    with pytest.raises(PassError, match=f"its scale 'ws' is {number} at channel 1"):
        LowerInteger().run(model, Context())


def test_a_bias_may_be_too_small_for_its_scale(onnx_text: Text) -> None:
    """Of a channel that is nearly zero the product of two scales is."""
    assert LowerInteger().run(_model(onnx_text, bs="0.001, 0.0"), Context()).edits


@pytest.mark.parametrize(
    ("codes", "attribute", "says"),
    [
        ("int4[4,6] W, float s = {0.1}, int4 z", "", "its codes are int4; run import-fake-quant first"),
        (
            "int8[4,6] W, float[2,6] s, int8[2,6] z",
            "<axis = 0, block_size = 2>",
            "a scale for each block of 2 elements",
        ),
    ],
)
def test_codes_without_a_rule_are_named(onnx_text: Text, codes: str, attribute: str, says: str) -> None:
    text = f"""g (float[N,4] x) => (float[N,6] y) <float t = {{0.05}}, uint8 u = {{128}}, {codes}> {{
        xq = QuantizeLinear (x, t, u) xd = DequantizeLinear (xq, t, u)
        w = DequantizeLinear {attribute} (W, s, z) c = MatMul (xd, w)
        yq = QuantizeLinear (c, t, u) y = DequantizeLinear (yq, t, u)
    }}"""
    model = onnx_text(text)
    if "float[2,6]" in codes:
        scale = ir.tensor([[0.1] * 6] * 2, ir.DataType.FLOAT, name="s")
        model.graph.initializers["s"].const_value = scale
    with pytest.raises(CheckError) as caught:
        LowerInteger().run(model, Context())
    assert says in str(caught.value)
