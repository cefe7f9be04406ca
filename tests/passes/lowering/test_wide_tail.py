"""Box decoding in 16 bits, lowered for every dialect; narrow-activations for the one that has no words."""

from collections.abc import Callable, Mapping
from warnings import catch_warnings, simplefilter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

import onnxq
from onnxq.data.codes import convert, read_codes
from onnxq.evaluate.integer_only import float_tensors
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.narrow_activations import NarrowActivations
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.qdq import dequantized, qparams_of
from onnxq.quant.qparams import QParams
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

SIDE = 320
STEP = SIDE / 16

DECODER = f"""g (float[1,2,4,4] x) => (float[1,2,4,8] y)
    <float[4,2,1,1] W, float[4] bias = {{1.0, -1.0, 0.0, 0.0}}, float step = {{{STEP}}},
     float[1,2,4,4] anchor = {{{", ".join(str(SIDE * i / 32) for i in range(32))}}},
     float[1,2,1,1] size = {{{STEP}, {2 * STEP}}}> {{
    h = Conv (x, W, bias)
    p, q = Split <axis = 1, num_outputs = 2> (h)
    c1 = Mul (p, step)
    center = Add (c1, anchor)
    s1 = Exp (q)
    extent = Mul (s1, size)
    y = Concat <axis = 3> (center, extent)
}}"""


@pytest.fixture
def samples() -> list[Mapping[str, Array]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.uniform(-0.5, 0.5, (1, 2, 4, 4)).astype(np.float32)} for _ in range(12)]


def _lowered(qdq: ir.Model, preset: str) -> onnx.ModelProto:
    return ir.to_proto(run_pipeline(qdq.clone(), parse(preset), Context()).model)


def _boxes(strict: onnx.ModelProto, sample: Mapping[str, Array]) -> tuple[Array, Array]:
    """Codes of the integer model and what they mean; ONNX Runtime and onnx.reference agree on them."""
    session = Session(strict, optimize=False, threads=1)
    (port,) = session.inputs
    codes = convert(sample["x"], port.dtype, read_codes(session.metadata, "x"), "x")
    (made,) = session.run({"x": codes}).values()
    (again,) = ReferenceEvaluator(strict).run(None, {"x": codes})
    np.testing.assert_array_equal(made, again, strict=True)
    scale, zero_point = float(session.metadata["onnxq.scale.y"]), int(session.metadata["onnxq.zero_point.y"])
    return made, (made.astype(np.float64) - zero_point) * scale


@pytest.mark.parametrize("preset", ["lower", "lower-portable"])
def test_boxes_come_out_as_in_the_qdq_graph(
    preset: str, samples: list[Mapping[str, Array]], onnx_text: Text
) -> None:
    qdq = onnxq.quantize(onnx_text(DECODER), samples, target="integer", form="qdq", proof=0).model
    strict = _lowered(qdq, preset)
    assert float_tensors(ir.from_proto(strict)) == []
    assert [i.version for i in strict.opset_import] == [21 if preset == "lower" else 19]
    for sample in samples[:4]:
        codes, boxes = _boxes(strict, sample)
        (real,) = Session(ir.to_proto(qdq), optimize=False, threads=1).run(dict(sample)).values()
        assert codes.dtype == np.uint16
        off = np.abs(boxes - real) / (SIDE / 2**16)
        assert np.mean(off < 0.5) > 0.95, "float32 leaves codes of 16 bits a few bits"
        assert off.max() < 2.5


def test_16_bits_bring_boxes_within_a_pixel(samples: list[Mapping[str, Array]], onnx_text: Text) -> None:
    model = onnx_text(DECODER)
    float_session = Session(ir.to_proto(model), optimize=False, threads=1)
    worst = {}
    for options in ("", "wide_tail=false"):
        strict = onnxq.quantize(model, samples, target="integer", options=options, proof=0).model
        proto = ir.to_proto(strict)
        assert [i.version for i in proto.opset_import] == [19], "the integer form needs no newer one"
        found = [(_boxes(proto, s)[1], next(iter(float_session.run(dict(s)).values()))) for s in samples]
        worst[options] = max(float(np.abs(boxes - real).max()) for boxes, real in found)
    assert worst[""] < 0.5 < 1 < worst["wide_tail=false"]


