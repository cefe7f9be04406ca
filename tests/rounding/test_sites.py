"""Which layers are found, in which order, on which grid, and what the float twin is."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.numeric import IntArray
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.quant.formats import IntFormat
from onnxq.quant.qparams import QParams
from onnxq.rounding.sites import Site, depths, find_site, levels, linear_nodes
from onnxq.rounding.skips import find_skip
from onnxq.rounding.steps import steps_of
from onnxq.rounding.twin import float_twin
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

BLOCK = """g (float[2,4] x) => (float[2,4] y)
    <float[4,4] A, float[4,4] B, float[4,4] C, float s = {0.05}, int8 z = {0}> {
    xq = QuantizeLinear (x, s, z)
    xd = DequantizeLinear (xq, s, z)
    aq = QuantizeLinear (A, s, z)
    ad = DequantizeLinear (aq, s, z)
    bq = QuantizeLinear (B, s, z)
    bd = DequantizeLinear (bq, s, z)
    cq = QuantizeLinear (C, s, z)
    cd = DequantizeLinear (cq, s, z)
    a = MatMul (xd, ad)
    b = MatMul (xd, bd)
    r = Relu (a)
    c = MatMul (r, cd)
    t = Add (b, c)
    tq = QuantizeLinear (t, s, z)
    y = DequantizeLinear (tq, s, z)
}"""


def _sites(model: ir.Model) -> list[Site]:
    found = [find_site(node, model) for node in linear_nodes(model)]
    return [site for site in found if isinstance(site, Site)]


def test_layers_that_do_not_depend_on_each_other_are_one_level(onnx_text: Text) -> None:
    model = onnx_text(BLOCK)
    sites = _sites(model)
    grouped = levels(sites, depths(model, sites))
    assert [[site.name for site in group] for group in grouped] == [["a", "b"], ["c"]]


def test_the_last_layer_of_a_block_sees_what_is_added_to_it(onnx_text: Text) -> None:
    """Not so layer b: what is added to it is made by layers that are rounded later."""
    model = InferShapes().run(onnx_text(BLOCK), Context()).model
    sites = _sites(model)
    depth = depths(model, sites)
    places = {site.name: find_skip(site, depth) for site in sites}
    assert places["a"] is places["b"] is None
    assert places["c"] is not None
    assert places["c"][1] == 0


def test_the_twin_is_the_model_without_its_pairs(onnx_text: Text) -> None:
    model = onnx_text(BLOCK)
    plain = onnx_text("""g (float[2,4] x) => (float[2,4] y) <float[4,4] A, float[4,4] B, float[4,4] C> {
        a = MatMul (x, A)
        b = MatMul (x, B)
        r = Relu (a)
        c = MatMul (r, C)
        y = Add (b, c)
    }""")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    twin = float_twin(model)
    made, expected = (Session(m).run({"x": x})["y"] for m in (twin.model, plain))
    np.testing.assert_array_equal(made, expected)
    assert [node.op_type for node in twin.model.graph] == ["MatMul", "MatMul", "Relu", "MatMul", "Add"]
    assert all(twin.nodes[site.node].op_type == "MatMul" for site in _sites(model))


@pytest.mark.parametrize(
    ("codes", "signed", "bits", "expected"),
    [
        ([-7, 3], True, None, (-7, 7)),
        ([-8, 7], True, None, (-8, 7)),
        ([-3, 4], True, None, (-7, 7)),
        ([-127, 90], True, None, (-127, 127)),
        ([-1, 0], True, None, (-1, 1)),
        ([-127, 90], True, 4, (-7, 7)),
        ([0, 15], False, None, (0, 15)),
        ([0, 15], False, 2, (0, 3)),
    ],
)
def test_the_bits_of_a_grid_follow_from_its_codes(
    codes: IntArray, signed: bool, bits: int | None, expected: tuple[int, int], onnx_text: Text
) -> None:
    site = _sites(onnx_text(BLOCK))[0]
    fmt = IntFormat(8, signed=signed)
    qparams = QParams(np.asarray(0.5, np.float32), np.zeros((), fmt.dtype), fmt)
    weight = np.resize(np.array(codes, np.float32) * 0.5, (4, 4))
    steps = steps_of(Site(site.node, site.quantize, weight, qparams), bits)
    assert (steps.low.min(), steps.high.max()) == expected
