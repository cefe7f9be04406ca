"""Interval arithmetic against brute force, and the words that it must find too narrow.

That every tensor of every lowered graph lies in its interval is part of the lowering's ``lower`` fixture.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.evaluate.certificate import certify
from onnxq.evaluate.intervals.analysis import analyze
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Floor"]
"""``Floor`` is ``a − a mod b``."""


def _model(body: str, constants: str = "", output: str = "int32") -> ir.Model:
    """``y`` of the int8 and uint8 inputs ``a`` and ``b`` of four elements."""
    text = f'<ir_version: 9, opset_import: ["": 19]> g (int8[4] a, uint8[4] b) => ({output}[4] y)'
    return ir.from_onnx_text(f"{text} <{constants}> {{ {body} }}" if constants else f"{text} {{ {body} }}")


def _typed(model: ir.Model) -> ir.Model:
    return ir.passes.common.ShapeInferencePass()(model).model


@given(
    ops=st.lists(st.sampled_from(BINARY), min_size=1, max_size=4),
    numbers=st.lists(st.integers(1, 5) | st.integers(-5, -1), min_size=4, max_size=4),
    seed=st.integers(0, 2**16),
)
def test_every_number_is_in_its_interval(ops: list[str], numbers: list[int], seed: int) -> None:
    body = ["p = Cast <to = 6> (a)", "q = Cast <to = 6> (b)", "v0 = Add (p, q)"]
    for i, (op, _) in enumerate(zip(ops, numbers, strict=False)):
        left, right = (f"v{i}", f"c{i}") if op in ("Div", "Mod", "Floor") or i % 2 else ("q", f"v{i}")
        if op == "Floor":
            body.append(f"m{i} = Mod ({left}, {right})")
            op, right = "Sub", f"m{i}"
        body.append(f"v{i + 1} = {op} ({left}, {right})")
    constants = ", ".join(f"int32 c{i} = {{{n}}}" for i, n in enumerate(numbers))
    model = _typed(_model(" ".join([*body, f"y = Identity (v{len(ops)})"]), constants))
    analysis = analyze(model)
    rng = np.random.default_rng(seed)
    feeds = {
        "a": rng.choice([-128, 127, 3], 4).astype(np.int8),
        "b": rng.choice([0, 255, 9], 4).astype(np.uint8),
    }
    found = Session(
        model, optimize=False, extra_outputs=[v.name or "" for n in model.graph for v in n.outputs]
    )
    arrays = found.run(feeds)
    for value, interval in analysis.intervals.items():
        if interval is not None and value.name in arrays:
            assert np.all(interval.low <= arrays[value.name]), value.name
            assert np.all(arrays[value.name] <= interval.high), value.name


WIDE_A, WIDE_B = "p = Cast <to = 6> (a)", "q = Cast <to = 6> (b)"
RIGHT = '<direction = "RIGHT">'

NARROW = {
    "a product of int32": (f"{WIDE_A} q = Mul (p, k) y = Mul (q, k)", "Mul can leave its type"),
    "a word that wraps before it is shifted": (
        f"p = Cast <to = 13> (a) q = BitShift {RIGHT} (p, u) y = Cast <to = 6> (q)",
        "wraps before BitShift reads it",
    ),
    "a cast that cuts off": (
        f"{WIDE_B} r = Mul (q, m) v = Cast <to = 3> (r) y = Cast <to = 6> (v)",
        "loses bits",
    ),
    "a table that is too short": (f"{WIDE_B} y = Gather (t, q)", "can leave a table of 3"),
    "a divisor that can be zero": (f"{WIDE_A} {WIDE_B} y = Div (p, q)", "can be zero"),
}
CONSTANTS = "int32 k = {100000}, uint64 u = {3}, int32 m = {3}, int32[3] t = {1, 2, 3}"


@pytest.mark.parametrize("high", ["t = BitShift {R} (w, e)", "u = Add (w, d) t = BitShift {R} (u, e)"])
def test_the_low_byte_alone_is_a_loss_and_both_are_none(onnx_text: Text, high: str) -> None:
    text = """g (int16[4] x) => (uint8[4] y, uint8[4] z) <uint32 d = {MOVED}, uint32 e = {8}> {
        y = Cast <to = 2> (x)
        w = Cast <to = 12> (x)
        HIGH
        z = Cast <to = 2> (t)
    }"""
    made = text.replace("HIGH", high.replace("{R}", RIGHT))
    reasons = [
        [finding.reason for finding in analyze(_typed(onnx_text(made.replace("MOVED", moved)))).findings]
        for moved in ("32768", "32769")
    ]
    moves = "Add" in high
    wraps = ["'w' wraps before BitShift reads it"]
    assert reasons[0] == ([] if moves else wraps)
    assert set(reasons[1]) == ({"Cast to uint8 loses bits"} if moves else set(wraps))


@pytest.mark.parametrize("case", NARROW)
def test_word_too_narrow_is_found(case: str) -> None:
    body, reason = NARROW[case]
    (finding,) = analyze(_typed(_model(body, CONSTANTS))).violations
    assert reason in str(finding)


@pytest.mark.parametrize(
    ("target", "attribute", "highest"),
    [
        ("{0, 0, 1, 4}", "", [127, 127000]),
        ("{0, 0, 4}", "", [127, 127000]),
        ("{0, 0, 4}", "<allowzero = 1>", [127000]),
        ("{4, 2, 2}", "", [127000]),
        ("{0, -1}", "", [127000]),
    ],
)
def test_reshape_keeps_channels_apart_where_they_stay(
    onnx_text: Text, target: str, attribute: str, highest: list[int]
) -> None:
    axes = target.count(",") + 1
    model = onnx_text(f"""g (int8[2,2,2,2] x) => (int32[{",".join("ABCD"[:axes])}] y)
        <int32[2,1,1] most = {{1, 1000}}, int64[{axes}] target = {target}> {{
            z = Cast <to = 6> (x)
            c = Mul (z, most)
            y = Reshape {attribute} (c, target)
        }}""")
    found = analyze(_typed(model)).intervals[model.graph.outputs[0]]
    assert found is not None
    assert found.high.reshape(-1).tolist() == highest
    assert found.high.ndim in (0, axes - 1)


def test_accumulator_too_wide_is_found(onnx_text: Text) -> None:
    model = onnx_text("g (uint8[1,70000] b) => (int32[1,1] y) <int8[70000,1] w> { y = MatMulInteger (b, w) }")
    model.graph.initializers["w"].const_value = ir.tensor(np.full((70000, 1), 127, np.int8))
    (finding,) = analyze(_typed(model)).violations
    assert "MatMulInteger can leave its type; it needs 33 bits of int32" in str(finding)


IDIOMS = {
    "signs in unsigned words": f"p = Cast <to = 13> (a) q = Add (p, w) r = BitShift {RIGHT} (q, u)",
    "the sign bit": f"p = Cast <to = 13> (a) r = BitShift {RIGHT} (p, s)",
    "a window that the last byte drops": f"{WIDE_B} c = Add (q, v) r = Cast <to = 2> (c)",
}


@pytest.mark.parametrize("idiom", IDIOMS)
def test_what_wraps_on_purpose_is_no_finding(idiom: str) -> None:
    constants = "uint64 w = {1024}, uint64 u = {3}, uint64 s = {63}, int32 v = {512}"
    assert analyze(_typed(_model(f"{IDIOMS[idiom]} y = Cast <to = 6> (r)", constants))).findings == []


QDQ = """g (float[1,2,4,4] x) => (float[1,3,4,4] y)
    <float s = {0.1}, uint8 z = {7}, float t = {0.05}, uint8 u = {100}, int8[3,2,1,1] w,
     float[3] v = {0.01, 0.02, 0.5}, int8[3] o = {0, 0, 0}> {
    x_q = QuantizeLinear (x, s, z)
    x_d = DequantizeLinear (x_q, s, z)
    w_d = DequantizeLinear <axis = 0> (w, v, o)
    r = Conv (x_d, w_d)
    y_q = QuantizeLinear (r, t, u)
    y = DequantizeLinear (y_q, t, u)
}"""


@pytest.mark.parametrize("dialect", ["fast", "portable", "int32"])
def test_certificate_holds_the_multipliers(onnx_text: Text, dialect: str) -> None:
    """Accumulators by brute force over the corners; M/2^S is s_x·s_w/s_y."""
    model = onnx_text(QDQ)
    w = np.array([[3, -5], [127, 1], [-128, -128]], np.int8).reshape(3, 2, 1, 1)
    model.graph.initializers["w"].const_value = ir.tensor(w)
    made = LowerInteger(dialect=dialect).run(model, Context()).model  # type: ignore[arg-type]
    found = certify(made)
    (accumulator,), (rescaling,) = found.accumulators, found.rescalings
    corners = [int(a) * p + int(b) * q for a, b in w.reshape(3, 2) for p in (-7, 248) for q in (-7, 248)]
    assert (accumulator.low, accumulator.high) == (min(corners), max(corners))
    assert accumulator.bits == found.widest == 17
    (multiplier,) = rescaling.multipliers
    real = multiplier.reshape(-1) / np.exp2(sum(shift.reshape(-1) for shift in rescaling.shifts))
    real = real / np.prod([divisor.reshape(-1) for divisor in rescaling.divisors], axis=0)
    np.testing.assert_allclose(real, 0.1 * np.array([0.01, 0.02, 0.5]) / 0.05, rtol=2.0**-13)
    assert not [*found.floats, *found.violations, *found.open]
    assert rescaling.word <= (32 if dialect == "int32" else 64)


@pytest.mark.parametrize("divisor", ["n = Identity (less)", "n = Neg (more)"])
def test_a_remainder_of_a_negative_divisor_adds(divisor: str) -> None:
    body = f"q = Cast <to = 5> (b) {divisor} m = Mod (q, n) y = Sub (q, m)"
    model = _typed(_model(body, "int16 less = {-7}, int16 more = {7}", "int16"))
    found = analyze(model).get(model.graph.outputs[0])
    assert found is None or found.greatest >= max(q - q % -7 for q in range(256)) == 259
