"""insert-qdq: where the pairs go, what they hold, and that the result still computes the model."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.api import load_samples
from onnxq.errors import DataError, ModelError
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import qparams_of
from onnxq.quant.qparams import QParams
from onnxq.targets.target import load_target

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

CONV_RELU = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, float[4] b> {
    c = Conv (x, W, b)
    y = Relu (c)
}"""


def _context(model: ir.Model, samples: Sequence[dict[str, Array]], target: str = "generic-int8") -> Context:
    return Context(load_target(target), load_samples(model, samples))


def _inferred(model: ir.Model) -> ir.Model:
    return InferShapes().run(model, Context()).model


def _pairs(model: ir.Model) -> dict[str, QParams]:
    """What each QuantizeLinear does, by the value it reads."""
    found = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and (source := node.inputs[0]) and (q := qparams_of(node)):
            found[source.name or ""] = q
    return found


def _drawn(n: int = 4, **shapes: tuple[int, ...]) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    return [{k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()} for _ in range(n)]


def test_pairs_stand_round_the_fused_operator(rewrite: Rewrite, onnx_text: Text) -> None:
    done = rewrite(
        "infer-shapes, insert-qdq",
        before=CONV_RELU,
        after="""g (float[1,3,8,8] x) => (float[1,4,6,6] y)
            <float[4,3,3,3] W, float[4] b, float sx, uint8 zx, float[4] sw, int8[4] zw, float sy, uint8 zy> {
            wq = QuantizeLinear <axis = 0> (W, sw, zw)
            wd = DequantizeLinear <axis = 0> (wq, sw, zw)
            xq = QuantizeLinear (x, sx, zx)
            xd = DequantizeLinear (xq, sx, zx)
            c = Conv (xd, wd, b)
            r = Relu (c)
            yq = QuantizeLinear (r, sy, zy)
            y = DequantizeLinear (yq, sy, zy)
        }""",
        rtol=None,
        context=_context(onnx_text(CONV_RELU), _drawn(x=(1, 3, 8, 8))),
    )
    assert _pairs(done.model)["y_before"].zero_point == 0, "behind a Relu the codes start at the lowest"


def test_scales_come_from_the_samples_and_the_weights(onnx_text: Text) -> None:
    model = onnx_text(CONV_RELU)
    samples = _drawn(x=(1, 3, 8, 8))
    InsertQdq().run(_inferred(model), _context(model, samples))
    pairs = _pairs(model)
    x = np.stack([sample["x"] for sample in samples])
    weight = constant(model.graph.initializers["W"])
    assert weight is not None
    np.testing.assert_allclose(pairs["x"].scale, (x.max() - x.min()) / 255, rtol=1e-6)
    np.testing.assert_allclose(pairs["W"].scale, np.abs(weight).reshape(4, -1).max(axis=1) / 127, rtol=1e-6)


def test_a_scale_group_takes_the_union_of_its_ranges(onnx_text: Text) -> None:
    model = onnx_text("""g (float[1,2,4,4] x, float[1,2,4,4] z) => (float[1,4,4,4] y) <float[4,4,1,1] W> {
        c = Concat <axis = 1> (x, z)
        y = Conv (c, W)
    }""")
    samples = [{"x": np.full((1, 2, 4, 4), -1, np.float32), "z": np.full((1, 2, 4, 4), 3, np.float32)}]
    InsertQdq(method="minmax").run(_inferred(model), _context(model, samples))
    pairs = _pairs(model)
    assert pairs["x"].same_as(pairs["z"])
    assert pairs["x"].same_as(pairs["c"])
    np.testing.assert_allclose(pairs["x"].scale, 4 / 255, rtol=2.0**-16)


def test_options_override_the_target(rewrite: Rewrite, onnx_text: Text) -> None:
    done = rewrite(
        "insert-qdq{activation=int8 symmetric=true per_channel=false}",
        before="g (float[2,4] x) => (float[2,3] y) <float[4,3] W> { y = MatMul (x, W) }",
        after="""g (float[2,4] x) => (float[2,3] y)
            <float[4,3] W, float sx, int8 zx, float sw, int8 zw, float sy, int8 zy> {
            wq = QuantizeLinear (W, sw, zw)
            wd = DequantizeLinear (wq, sw, zw)
            xq = QuantizeLinear (x, sx, zx)
            xd = DequantizeLinear (xq, sx, zx)
            m = MatMul (xd, wd)
            yq = QuantizeLinear (m, sy, zy)
            y = DequantizeLinear (yq, sy, zy)
        }""",
        rtol=None,
        context=_context(
            onnx_text("g (float[2,4] x) => (float[2,3] y) <float[4,3] W> { y = MatMul (x, W) }"),
            _drawn(x=(2, 4)),
        ),
    )
    assert not any(q.zero_point.any() for q in _pairs(done.model).values())


def test_trained_ranges_win(rewrite: Rewrite) -> None:
    rewrite(
        "insert-qdq",
        before="""g (float[2,4] x) => (float[2,3] y)
            <float[4,3] W, float sx = {0.5}, uint8 zx = {3}, float sw = {0.25}, int8 zw = {0}> {
            xq = QuantizeLinear (x, sx, zx)
            xd = DequantizeLinear (xq, sx, zx)
            wq = QuantizeLinear (W, sw, zw)
            wd = DequantizeLinear (wq, sw, zw)
            m = MatMul (xd, wd)
            yq = QuantizeLinear (m, sx, zx)
            y = DequantizeLinear (yq, sx, zx)
        }""",
        after=None,
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0], (1.0, 0)),
        ([0.0, 5.1], (5.1 / 255, 0)),
        ([-2.55, 0.0], (0.01, 255)),
        ([2.0, 2.0], (2 / 255, 0)),
    ],
)
def test_degenerate_and_one_sided_ranges(
    values: list[float], expected: tuple[float, int], onnx_text: Text
) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { y = Sigmoid (x) }")
    InsertQdq().run(model, _context(model, [{"x": np.array(values, np.float32)}]))
    q = _pairs(model)["x"]
    np.testing.assert_allclose(q.scale, expected[0], rtol=1e-6)
    assert q.zero_point == expected[1]


def test_without_samples_the_message_says_what_to_do(onnx_text: Text) -> None:
    with pytest.raises(DataError, match="--data FOLDER"):
        InsertQdq().run(_inferred(onnx_text(CONV_RELU)), Context())


def test_a_weight_with_nan_is_named(onnx_text: Text) -> None:
    model = onnx_text(
        "g (float[2,2] x) => (float[2,2] y) <float[2,2] W = {1, 2, nan, 4}> { y = MatMul (x, W) }"
    )
    with pytest.raises(ModelError, match="constant 'W' holds NaN"):
        InsertQdq().run(model, _context(model, _drawn(x=(2, 2))))


def test_a_model_with_nothing_to_quantize_is_refused_with_reasons(onnx_text: Text) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { y = Sin (x) }")
    with pytest.raises(ModelError, match=r"no operator of the model .* Sin"):
        InsertQdq().run(model, _context(model, _drawn(x=(2,))))
