"""correct-bias: a shift that is known is found, one that does not help is left out."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnxq.api import load_samples
from onnxq.graph.match import constant
from onnxq.graph.numeric import FloatArray
from onnxq.passes.rounding.correct_bias import CorrectBias
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

GEMM = """g (float[8,2] x) => (float[8,3] y)
    <float[2,3] W = {1.3, 0.4, -0.4, 1.4, 1.0, 0.2}, float[3] b = {1.0, 2.0, 3.0},
     float sx = {0.5}, int8 zx = {0}, float sw = {1.0}, int8 zw = {0}> {
    xq = QuantizeLinear (x, sx, zx)
    xd = DequantizeLinear (xq, sx, zx)
    wq = QuantizeLinear (W, sw, zw)
    wd = DequantizeLinear (wq, sw, zw)
    y = Gemm (xd, wd, b)
}"""


def _context(model: ir.Model, rows: Sequence[FloatArray]) -> Context:
    return Context(samples=load_samples(model, [{"x": r.astype(np.float32)} for r in rows]))


def _rows(low: float, high: float, count: int = 8) -> list[FloatArray]:
    """Multiples of the input's step, so that the input itself is exact."""
    rng = np.random.default_rng(0)
    return [np.round(rng.uniform(low, high, (8, 2)) * 2) / 2 for _ in range(count)]


def _bias(model: ir.Model) -> FloatArray:
    found = constant(next(node for node in model.graph if node.op_type in ("Gemm", "Conv")).inputs[2])
    assert found is not None
    return found


def test_the_shift_of_rounded_weights_is_recovered_exactly(rewrite: Rewrite, onnx_text: Text) -> None:
    """Δb = (W − Ŵ)ᵀ · mean x over the six samples that are learned from."""
    rows = _rows(3, 5)
    context = _context(onnx_text(GEMM), rows)
    made = rewrite("correct-bias", before=GEMM, after=GEMM, rtol=None, context=context).model
    lost = np.array([[0.3, 0.4, -0.4], [0.4, 0.0, 0.2]])
    mean = np.mean([r for i, r in enumerate(rows) if i % 4 != 3], axis=(0, 1))
    np.testing.assert_allclose(_bias(made), [1, 2, 3] + mean @ lost, rtol=1e-6)


def test_a_shift_unlike_that_of_the_held_back_samples_is_left_out(rewrite: Rewrite, onnx_text: Text) -> None:
    rows = [-r if i % 4 == 3 else r for i, r in enumerate(_rows(3, 5))]
    rewrite("correct-bias", before=GEMM, after=None, rtol=None, context=_context(onnx_text(GEMM), rows))


def test_a_conv_without_bias_gets_one(onnx_text: Text) -> None:
    model = onnx_text("""g (float[1,2,4,4] x) => (float[1,1,4,4] y)
        <float[1,2,1,1] W = {0.6, 0.8}, float s = {1.0}, int8 z = {0}> {
        wq = QuantizeLinear (W, s, z)
        wd = DequantizeLinear (wq, s, z)
        y = Conv (x, wd)
    }""")
    rows = [np.random.default_rng(i).uniform(1, 2, (1, 2, 4, 4)) for i in range(8)]
    done = CorrectBias().run(model, _context(model, rows))
    mean = np.mean([r for i, r in enumerate(rows) if i % 4 != 3], axis=(0, 1, 3, 4))
    assert done.edits == 1
    np.testing.assert_allclose(_bias(done.model), [mean @ [-0.4, -0.2]], rtol=1e-5)


def test_the_add_behind_a_matmul_is_its_bias(onnx_text: Text) -> None:
    model = onnx_text("""g (float[8,2] x) => (float[8,1] y) <float[2,1] W = {0.6, 0.8}, float[1] b = {5.0},
         float s = {1.0}, int8 z = {0}> {
        wq = QuantizeLinear (W, s, z)
        wd = DequantizeLinear (wq, s, z)
        m = MatMul (x, wd)
        y = Add (b, m)
    }""")
    rows = _rows(1, 2)
    done = CorrectBias().run(model, _context(model, rows))
    mean = np.mean([r for i, r in enumerate(rows) if i % 4 != 3], axis=(0, 1))
    bias = constant(next(node for node in done.model.graph if node.op_type == "Add").inputs[0])
    assert bias is not None
    np.testing.assert_allclose(bias, [5 + mean @ [-0.4, -0.2]], rtol=1e-5)


def test_it_runs_once(onnx_text: Text) -> None:
    model = onnx_text(GEMM)
    context = _context(model, _rows(3, 5))
    again = CorrectBias().run(CorrectBias().run(model, context).model, context)
    assert again.edits == 0
    assert "correct-bias has changed" in again.skips[0].reason
