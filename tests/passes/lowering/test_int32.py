"""The int32 dialect: norms, quotients and logarithms give the exact codes too; what it cannot do it says.

With numbers below 2^24, float32 computes the same.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnxq.errors import CheckError
from onnxq.evaluate.intervals.analysis import analyze
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Term, fixed_point
from onnxq.quant.small_fixed_point import small_fixed_point
from onnxq.runtime import Session

from .fake_quantizer import Scheme, shape_of
from .test_transformers import CASES as OF_ALL_DIALECTS

Text = Callable[..., ir.Model]
Lower = Callable[..., onnx.ModelProto]

INT32 = LowerInteger(dialect=Dialect.INT32)
INT24 = LowerInteger(dialect=Dialect.INT32, max_accumulator_bits=24)
NARROW = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}

SHARED = (
    "quotient, both signs",
    "quotient, broadcast",
    "quotient, positive",
    "log softmax",
    "log softmax, another axis",
    "length",
    "normalized length",
)
CASES = {name: OF_ALL_DIALECTS[name] for name in SHARED} | {
    "layer norm": "g (float[3,7] x) => (float[3,7] y) <float[7] G, float[7] B> {"
    " y = LayerNormalization (x, G, B) }",
    "layer norm over two axes": "g (float[3,2,5] x) => (float[3,2,5] y) <float[2,5] G> {"
    " y = LayerNormalization <axis = 1> (x, G) }",
    "RMS norm": "g (float[4,12] x) => (float[4,12] y) <float[12] G> { y = RMSNormalization (x, G) }",
    "instance norm": "g (float[2,3,4,4] x) => (float[2,3,4,4] y) <float[3] G, float[3] B> {"
    " y = InstanceNormalization (x, G, B) }",
    "product": "g (float[2,3,4] a, float[3,1] b) => (float[2,3,4] y) { y = Mul (a, b) }",
    "softmax": "g (float[4,9] x) => (float[4,9] y) { y = Softmax <axis = -1> (x) }",
    "means of several samples": "g (float[3,5,8] x) => (float[3,1,8] y) { y = ReduceMean <axes = [1]> (x) }",
    "convolution of one axis": """g (float[2,4,9] x) => (float[2,6,5] y) <float[6,2,3] W, float[6] B> {
        y = Conv <group = 2, strides = [2], pads = [0,2]> (x, W, B)
    }""",
    "attention": """g (float[1,5,8] x) => (float[1,5,8] y) <float[8,8] Q, float[8,8] K, float[8,8] V> {
        q = MatMul (x, Q)
        k = MatMul (x, K)
        v = MatMul (x, V)
        t = Transpose <perm = [0,2,1]> (k)
        s = MatMul (q, t)
        p = Softmax <axis = -1> (s)
        y = MatMul (p, v)
    }""",
}

OPSETS = {"RMS norm": 23, "means of several samples": 17}


def _require_narrow(model: onnx.ModelProto) -> None:
    """No word of the graph is wider than 32 bits, or unsigned above 8."""
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    computed = {kinds[output] for node in model.graph.node for output in node.output}
    assert computed <= NARROW


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_operators_give_the_exact_codes(lower: Lower, case: str, dtype: str, seed: int) -> None:
    opset = OPSETS.get(case)
    _require_narrow(lower(CASES[case], seed=seed, opset=opset, scheme=Scheme(dtype=dtype), lowering=INT32))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_operators_of_24_bits(lower: Lower, case: str, seed: int) -> None:
    opset = OPSETS.get(case)
    strict = lower(CASES[case], seed=seed, opset=opset, lowering=INT24)
    _require_narrow(strict)
    _require_exact_in_float32(strict, seed)


def test_sums_of_several_samples_are_read_twice(lower: Lower) -> None:
    """OpenVINO fuses them with what follows otherwise, wrongly."""
    case = "means of several samples"
    strict = lower(CASES[case], opset=OPSETS[case], lowering=INT24)
    (total,) = (node.output[0] for node in strict.graph.node if node.op_type == "ReduceSum")
    assert [node.op_type for node in strict.graph.node if total in node.input] == ["Mod", "Sub"]


def _require_exact_in_float32(strict: onnx.ModelProto, seed: int) -> None:
    """Computed in float32, quotients not even truncated, the codes are the same."""
    rng = np.random.default_rng(seed)
    feeds = {port.name: rng.integers(0, 256, shape_of(port)).astype(np.uint8) for port in strict.graph.input}
    expected = ReferenceEvaluator(strict).run(None, feeds)
    for a, b in zip(ReferenceEvaluator(_in_float32(strict)).run(None, feeds), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def _in_float32(strict: onnx.ModelProto) -> onnx.ModelProto:
    """The same nodes with float32 in place of int32; onnx.reference does not mind."""
    made = onnx.ModelProto()
    made.CopyFrom(strict)
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    del made.graph.value_info[:], made.graph.node[:]
    for array in made.graph.initializer:
        if array.data_type == whole:
            numbers = onnx.numpy_helper.to_array(array).astype(np.float32)
            array.CopyFrom(onnx.numpy_helper.from_array(numbers, array.name))
    for node in strict.graph.node:
        node = onnx.NodeProto.FromString(node.SerializeToString())
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == whole:
                attribute.i = real
        if node.op_type == "Gather":
            index = f"{node.output[0]}_index"
            made.graph.node.append(onnx.helper.make_node("Cast", [node.input[1]], [index], to=whole))
            node.input[1] = index
        made.graph.node.append(node)
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            (name,) = node.output
            node = made.graph.node[-1]
            node.output[0] = f"{name}_whole"
            made.graph.node.append(onnx.helper.make_node("Cast", node.output, [name], to=real))
    return made


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("layer norm", "reciprocal roots"),
        ("quotient, positive", "quotients"),
        ("log softmax", "logarithms"),
        ("length", "roots"),
    ],
)
def test_fewer_than_24_bits_are_refused(lower: Lower, case: str, what: str) -> None:
    with pytest.raises(CheckError, match=f"needs {what} of 24 bits and max_accumulator_bits=20 leaves 20"):
        lower(CASES[case], lowering=LowerInteger(dialect=Dialect.INT32, max_accumulator_bits=20))


NORM = """
    g (float[9,LENGTH] x) => (float[9,LENGTH] y)
      <float s = {SCALE}, uint8 z = {17}, float t = {0.04}, uint8 u = {128},
       float[LENGTH] gamma, float[LENGTH] beta> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        n = LayerNormalization <epsilon = EPSILON> (d, gamma, beta)
        r = QuantizeLinear (n, t, u)
        y = DequantizeLinear (r, t, u)
    }"""


SHORT_ROWS = [(24, length) for length in (2, 64, 384, 4096)]


def _norm(onnx_text: Text, length: int, scale: float, epsilon: float = 0.00001) -> ir.Model:
    text = NORM.replace("LENGTH", str(length)).replace("SCALE", str(scale))
    return onnx_text(text.replace("EPSILON", f"{epsilon:.12f}"))


def _rows(length: int) -> Array:
    """Uniform, constant, almost constant, one outlier, two values, and small spreads."""
    rng = np.random.default_rng(length)
    rows = rng.integers(0, 256, (9, length))
    rows[1], rows[2], rows[3], rows[4], rows[8] = 200, 17, 0, np.arange(length) % 2 * 255, 255
    rows[2, 0], rows[3, -1], rows[8, 0] = 18, 255, 254
    rows[5:8] = rng.integers(100, [[102], [110], [130]], (3, length))
    return rows.astype(np.uint8)


@pytest.mark.parametrize(("bits", "length"), [(31, n) for n in (2, 3, 64, 768, 4096, 16000)] + SHORT_ROWS)
@pytest.mark.parametrize("scale", [0.0005, 0.05, 4.0])
def test_norms_of_long_and_flat_rows(onnx_text: Text, bits: int, length: int, scale: float) -> None:
    codes = _rows(length)
    real = (codes.astype(np.float32) - 17) * np.float32(scale)
    model = _norm(onnx_text, length, scale)
    expected = Session(model.clone(), optimize=False, extra_outputs=["r"]).run({"x": real})["r"]
    strict = LowerInteger(dialect=Dialect.INT32, max_accumulator_bits=bits).run(model, Context()).model
    analysis = analyze(strict)
    assert [str(f) for f in (*analysis.violations, *analysis.open)] == []
    taps = [output.name or "" for node in strict.graph for output in node.outputs]
    found = Session(strict, optimize=False, extra_outputs=taps).run({"x": codes})
    assert max(int(np.abs(array.astype(np.int64)).max()) for array in found.values()) <= 2**bits
    apart = np.abs(found["y"].astype(int) - expected)
    assert apart.max() <= 1
    assert (apart == 0).mean() >= (0.995 if bits == 31 else 0.99)


@pytest.mark.parametrize(
    ("lowering", "length", "what"), [(INT32, 20000, "30 bits"), (INT24, 5000, "two words of 24 bits")]
)
def test_a_norm_of_too_many_elements_is_refused(
    onnx_text: Text, lowering: LowerInteger, length: int, what: str
) -> None:
    with pytest.raises(CheckError, match=f"sums of {length} squares need more than {what}"):
        lowering.run(_norm(onnx_text, length, 0.05), Context())


@pytest.mark.parametrize("lowering", [INT32, INT24])
def test_nothing_divides_by_zero(onnx_text: Text, lowering: LowerInteger) -> None:
    model = onnx_text("""g (float[5] x, uint8[5] b) => (float[5] y)
        <float s = {0.05}, uint8 z = {128}, float t = {0.0371}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        e = DequantizeLinear (b, s, z)
        f = Div (d, e)
        r = QuantizeLinear (f, t, z)
        y = DequantizeLinear (r, t, z)
    }""")
    strict = lowering.run(model, Context()).model
    feeds = {"x": np.asarray([100, 128, 150, 127, 129], np.uint8), "b": np.full(5, 128, np.uint8)}
    assert Session(strict, optimize=False).run(feeds)["y"].tolist() == [0, 128, 255, 0, 255]


@settings(max_examples=200)
@given(
    span=st.floats(6, 22),
    bits=st.sampled_from([24, 31]),
    zero=st.integers(0, 255),
    seed=st.integers(0, 2**16),
)
def test_multipliers_in_two_halves_are_as_good_as_long_ones(
    span: float, bits: int, zero: int, seed: int
) -> None:
    """Against rational arithmetic: off by less than 2^-11 of a code, or 2^-6 with numbers below 2^24."""
    rng = np.random.default_rng(seed)
    real = rng.uniform(0.25, 1, 8) * 2.0 ** (8 - span) * rng.choice([-1, 1], 8)
    reach = np.full(8, 1 << min(int(span) + 2, bits - 1), np.int64)
    small = small_fixed_point(fixed_point([Term(real, -reach, reach)], zero, 0, 255), "", bits)
    q = rng.integers(-reach, reach + 1, (500, 8))
    t = q if small.least is None or small.most is None else np.clip(q, small.least, small.most)
    t = t if small.origin is None else t - small.origin
    t = t if small.divisor is None else t // small.divisor
    total = t * small.multipliers[0]
    total = total if small.rest is None else total + ((t * small.rest) >> small.split)
    code = np.ldexp((total + small.addend).astype(np.float64), -small.shift) - small.window
    exact = np.clip(q * real + zero, 0.375, 254.625)
    assert np.abs(np.clip(code, 0.375, 254.625) - exact).max() < (2.0**-11 if bits == 31 else 2.0**-6)
