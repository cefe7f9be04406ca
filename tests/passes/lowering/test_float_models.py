"""From a float model of one operator to strict integers, as a user asks for them; any batch at run time."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import ShapeInferencePass

from onnxq import api
from onnxq.errors import CheckError
from onnxq.evaluate.certificate import certify
from onnxq.graph.numeric import Array
from onnxq.passes.lowering._einsum import read_equation
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

QUANTIZE = "prepare, expand-for-target, insert-qdq{OPTIONS}, fold-fake-quant{bias=float32}"
PIPELINES = {"fast": "lower", "portable": "lower-portable", "int32": "lower-int32", "int16": "lower"}

X, IMAGE = "float[N,3,4] x", "float[N,3,5,6] x"
LEVELS = "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"

CASES = {
    "average, padding does not count": (
        4,
        f"({IMAGE})",
        "y = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,0,1,1]> (x)",
    ),
    "average, ceil": (
        4,
        f"({IMAGE})",
        "y = AveragePool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)",
    ),
    "average, same": (
        4,
        f"({IMAGE})",
        'y = AveragePool <kernel_shape = [3,2], strides = [2,2], auto_pad = "SAME_LOWER"> (x)',
    ),
    "maximum, same": (
        4,
        f"({IMAGE})",
        'a = Neg (x) y = MaxPool <kernel_shape = [3,3], strides = [2,2], auto_pad = "SAME_LOWER"> (a)',
    ),
    "maximum, ceil": (
        4,
        f"({IMAGE})",
        "a = Neg (x) y = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (a)",
    ),
    **{
        f"doubled, {mode}": (
            4,
            f"({IMAGE}) <float[4] s = {{1.0, 1.0, 2.0, 3.0}}>",
            f'y = Resize <mode = "linear", coordinate_transformation_mode = "{mode}"> (x, , s)',
        )
        for mode in LEVELS
    },
    "doubled, axes": (
        4,
        f"({IMAGE}) <float[2] s = {{2.0, 1.5}}>",
        'y = Resize <mode = "linear", axes = [3, 2]> (x, , s)',
    ),
    "doubled, three axes": (
        5,
        "(float[N,2,3,2,4] x) <float[5] s = {1.0, 1.0, 2.0, 2.0, 2.0}>",
        'y = Resize <mode = "linear"> (x, , s)',
    ),
    "as large as another": (
        4,
        f"({IMAGE}, float[N,3,7,9] b) <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] four = {{4}}>",
        """sb = Shape (b) hw = Slice (sb, two, four, zero) sx = Shape (x) nc = Slice (sx, zero, two, zero)
        n = Concat <axis = 0> (nc, hw) r = Resize <mode = "linear"> (x, , , n) y = Add (r, b)""",
    ),
    "sum of three": (3, f"({X}, float[N,1,4] b, float[4] c)", "y = Sum (x, b, c)"),
    "mean of three": (3, f"({X}, float[N,1,4] b) <float[4] W>", "y = Mean (x, b, W)"),
    "a constant of more axes": (4, f"({X}) <float[1,1,1,1] W>", "y = Mul (x, W)"),
    "a uniform constant of longer axes": (
        3,
        "(float[N,3,1] x) <float[1,1,4] W = {2, 2, 2, 2}>",
        "y = Add (x, W)",
    ),
    "a uniform bias of more axes": (
        3,
        "(float[N,4] x) <float[4,3] A, float[1,1,3] W = {2, 2, 2}>",
        "a = MatMul (x, A) y = Add (a, W)",
    ),
    "group norm": (
        3,
        "(float[N,4,5] x) <float[4] scale, float[4] b>",
        "y = GroupNormalization <num_groups = 2> (x, scale, b)",
    ),
    "sums of powers": (
        3,
        f"({X}) <int64[1] i = {{1}}>",
        "a = ReduceL1 (x, i) b = ReduceSumSquare (x, i) y = Concat <axis = 1> (a, b)",
    ),
    "mask of integers": (
        3,
        f"({X}, int64[N,4] m) <int64[1] i = {{1}}, float one = {{1.0}}, float low = {{-10000.0}}>",
        """u = Unsqueeze (m, i) c = Cast <to = 1> (u) d = Sub (one, c) e = Mul (d, low) n = Neg (x)
        f = Add (n, e)
        y = Softmax <axis = -1> (f)""",
    ),
    "comparison of inputs": (3, f"({X}, {X.replace('x', 'b')})", "c = Less (x, b) y = Where (c, x, b)"),
    "comparison with a number": (
        3,
        f"({X}) <float limit = {{0.2}}, float low = {{-1.0}}>",
        "c = Greater (x, limit) y = Where (c, x, low)",
    ),
    "padding with a number": (
        3,
        f"({X}) <int64[6] p = {{0,1,0,0,0,2}}, float number = {{0.371}}>",
        "a = Pad (x, p, number) y = Relu (a)",
    ),
    "chosen by indices": (
        3,
        "(float[2,3,4] x) <int64[2,2,4] i, int64[2,1] k = {0, 2}>",
        """n = Neg (x) a = GatherElements <axis = 1> (n, i) b = GatherND <batch_dims = 1> (n, k)
        y = Add (a, b)""",
    ),
    "inverse functions": (3, f"({X})", "a = Tanh (x) b = Asin (a) c = Atan (x) d = Asinh (c) y = Add (b, d)"),
}
EQUATIONS = {
    "bqhd,bkhd->bhqk": ("N,3,2,4", "N,5,2,4", "A,B,C,D"),
    "bhwc,hkcw->bhk": ("2,3,4,5", "3,6,5,4", "A,B,C"),
    "bhwc,bcxy->bxhyw": ("N,3,4,5", "N,5,6,2", "A,B,C,D,E"),
    "bld,bmd->blm": ("N,L,3", "N,L,3", "A,B,C"),
    "bij,bij->bi": ("N,3,4", "N,3,4", "A,B"),
    "i,j->ij": ("3", "4", "A,B"),
    "...i,ij->...j": ("2,3,4", "4,5", "A,B,C"),
    "ab,cb": ("3,4", "5,4", "A,B"),
}


@pytest.mark.parametrize("way", PIPELINES)
@pytest.mark.parametrize("case", CASES)
def test_an_operator_becomes_integers(onnx_text: Text, case: str, way: str) -> None:
    rank, head, body = CASES[case]
    given, _, weights = head.partition(" <")
    axes = ",".join("ABCDE"[:rank])
    declared = f"<{weights}" if weights else ""
    _check(onnx_text(f"g {given} => (float[{axes}] y) {declared} {{ {body} }}"), way)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_an_einsum_is_a_product(onnx_text: Text, equation: str) -> None:
    left, right, axes = EQUATIONS[equation]
    body = f'y = Einsum <equation = "{equation}"> (a, b)'
    _check(onnx_text(f"g (float[{left}] a, float[{right}] b) => (float[{axes}] y) {{ {body} }}"), "fast")


def test_an_einsum_may_repeat_an_operand(onnx_text: Text) -> None:
    """One letter of length 1 where the other operand has any number: no product of two matrices."""
    body = 'y = Einsum <equation = "...qd,...kd->...qk"> (a, b)'
    model = onnx_text(f"g (float[1,3,4] a, float[N,5,4] b) => (float[N,3,5] y) {{ {body} }}")
    assert read_equation(model.graph.node(0)) is None


def test_an_einsum_that_is_no_product_is_refused(onnx_text: Text) -> None:
    text = 'g (float[3,4] x) => (float[3] y) { a = Neg (x) b = Einsum <equation = "ij->i"> (a) y = Neg (b) }'
    with pytest.raises(CheckError, match="there is no integer rule for this operator"):
        _check(onnx_text(text), "fast")


def test_a_group_norm_of_opset_18(onnx_text: Text) -> None:
    text = """g (float[N,4,5] x) => (float[N,4,5] y) <float[2] scale, float[2] b> {
        y = GroupNormalization <num_groups = 2> (x, scale, b)
    }"""
    _check(onnx_text(text, 18), "fast")


def _check(model: ir.Model, way: str) -> None:
    """Quantize and lower; nothing is float; ONNX Runtime, onnx.reference and the Q/DQ graph agree."""
    options = "{activation=int16}" if way == "int16" else ""
    rng = np.random.default_rng(0)
    samples = [{v.name or "": _sample(v, 2, rng) for v in model.graph.inputs} for _ in range(4)]
    qdq = api.run(model, QUANTIZE.replace("{OPTIONS}", options), samples, target="integer").model
    strict = api.run(qdq.clone(), PIPELINES[way], target="integer").model
    certificate = certify(ShapeInferencePass()(strict.clone()).model)
    assert not certificate.floats
    assert not certificate.violations
    proto = ir.to_proto(strict)
    onnx.checker.check_model(proto, full_check=True)
    for batch in (1, 3):
        real = {value.name or "": _sample(value, batch, rng) for value in model.graph.inputs}
        codes = {name: _codes(strict, name, array) for name, array in real.items()}
        made = Session(strict, optimize=False, threads=1).run(codes)["y"]
        (reference,) = ReferenceEvaluator(proto).run(None, codes)
        np.testing.assert_array_equal(made, reference)
        expected = Session(qdq, optimize=False, threads=1).run(real)["y"]
        assert made.shape == expected.shape
        scale, zero = (strict.metadata_props[f"onnxq.{key}.y"] for key in ("scale", "zero_point"))
        off = np.abs(np.rint(expected / np.float32(scale)) + int(zero) - made)
        assert off.max() <= 1
        assert (off > 0).mean() < 0.1  # halves, which float32 rounds either way


def _sample(value: ir.Value, batch: int, rng: np.random.Generator) -> Array:
    shape = [dim if isinstance(dim, int) else batch if dim.value == "N" else 5 for dim in value.shape or ()]
    if value.dtype == ir.DataType.INT64:
        ones = rng.integers(0, 2, shape)
        ones[..., 0] = 1
        return ones
    return rng.standard_normal(shape).astype(np.float32)


def _codes(model: ir.Model, name: str, real: Array) -> Array:
    if f"onnxq.scale.{name}" not in model.metadata_props:
        return real
    scale, zero = (model.metadata_props[f"onnxq.{key}.{name}"] for key in ("scale", "zero_point"))
    (kind,) = [v.dtype.numpy() for v in model.graph.inputs if v.name == name and v.dtype is not None]
    ends = np.iinfo(kind)
    codes: Array = np.clip(np.rint(real / np.float32(scale)) + int(zero), ends.min, ends.max)
    coded: Array = codes.astype(kind)
    return coded
