"""16-bit activations with 8-bit weights, alone and between 8-bit tensors, against exact arithmetic."""

from collections.abc import Callable
from dataclasses import replace

import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import CheckError
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Rounding

from .fake_quantizer import Scheme
from .test_lower_integer import CASES
from .test_moves import CONSTANTS, MOVES
from .test_rounding import CASES as TIES
from .test_tables import CONSTANTS as NUMBERS
from .test_tables import FUNCTIONS

Lower = Callable[..., onnx.ModelProto]

SCHEMES = {
    "uint16": Scheme(dtype="uint16"),
    "int16": Scheme(dtype="int16"),
    "mixed": Scheme(dtype="int16", also="uint8"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", CASES)
def test_operators_give_the_exact_codes(lower: Lower, case: str, scheme: str) -> None:
    lower(CASES[case], seed=len(case), scheme=SCHEMES[scheme])


@pytest.mark.parametrize("case", CASES)
def test_portable_dialect_gives_them_too(lower: Lower, case: str) -> None:
    scheme = SCHEMES["int16" if len(case) % 2 else "mixed"]
    lower(CASES[case], seed=len(case), scheme=scheme, lowering=LowerInteger(dialect=Dialect.PORTABLE))


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_UP, Rounding.HALF_AWAY])
@pytest.mark.parametrize("dialect", [Dialect.FAST, Dialect.PORTABLE])
@pytest.mark.parametrize("case", TIES)
def test_every_tie_is_rounded_as_asked(lower: Lower, case: str, dialect: Dialect, rounding: Rounding) -> None:
    scheme = Scheme(dtype="int16" if len(case) % 2 else "uint16", also="uint8", power_of_two=True)
    lower(TIES[case], scheme=scheme, lowering=LowerInteger(rounding=rounding, dialect=dialect))


EVEN = CONSTANTS.replace("<", "<int64[8] even = {0, 0, 1, 0, 0, 0, 0, 1}, ", 1)
MORE_MOVES = {
    "DepthToSpace": (
        "float[1,1,10,10] y",
        "_c = Concat <axis = 1> (x, x) y = DepthToSpace <blocksize = 2> (_c)",
    ),
    "DepthToSpace, columns first": (
        "float[1,1,10,10] y",
        '_c = Concat <axis = 1> (x, x) y = DepthToSpace <blocksize = 2, mode = "CRD"> (_c)',
    ),
    "SpaceToDepth": (
        "float[1,8,3,3] y",
        "_p = Pad (x, even) y = SpaceToDepth <blocksize = 2> (_p)",
    ),
    "MaxPool, ceil": (
        "float[1,2,3,3] y",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)",
    ),
    "MaxPool, same": (
        "float[1,2,3,3] y",
        'y = MaxPool <kernel_shape = [2,3], strides = [2,2], auto_pad = "SAME_UPPER"> (x)',
    ),
    "MaxPool, dilated": ("float[1,2,3,1] y", "y = MaxPool <kernel_shape = [2,3], dilations = [2,2]> (x)"),
}


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("name", MOVES | MORE_MOVES)
def test_move_runs_on_codes(lower: Lower, name: str, dtype: str) -> None:
    outputs, body = (MOVES | MORE_MOVES)[name]
    lower(f"g (float[1,2,5,5] x) => ({outputs}) {EVEN} {{ {body} }}", scheme=Scheme(dtype=dtype))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_tables_of_all_codes(lower: Lower, name: str, scheme: str) -> None:
    text = f"g (float[2,300] x) => (float[2,300] y) {NUMBERS} {{ {FUNCTIONS[name]} }}"
    lower(text, seed=len(name), scheme=SCHEMES[scheme])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("scale", [None, 1 / 256])
