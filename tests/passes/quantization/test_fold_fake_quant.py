"""fold-fake-quant: integers in the file, exact values where nothing is rounded anew."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.errors import ModelError
from onnxq.graph.match import constant
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.passes.quantization._packing import Pack, PackingWarning
from onnxq.passes.quantization.fold_fake_quant import Bias, FoldFakeQuant
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import dequantized
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

LINEAR = """g (uint8[1,2,4,4] q) => (float[1,2,4,4] y)
    <float sx = {{0.5}}, uint8 zx = {{3}}, float[2,2,1,1] W = {weight}, float[2] b = {bias},
     float[2] sw = {{0.25, 0.125}}, int8[2] zw = {{0, 0}}> {{
    x = DequantizeLinear (q, sx, zx)
    wq = QuantizeLinear <axis = 0> (W, sw, zw)
    wd = DequantizeLinear <axis = 0> (wq, sw, zw)
    y = Conv (x, wd, b)
}}"""


def test_a_constant_in_front_of_a_pair_becomes_its_codes(rewrite: Rewrite) -> None:
    rewrite(
        "fold-fake-quant",
        before="""g (float[2,4] x) => (float[2,3] y) <float[4,3] W, float sw = {0.05}, int8 zw = {3}> {
            wq = QuantizeLinear (W, sw, zw)
            wd = DequantizeLinear (wq, sw, zw)
            y = MatMul (x, wd)
        }""",
        after="""g (float[2,4] x) => (float[2,3] y) <int8[4,3] Wq, float sw, int8 zw> {
            wd = DequantizeLinear (Wq, sw, zw)
            y = MatMul (x, wd)
        }""",
        rtol=0,
        atol=0,
    )


def test_a_bias_becomes_int32_at_the_accumulators_scale(rewrite: Rewrite) -> None:
    done = rewrite(
        "fold-fake-quant",
        before=LINEAR.format(weight="{1, -2, 3, -4}", bias="{1.0, -0.4}"),
        after="""g (uint8[1,2,4,4] q) => (float[1,2,4,4] y)
            <float sx, uint8 zx, int8[2,2,1,1] W, int32[2] b, float[2] sw, int8[2] zw, float[2] sb,
             int32[2] zb> {
            x = DequantizeLinear (q, sx, zx)
            wd = DequantizeLinear <axis = 0> (W, sw, zw)
            bd = DequantizeLinear <axis = 0> (b, sb, zb)
            y = Conv (x, wd, bd)
        }""",
        rtol=None,
    )
    found = dequantized(done.model.graph[3].inputs[2])
    assert found is not None
    pair, qparams = found
    np.testing.assert_array_equal(qparams.scale, np.array([0.125, 0.0625], np.float32))
    np.testing.assert_array_equal(
        constant(pair.inputs[0]), np.array([8, -6], np.int32)
    )  # −0.4 / 0.0625 = −6.4


def test_a_weight_scale_is_raised_until_the_bias_fits(onnx_text: Text) -> None:
    """Channel 0: all weights are zero, any scale will do. Channel 1: a bias of 1e9 against scale 2^-4."""
    model = onnx_text(LINEAR.format(weight="{0, 0, 3, -4}", bias="{0.3, 1e9}"))
    assert FoldFakeQuant().run(model, Context()).modified
    conv = model.graph[len(model.graph) - 1]
    bias, weight = dequantized(conv.inputs[2]), dequantized(conv.inputs[1])
    assert bias is not None
    assert weight is not None
    codes = constant(bias[0].inputs[0])
    assert codes is not None
    assert np.abs(codes.astype(np.int64)).max() <= 2**30
    np.testing.assert_allclose(bias[1].dequantize(codes), [0.3, 1e9], rtol=1e-6)
    np.testing.assert_array_equal(bias[1].scale, np.float32(0.5) * weight[1].scale)


def test_the_same_pair_twice_is_one_and_another_one_stays(rewrite: Rewrite) -> None:
    text = """g (float[4] x) => (float[4] y) <float s = {{0.5}}, uint8 z = {{3}}, float t = {{{other}}}> {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        r = QuantizeLinear (d, t, z)
        y = DequantizeLinear (r, t, z)
    }}"""
    rewrite(
        "fold-fake-quant",
        before=text.format(other=0.5),
        after="""g (float[4] x) => (float[4] y) <float s, uint8 z> {
            q = QuantizeLinear (x, s, z)
            y = DequantizeLinear (q, s, z)
        }""",
        rtol=0,
        atol=0,
    )
    rewrite("fold-fake-quant", before=text.format(other=0.25), after=None)


def test_the_bias_behind_a_matmul_is_folded_too(rewrite: Rewrite) -> None:
    rewrite(
        "fold-fake-quant",
        before="""g (uint8[2,4] q) => (float[2,3] y)
            <float sx = {0.5}, uint8 zx = {3}, int8[4,3] W, float sw = {0.25}, int8 zw = {0}, float[3] b> {
            x = DequantizeLinear (q, sx, zx)
            w = DequantizeLinear (W, sw, zw)
            m = MatMul (x, w)
            y = Add (b, m)
        }""",
        after="""g (uint8[2,4] q) => (float[2,3] y)
            <float sx, uint8 zx, int8[4,3] W, float sw, int8 zw, int32[3] b, float sb, int32 zb> {
            x = DequantizeLinear (q, sx, zx)
            w = DequantizeLinear (W, sw, zw)
            m = MatMul (x, w)
            d = DequantizeLinear (b, sb, zb)
            y = Add (d, m)
        }""",
        rtol=None,
    )


def test_a_scaled_gemm_keeps_its_float_bias_with_a_reason(onnx_text: Text) -> None:
    model = onnx_text("""g (uint8[2,4] q) => (float[2,3] y)
        <float sx = {0.5}, uint8 zx = {3}, int8[4,3] W, float sw = {0.25}, int8 zw = {0}, float[3] b> {
        x = DequantizeLinear (q, sx, zx)
        w = DequantizeLinear (W, sw, zw)
        y = Gemm <alpha = 0.5> (x, w, b)
    }""")
    done = FoldFakeQuant().run(model, Context())
    assert not done.modified
    assert "alpha and beta" in done.skips[0].reason


def test_a_finer_scale_keeps_the_values_of_weights_of_few_bits(onnx_text: Text) -> None:
    """Codes of 4 bits may move to a finer scale for the bias's sake; what they stand for may not change."""
    model = onnx_text("""g (uint8[1,2,4,4] q) => (uint8[1,2,4,4] y)
        <float sx = {0.5}, uint8 zx = {3}, float[2,2,1,1] W = {0.3, -1.7, 0.9, 0.1}, float[2] b = {0.3, 0.7},
         float[2] sw = {0.25, 0.25}, int8[2] zw = {0, 0}, float sy = {0.01}, uint8 zy = {0}> {
        x = DequantizeLinear (q, sx, zx)
        wq = QuantizeLinear <axis = 0> (W, sw, zw)
        wd = DequantizeLinear <axis = 0> (wq, sw, zw)
        c = Conv (x, wd, b)
        y = QuantizeLinear (c, sy, zy)
    }""")
    FoldFakeQuant().run(model, Context())
    conv = next(node for node in model.graph if node.op_type == "Conv")
    found = dequantized(conv.inputs[1])
    assert found is not None
    codes = constant(found[0].inputs[0])
    assert codes is not None
    assert (found[1].scale < 0.25).all(), "the scale is finer, or this proves nothing"
    np.testing.assert_array_equal(found[1].dequantize(codes).reshape(-1), [0.25, -1.75, 1.0, 0.0])