def test_32_bits_take_8_and_say_so(samples: list[Mapping[str, Array]], onnx_text: Text) -> None:
    qdq = onnxq.quantize(onnx_text(DECODER), samples, target="integer", form="qdq", proof=0).model
    with pytest.warns(UserWarning, match=r"narrow-activations gives \d+ values 8 bits in place of 16"):
        strict = _lowered(qdq, "lower-int32")
    assert float_tensors(ir.from_proto(strict)) == []
    with catch_warnings():
        simplefilter("ignore")
        narrow = NarrowActivations().run(qdq.clone(), Context()).model
    for sample in samples[:4]:
        codes, boxes = _boxes(strict, sample)
        (real,) = Session(ir.to_proto(narrow), optimize=False, threads=1).run(dict(sample)).values()
        assert codes.dtype == np.int8 or codes.dtype == np.uint8
        assert np.abs(boxes - real).max() < 1.5 * SIDE / 2**8


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "wanted"),
    [
        ("uint16", 0.5, 0, (128.0, "uint8", 0)),
        ("uint16", 0.3, 257 * 17 + 100, (77.1, "uint8", 17)),
        ("int16", 0.3, 0, (77.1, "int8", 0)),
        ("int16", 0.3, -32768, (77.1, "int8", -128)),
    ],
)
def test_the_range_stays(
    dtype: str, scale: float, zero: int, wanted: tuple[float, str, int], onnx_text: Text
) -> None:
    model = onnx_text(f"""g (float[3] x) => (float[3] y) <float s = {{{scale}}}, {dtype} z = {{{zero}}}> {{
        c = QuantizeLinear (x, s, z)
        d = DequantizeLinear (c, s, z)
        y = Exp (d)
    }}""")
    with pytest.warns(UserWarning, match="such as 'c'"):
        made = NarrowActivations().run(model, Context())
    assert made.edits > 0
    for node in list(made.model.graph)[:2]:
        found = qparams_of(node)
        assert found is not None
        assert float(found.scale) == pytest.approx(wanted[0], rel=1e-6)
        assert (str(found.format), int(found.zero_point)) == wanted[1:]
    onnx.checker.check_model(ir.to_proto(made.model), full_check=True)


def test_the_bias_of_a_linear_operator_follows(onnx_text: Text) -> None:
    """Two MatMuls share the codes of a bias, of which one reads 8 bits already."""
    model = onnx_text("""g (float[2,3] x) => (float[2,3] y, float[2,3] u) <float s = {0.3}, uint16 z = {257},
        float s8 = {77.1}, uint8 z8 = {1}, float one = {1.0}, float bs = {0.3}, int32 b0 = {0},
        int8[3,3] W = {1,2,3,4,5,6,7,8,9}, int32[3] B = {-2570,0,1300}> {
        c = QuantizeLinear (x, s, z)
        d = DequantizeLinear (c, s, z)
        w = DequantizeLinear (W, one)
        b = DequantizeLinear (B, bs, b0)
        m = MatMul (d, w)
        y = Add (b, m)
        c8 = QuantizeLinear (x, s8, z8)
        d8 = DequantizeLinear (c8, s8, z8)
        m8 = MatMul (d8, w)
        u = Add (m8, b)
    }""")
    with pytest.warns(UserWarning, match="1 value 8 bits in place of 16, such as 'c'"):
        made = NarrowActivations().run(model, Context()).model
    adds = {node.outputs[0].name: node for node in made.graph if node.op_type == "Add"}
    assert [(round(float(q.scale), 4), list(codes)) for q, codes in map(_bias, (adds["y"], adds["u"]))] == [
        (77.1, [-10, 0, 5]),
        (0.3, [-2570, 0, 1300]),
    ]
    x = np.array([[-100, 0, 30000], [7, 8, 9]], np.float32)
    y, u = Session(ir.to_proto(made), optimize=False, threads=1).run({"x": x}).values()
    assert np.abs(y - u).max() <= 0.5 * 77.1, "half a step of the bias"


def _bias(add: ir.Node) -> tuple[QParams, Array]:
    (pair,) = (p for v in add.inputs if (p := dequantized(v)) is not None)
    codes = constant(pair[0].inputs[0])
    assert codes is not None
    return pair[1], codes