def test_softmax(lower: Lower, scheme: str, op: str, scale: float | None) -> None:
    body = f"y = {op} (x) z = {op} <axis = 1> (y)"
    text = f"g (float[2,3,10] x) => (float[2,3,10] y, float[2,3,10] z) {{ {body} }}"
    lower(text, scheme=replace(SCHEMES[scheme], scale=scale))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_softmax_behind_an_attention_mask(lower: Lower, scheme: str) -> None:
    lower(
        """
        g (float[2,3,4,5] x, int64[2,5] mask) => (float[2,3,4,5] y)
          <float f_one = {1.0}, float f_low = {-100.0}, int64[2] axes = {1, 2}> {
            m = Cast <to = 1> (mask)
            u = Unsqueeze (m, axes)
            i = Sub (f_one, u)
            _b = Mul (i, f_low)
            _s = Add (x, _b)
            y = Softmax <axis = -1> (_s)
        }""",
        scheme=replace(SCHEMES[scheme], room=False),
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_division_comparison_and_indices(lower: Lower, scheme: str) -> None:
    """Divisors that come close to zero, codes of different scales, and the places of the largest ones."""
    model = lower(
        """
        g (float[3,40] a, float[3,40] b) => (float[3,40] y, bool[3,40] v, int64[3] best, float[3,2] top)
          <float f_one = {1.0}, int64[1] two = {2}> {
            p = Exp (b)
            y = Div (a, p)
            v = Less (a, b)
            best = ArgMax <axis = 1, keepdims = 0> (a)
            top, i = TopK (a, two)
        }""",
        scheme=SCHEMES[scheme],
    )
    assert {"Less", "ArgMax", "TopK", "Div"} <= {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_both_readers_of_a_tensor_take_the_same_halves(lower: Lower, dtype: str) -> None:
    model = lower(
        """
        g (float[2,300] x) => (float[2,4] y, float[2,4] z) <float[300,4] V, float[300,4] W> {
            y = MatMul (x, V)
            z = MatMul (x, W)
        }""",
        scheme=Scheme(dtype=dtype),
    )
    ops = [node.op_type for node in model.graph.node]
    assert ops.count("MatMulInteger") == 4
    halves = [node for node in model.graph.node if "x" in node.input]
    assert [node.op_type for node in halves] == ["Cast", "Cast"]


def test_sums_are_int32_where_they_fit(lower: Lower) -> None:
    """Of eight products of 16 and 8 bits, but not of three thousand."""
    words = []
    for channels in (8, 3000):
        text = "g (float[1,C,1,2] x) => (float[1,2,1,2] y) <float[2,C,1,1] W> { y = Conv (x, W) }"
        model = lower(text.replace("C,", f"{channels},"), scheme=Scheme(dtype="uint16"))
        sums = {o for n in model.graph.node if n.op_type == "ConvInteger" for o in n.output}
        words.append([node.op_type for node in model.graph.node if sums & set(node.input)])
    assert words == [["Mul", "Add"], ["Cast", "Cast"]]


@pytest.mark.parametrize(
    ("lowering", "reason"),
    [
        (LowerInteger(dialect=Dialect.INT32), "dialect=int32 excludes"),
        (LowerInteger(rounding=Rounding.TFLITE), "rounding=tflite follows TFLite's 8-bit kernels"),
    ],
)
@pytest.mark.parametrize("wide", ["x", "y"])
def test_profiles_without_words_for_it_name_the_node(
    onnx_text: Callable[..., ir.Model], lowering: LowerInteger, reason: str, wide: str
) -> None:
    types = {"x": "uint8", "y": "uint8"} | {wide: "int16"}
    text = f"""
        g (float[2,4] x) => (float[2,3] y)
          <float s = {{0.1}}, {types["x"]} z = {{3}}, {types["y"]} u = {{5}},
           int8[4,3] w, float t = {{0.01}}, int8 n = {{0}}> {{
            x_q = QuantizeLinear (x, s, z)
            x_d = DequantizeLinear (x_q, s, z)
            w_d = DequantizeLinear (w, t, n)
            [product] r = MatMul (x_d, w_d)
            y_q = QuantizeLinear (r, s, u)
            y = DequantizeLinear (y_q, s, u)
        }}"""
    with pytest.raises(CheckError, match=f"'product'.* is int16.*{reason}"):
        lowering.run(onnx_text(text), Context())


@pytest.mark.parametrize("op", ["Add (x, c)", "Sub (x, c)", "Sub (c, x)", "Mul (c, x)", "Div (x, c)"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_number_takes_no_table(lower: Lower, op: str, scheme: str) -> None:
    made = lower(
        f"g (float[2,300] x) => (float[2,300] y) <float c = {{-1.25}}> {{ _y = {op} y = Relu (_y) }}",
        scheme=SCHEMES[scheme],
    )
    assert all(tensor.dims != [1 << 16] for tensor in made.graph.initializer)
