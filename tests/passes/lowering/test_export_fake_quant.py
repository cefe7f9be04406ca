"""export-fake-quant: the dialects by hand, and back to the same codes."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.passes.lowering.export_fake_quant import Dialect, ExportFakeQuant
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

MODEL = """g (float[2,3,8,8] x) => (float[2,4,8,8] y) <float s = {0.02}, uint8 z = {114},
    float lo = {-0.25}, float hi = {0.21875}, float t = {0.03125}, int8 tz = {0}, int8[4,3,1,1] W,
    float[4] wscale, int8[4] wz = {0, 0, 0, 0}, int32[4] b = {10, -20, 300, 70000}, float[4] bscale,
    int32[4] bz = {0, 0, 0, 0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
        w = DequantizeLinear <axis = 0> (W, wscale, wz) c = DequantizeLinear <axis = 0> (b, bscale, bz)
        v = Conv (d, w, c) k = Clip (v, lo, hi) r = QuantizeLinear (k, t, tz) y = DequantizeLinear (r, t, tz)
    }"""


def inputs(node: ir.Node) -> list[Array | None]:
    return [constant(value) for value in node.inputs]


def exported(model: ir.Model, dialect: Dialect) -> dict[str, ir.Node]:
    """The fake-quantizers by the names of their outputs."""
    done = ExportFakeQuant(dialect).run(model, Context())
    assert not ExportFakeQuant(dialect).run(done.model, Context()).modified
    return {node.outputs[0].name or "": node for node in all_nodes(done.model)}


def test_qonnx(onnx_text: Text) -> None:
    """Codes −8 … 7 behind the Clip are 4 bits; the Clip is gone."""
    nodes = exported(onnx_text(MODEL), Dialect.QONNX)
    assert sorted(node.op_type for node in nodes.values()) == ["Conv", "Quant", "Quant", "Quant", "Quant"]
    assert [float(a) for a in inputs(nodes["d"])[1:] if a is not None] == [np.float32(0.02), 114, 8]
    assert nodes["d"].attributes.get_int("signed", 1) == 0
    assert [float(a) for a in inputs(nodes["y"])[1:] if a is not None] == [0.03125, 0, 4]
    scale = inputs(nodes["w"])[1]
    assert scale is not None
    assert scale.shape == (4, 1, 1, 1)


def test_openvino(onnx_text: Text) -> None:
    nodes = exported(onnx_text(MODEL), Dialect.OPENVINO)
    kinds = ["Conv", "DequantizeLinear", "FakeQuantize", "FakeQuantize", "FakeQuantize"]
    assert sorted(node.op_type for node in nodes.values()) == kinds
    bounds = [-114 * 0.02, 141 * 0.02] * 2
    np.testing.assert_allclose([float(a) for a in inputs(nodes["d"])[1:] if a is not None], bounds, rtol=1e-6)
    assert nodes["d"].attributes.get_int("levels", 0) == 256
    assert nodes["y"].attributes.get_int("levels", 0) == 16
    assert nodes["w"].attributes.get_int("levels", 0) == 255


@pytest.mark.parametrize("dialect", Dialect)
def test_the_way_back_gives_the_same_codes(onnx_text: Text, dialect: Dialect) -> None:
    model = onnx_text(MODEL)
    was = {n.outputs[0].name: inputs(n)[0] for n in model.graph if n.op_type == "DequantizeLinear"}
    exported(model, dialect)
    model = ImportFakeQuant().run(model, Context()).model
    now = {n.outputs[0].name: inputs(n)[0] for n in model.graph if n.op_type == "DequantizeLinear"}
    for name in ("w", "c"):
        np.testing.assert_array_equal(now[name], was[name])
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    before, after = (Session(m, optimize=False).run({"x": x})["y"] for m in (onnx_text(MODEL), model))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "q = QuantizeLinear (x, s, z) m = Transpose <perm = [0,1,2]> (q) y = DequantizeLinear (m, s, z)",
            "codes",
        ),
        ("q = QuantizeLinear (x, t, z) y = DequantizeLinear (q, s, z)", "other parameters"),
        (
            "m = ReduceMax <keepdims = 0> (x) q = QuantizeLinear (x, m, z) y = DequantizeLinear (q, m, z)",
            "constant",
        ),
    ],
)
def test_what_qonnx_cannot_say_stays(onnx_text: Text, body: str, reason: str) -> None:
    head = "g (float[1,2,8] x) => (float[1,2,8] y) <float s = {0.1}, float t = {0.2}, uint8 z = {0}>"
    model = onnx_text(f"{head} {{ {body} }}")
    done = ExportFakeQuant().run(model, Context())
    assert not done.modified
    assert reason in done.skips[0].reason