PACKED = """g (float[2,4] x) => (float[2,3] y) <float[4,3] W, float[3] scale, int8[3] zw = {{0, 0, 0}}> {{
    wq = QuantizeLinear <axis = 1> (W, scale, zw)
    c = Clip (wq, low, high)
    wd = DequantizeLinear <axis = 1> (c, scale, zw)
    y = MatMul (x, wd)
}}"""


@pytest.mark.parametrize(
    ("pack", "low", "high", "kind", "opset"),
    [("int4", -7, 7, "int4", 21), ("int2", -2, 1, "int2", 25), ("int2", -7, 7, "int4", 21)],
)
@pytest.mark.filterwarnings("ignore::onnxq.passes.quantization._packing.PackingWarning")
def test_codes_of_few_bits_are_packed(
    onnx_text: Text, pack: str, low: int, high: int, kind: str, opset: int
) -> None:
    """ONNX Runtime computes the same from them; import-fake-quant and folding give the same file again."""
    text = PACKED.format().replace("> {", f", int8 low = {{{low}}}, int8 high = {{{high}}}> {{", 1)
    model = onnx_text(text, opset=19)
    plain = FoldFakeQuant().run(model.clone(), Context()).model
    packed = FoldFakeQuant(pack=Pack(pack)).run(model, Context()).model
    assert packed.opset_imports[""] == opset
    codes = packed.graph[0].inputs[0]
    assert codes is not None
    assert codes.dtype == ir.DataType[kind.upper()]
    feeds = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    expected = Session(plain, optimize=False).run(feeds)["y"]
    np.testing.assert_array_equal(Session(packed, optimize=False).run(feeds)["y"], expected)
    again = ImportFakeQuant().run(packed.clone(), Context()).model
    assert constant(again.graph[0].inputs[0]).dtype == np.int8  # type: ignore[union-attr]
    again = FoldFakeQuant(pack=Pack(pack)).run(again, Context()).model
    np.testing.assert_array_equal(constant(again.graph[0].inputs[0]), constant(codes))


def test_codes_of_eight_bits_stay(onnx_text: Text) -> None:
    text = PACKED.format().replace("> {", ", int8 low = {-100}, int8 high = {100}> {", 1)
    model = onnx_text(text.replace("W, float", "W = {1,2,3,4,5,6,7,8,9,90,11,12}, float"), opset=19)
    with pytest.warns(PackingWarning, match="fit into 2 bits, but 1 weight with 8 bits"):
        packed = FoldFakeQuant(pack=Pack.INT2).run(model, Context()).model
    assert packed.opset_imports[""] == 19


def test_nan_has_no_code(onnx_text: Text) -> None:
    text = PACKED.format().replace("> {", ", int8 low = {-7}, int8 high = {7}> {", 1)
    model = onnx_text(text)
    model.graph.initializers["W"].const_value = ir.tensor(np.full((4, 3), np.nan, np.float32), name="W")
    with pytest.raises(ModelError, match="NaN, which has no code"):
        FoldFakeQuant().run(model, Context())


def test_a_float_bias_stays_on_demand(onnx_text: Text) -> None:
    model = onnx_text(LINEAR.format(weight="{1, -2, 3, -4}", bias="{1.0, -0.4}"))
    FoldFakeQuant(bias=Bias.FLOAT32).run(model, Context())
    bias = constant(model.graph[len(model.graph) - 1].inputs[2])
    np.testing.assert_array_equal(bias, np.array([1.0, -0.4], np.float32))
