"""A model in pieces computes what ONNX Runtime computes of the whole, rounded or not, anew or from a base."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.errors import ModelError
from onnxq.evaluate.piecewise import Piecewise, Rounding, Setting
from onnxq.graph.numeric import Array
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.quant.formats import INT8, UINT8, UINT16, IntFormat
from onnxq.quant.qparams import qparams_from_range
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

BRANCHES = """g (float[N,3,6,6] x, bool flag) => (float[N,4,6,6] y, float[N,4,1,1] p)
    <float[4,3,3,3] W, float[4,4,1,1] V> {
    c = Conv <pads = [1,1,1,1]> (x, W)
    r = Relu (c)
    s = Sigmoid (c)
    m = Mul (r, s)
    d = Conv (m, V)
    i = If (flag) <
        then_branch = yes () => (float[N,4,6,6] t) { t = Add (d, r) },
        else_branch = no () => (float[N,4,6,6] e) { e = Sub (d, r) }
    >
    y = Add (i, m)
    p = GlobalAveragePool (r)
}"""
X = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
FEEDS: dict[str, Array] = {"x": X, "flag": np.array(True)}
CUTS = {"c", "r", "s", "m", "d", "i"}


@pytest.fixture
def model(onnx_text: Text) -> ir.Model:
    return InferShapes().run(onnx_text(BRANCHES), Context()).model


def test_the_pieces_are_the_model_whatever_the_branch(model: ir.Model) -> None:
    runner = Piecewise(model, CUTS)
    assert len(runner.pieces) > len(CUTS)
    for flag in (True, False):
        feeds = {**FEEDS, "flag": np.array(flag)}
        whole, pieces = Session(model).run(feeds), runner.run(feeds, Setting()).outputs
        for name in ("y", "p"):
            np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-5, atol=1e-5)


def test_a_run_from_a_base_is_the_run_from_scratch(model: ir.Model) -> None:
    runner = Piecewise(model, CUTS)
    rounding = Rounding(qparams_from_range(-2.0, 3.0, UINT8))
    known = CUTS | {"W", "V", "x"}
    keys = [(piece.index, name) for piece in runner.pieces for name in piece.readers if name in known]
    rng = np.random.default_rng(1)
    for _ in range(25):
        base, wanted = (
            Setting({key: rounding for key in keys if rng.random() < 0.5}, {"y": rounding}) for _ in range(2)
        )
        scratch = runner.run(FEEDS, wanted)
        again = runner.run(FEEDS, wanted, runner.run(FEEDS, base))
        for name, array in scratch.outputs.items():
            np.testing.assert_array_equal(again.outputs[name], array)


@pytest.mark.parametrize("fmt", [UINT8, INT8, UINT16], ids=str)
def test_rounding_is_that_of_the_operators(onnx_text: Text, fmt: IntFormat) -> None:
    qparams = qparams_from_range(-1.5, 2.5, fmt)
    pair = onnx_text(f"""g (float[N] x) => (float[N] y)
        <float s = {{{float(qparams.scale):.9g}}}, {fmt} z = {{{int(qparams.zero_point)}}}> {{
        c = QuantizeLinear (x, s, z)
        y = DequantizeLinear (c, s, z)
    }}""")
    x = np.linspace(-3, 3, 1001, dtype=np.float32)
    np.testing.assert_array_equal(Rounding(qparams)(x), Session(pair, optimize=False).run({"x": x})["y"])


def test_a_model_without_types_says_what_to_do(onnx_text: Text) -> None:
    runner = Piecewise(onnx_text(BRANCHES), CUTS)
    with pytest.raises(ModelError, match=r"the type of 'c' is None: run the prepare preset first"):
        runner.run(FEEDS, Setting())
