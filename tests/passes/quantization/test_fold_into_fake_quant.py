"""fold-layout-into-fake-quant and fold-bn-into-fake-quant: codes stay, scales take what is folded."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.passes.quantization.fold_fake_quant import FoldFakeQuant
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import dequantized

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

WEIGHT = """<int8[3,4] W, float[3] wscale, int8[3] zw = {0, 0, 0}, int64[2] two = {4, 3},
    int64[4] four = {3, 1, 2, 2}>"""


@pytest.mark.parametrize(
    ("node", "shape", "axis"),
    [
        ("Transpose <perm = [1,0]> (w)", "4,3", 1),
        ("Transpose (w)", "4,3", 1),
        ("Reshape (w, four)", "3,1,2,2", 0),
        ("Identity (w)", "3,4", 0),
    ],
)
def test_the_axis_follows_the_layout(rewrite: Rewrite, node: str, shape: str, axis: int) -> None:
    done = rewrite(
        "fold-layout-into-fake-quant",
        before=f"""g (float[1] x) => (float[{shape}] y) {WEIGHT} {{
            w = DequantizeLinear <axis = 0> (W, wscale, zw) t = {node} y = Mul (x, t)
        }}""",
        after=f"""g (float[1] x) => (float[{shape}] y)
            <int8[{shape}] W, float[3] wscale, int8[3] zw = {{0, 0, 0}}> {{
            t = DequantizeLinear <axis = {axis}> (W, wscale, zw) y = Mul (x, t)
        }}""",
        rtol=0,
        atol=0,
    )
    assert not done.skips


def test_an_axis_that_is_split_or_merged_stays(rewrite: Rewrite) -> None:
    done = rewrite(
        "fold-layout-into-fake-quant",
        before=f"""g (float[1] x) => (float[4,3] y) {WEIGHT} {{
            w = DequantizeLinear <axis = 0> (W, wscale, zw) t = Reshape (w, two) y = Mul (x, t)
        }}""",
        after=None,
    )
    assert "axis of its own" in done.skips[0].reason


BN = "y = BatchNormalization <epsilon = 0.001> ({0}, gamma, beta, mean, var)"
STATISTICS = "float[3] gamma = {1.5, -0.5, 0.0}, float[3] beta, float[3] mean, float[3] var"


def codes_and_scale(value: ir.Value | None) -> tuple[Array, Array]:
    found = dequantized(value)
    assert found is not None
    codes = constant(found[0].inputs[0])
    assert codes is not None
    return codes, found[1].scale


def test_behind_a_conv(rewrite: Rewrite) -> None:
    """g = gamma / sqrt(var + epsilon): positive, negative, zero."""
    weight = "int8[3,2,1,1] W = {1, -2, 3, 127, -5, 6}, float wscale = {0.1}, int8 zw = {0}, float[3] b"
    done = rewrite(
        "fold-bn-into-fake-quant",
        before=f"""g (float[1,2,4,4] x) => (float[1,3,4,4] y) <{weight}, {STATISTICS}> {{
            w = DequantizeLinear (W, wscale, zw) c = Conv (x, w, b) {BN.format("c")}
        }}""",
        after="""g (float[1,2,4,4] x) => (float[1,3,4,4] y)
            <int8[3,2,1,1] W, float[3] wscale, int8[3] zw = {0, 0, 0}, float[3] b> {
            w = DequantizeLinear <axis = 0> (W, wscale, zw) y = Conv (x, w, b)
        }""",
        rtol=1e-5,
    )
    codes, scale = codes_and_scale(done.model.graph[1].inputs[1])
    np.testing.assert_array_equal(codes.reshape(3, 2), [[1, -2], [-3, -127], [0, 0]])
    assert scale.shape == (3,)


def test_behind_a_matmul_the_bias_is_added(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-fake-quant",
        before=f"""g (float[5,2] x) => (float[5,3] y)
            <int8[2,3] W, float[3] wscale, int8[3] zw = {{0, 0, 0}}, {STATISTICS}> {{
            w = DequantizeLinear <axis = 1> (W, wscale, zw) c = MatMul (x, w) {BN.format("c")}
        }}""",
        after="""g (float[5,2] x) => (float[5,3] y)
            <int8[2,3] W, float[3] wscale, int8[3] zw = {0, 0, 0}, float[3] b> {
            w = DequantizeLinear <axis = 1> (W, wscale, zw) c = MatMul (x, w) y = Add (c, b)
        }""",
    )


def test_behind_a_transposed_conv_scales_lie_along_axis_1(rewrite: Rewrite) -> None:
    done = rewrite(
        "fold-bn-into-fake-quant",
        before=f"""g (float[1,2,4,4] x) => (float[1,3,5,5] y)
            <int8[2,3,2,2] W, float wscale = {{0.1}}, int8 zw = {{0}}, float[3] b, {STATISTICS}> {{
            w = DequantizeLinear (W, wscale, zw) c = ConvTranspose (x, w, b) {BN.format("c")}
        }}""",
        after="""g (float[1,2,4,4] x) => (float[1,3,5,5] y)
            <int8[2,3,2,2] W, float[3] wscale, int8[3] zw = {0, 0, 0}, float[3] b> {
            w = DequantizeLinear <axis = 1> (W, wscale, zw) y = ConvTranspose (x, w, b)
        }""",
        rtol=1e-5,
    )
    assert not done.skips


GROUPED = """g (float[1,4,3,3] x) => (float[1,6,4,4] y)
    <int8[4,3,2,2] W, float[3] wscale, int8[3] zw = {{0, 0, 0}}, float[6] gamma = {gamma}, float[6] beta,
     float[6] mean, float[6] var = {{1, 1, 1, 1, 1, 1}}> {{
        w = DequantizeLinear <axis = 1> (W, wscale, zw)
        c = ConvTranspose <group = 2> (x, w)
        y = BatchNormalization (c, gamma, beta, mean, var)
    }}"""


def test_groups_of_a_transposed_conv_share_their_scales(rewrite: Rewrite) -> None:
    """Two groups of three channels: equal sizes, own signs, and a channel of one group that is zero."""
    done = rewrite(
        "fold-bn-into-fake-quant",
        before=GROUPED.format(gamma="{0.5, -2, 1, -0.5, 2, 0}"),
        after="""g (float[1,4,3,3] x) => (float[1,6,4,4] y)
            <int8[4,3,2,2] W, float[3] wscale, int8[3] zw = {0, 0, 0}, float[6] b> {
            w = DequantizeLinear <axis = 1> (W, wscale, zw)
            y = ConvTranspose <group = 2> (x, w, b)
        }""",
        rtol=1e-5,
    )
    assert not done.skips
    apart = rewrite("fold-bn-into-fake-quant", before=GROUPED.format(gamma="{1, 1, 1, 1, 3, 1}"), after=None)
    assert "share their scales" in apart.skips[0].reason


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        ("int8[3,2,1,1] W = {1, 2, -128, 0, 0, 0}, float wscale = {0.1}, int8 zw = {0}", "change its sign"),
        ("int8[3,2,1,1] W = {1, 2, 3, 0, 0, 0}, float wscale = {0.1}, int8 zw = {3}", "zero point"),
    ],
)
def test_codes_that_cannot_change_their_sign_stay(rewrite: Rewrite, weight: str, reason: str) -> None:
    done = rewrite(
        "fold-bn-into-fake-quant",
        before=f"""g (float[1,2,4,4] x) => (float[1,3,4,4] y) <{weight}, {STATISTICS}> {{
            w = DequantizeLinear (W, wscale, zw) c = Conv (x, w) {BN.format("c")}
        }}""",
        after=None,
    )
    assert reason in done.skips[0].reason


def test_the_bias_of_two_bit_weights_keeps_its_precision(onnx_text: Text) -> None:
    """s_x·s_w is 1/2, the output's step 1/4: 0.3 would become 0.5. Doubled six times, codes fill int8."""
    model = onnx_text("""g (uint8[1,4] q) => (float[1,2] y)
        <float sx = {1.0}, uint8 zx = {0}, int8[4,2] W = {1, -1, 0, 1, 1, 0, -1, 1}, float sw = {0.5},
         int8 zw = {0}, float[2] b = {0.3, -0.2}, float sy = {0.25}, int8 zy = {0}> {
            x = DequantizeLinear (q, sx, zx) w = DequantizeLinear (W, sw, zw) m = MatMul (x, w) a = Add (m, b)
            r = QuantizeLinear (a, sy, zy) y = DequantizeLinear (r, sy, zy)
        }""")
    FoldFakeQuant().run(model, Context())
    matmul = next(node for node in model.graph if node.op_type == "MatMul")
    codes, scale = codes_and_scale(matmul.inputs[1])
    np.testing.assert_array_equal(codes[:, 0], np.array([64, 0, 64, -64]))
    assert float(scale) == 0.5 / 64
    bias, step = codes_and_scale(next(node for node in model.graph if node.op_type == "Add").inputs[1])
    np.testing.assert_allclose(bias * step, [0.3, -0.2], atol=0.5 / 64 / 2)
