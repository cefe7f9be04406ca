"""Reading graphs as polynomials: checked against evaluating the graph."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.graph.polynomial import Polynomial, ancestors, read, readings

OnnxText = Callable[..., ir.Model]

NAMES = ["x", "z", "one", "three"]
GRAPHS = st.lists(
    st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Neg", "Div"]), st.integers(0, 99), st.integers(0, 99)),
    min_size=1,
    max_size=6,
)


def graph(body: str, last: str = "y") -> str:
    numbers = "<float one = {1.0}, float three = {3.0}, float half = {0.5}, float[2] vector = {2.0, 3.0}>"
    return f"g (float[2] x, float[2] z) => (float[2] {last}) {numbers} {{ {body} }}"


def value(model: ir.Model, name: str) -> ir.Value:
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return next(v for v in values if v.name == name)


def build(body: str, last: str = "y") -> ir.Model:
    model = onnx.helper.make_model(onnx.parser.parse_graph(graph(body, last)), ir_version=9)
    model.opset_import[0].version = 19
    return ir.from_proto(model)


@given(GRAPHS)
def test_a_reading_has_the_value_of_the_graph(steps: list[tuple[str, int, int]]) -> None:
    names, lines = list(NAMES), []
    for i, (op, a, b) in enumerate(steps):
        first, second = names[a % len(names)], "three" if op == "Div" else names[b % len(names)]
        lines.append(f"v{i} = {op} ({first})" if op == "Neg" else f"v{i} = {op} ({first}, {second})")
        names.append(f"v{i}")
    model = build(" ".join(lines) + f" y = Add ({names[-1]}, x)")
    x, z = value(model, "x"), value(model, "z")
    found = read(value(model, "y"), x, z)
    assert found is not None
    feeds = {"x": np.array([0.7, -1.3], np.float32), "z": np.array([0.4, 1.1], np.float32)}
    (expected,) = list(onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, feeds))
    total = sum(
        coefficient * np.prod([np.float64(feeds[str(atom.name)]) ** power for atom, power in term], axis=0)
        for term, coefficient in found.polynomial.terms.items()
    )
    np.testing.assert_allclose(np.broadcast_to(total, (2,)), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Mul (x, half) b = Add (z, one) y = Mul (a, b)", lambda x, z: 0.5 * x * (z + 1)),
        ("a = Sub (x, z) y = Mul (a, a)", lambda x, z: (x - z) ** 2),
        ("y = Pow (x, three)", lambda x, z: x**3),
        ("r = Reciprocal (z) y = Mul (r, x)", lambda x, z: x * z**-1),
        ("m = Mul (x, z) y = Div (m, z)", lambda x, z: Polynomial.of(1.0) * x),
    ],
)
def test_formulas(body: str, expected: Callable[[Polynomial, Polynomial], Polynomial]) -> None:
    model = build(body)
    x, z = value(model, "x"), value(model, "z")
    found = read(value(model, "y"), x, z)
    assert found is not None
    assert found.polynomial.is_close(expected(Polynomial.of(x), Polynomial.of(z)))
    assert list(found.nodes) == list(model.graph)


@pytest.mark.parametrize(
    "body",
    [
        "y = Add (x, z)",
        "y = Relu (x)",
        "a = Add (x, one) y = Div (one, a)",
        "y = Pow (x, half)",
        "h = Cast <to = 10> (x) y = Cast <to = 1> (h)",
    ],
)
def test_what_is_no_polynomial_in_x(body: str) -> None:
    model = build(body)
    assert read(value(model, "y"), value(model, "x")) is None


def test_larger_constants_are_atoms_of_their_own() -> None:
    model = build("y = Mul (x, vector)")
    found = read(value(model, "y"), value(model, "x"))
    assert found is not None
    ((term, coefficient),) = found.polynomial.terms.items()
    assert (sorted(str(atom.name) for atom, _ in term), coefficient) == (["vector", "x"], 1)


def test_coefficients_are_compared_relatively() -> None:
    x = ir.Value(name="x")
    p = Polynomial.of(x)
    assert (p * 1e-9).is_close(p * 1.0001e-9)
    assert not p.is_close(p * 1.001)
    assert not p.is_close(p + 1e-9)
    assert not (p - p).terms


def test_readings_go_on_where_the_value_is_a_polynomial() -> None:
    model = build("a = Mul (x, half) b = Add (a, one) c = Relu (b) y = Mul (c, half)")
    assert [r.value.name for r in readings(value(model, "x"))] == ["x", "a", "b"]
    assert [v.name for v in ancestors(value(model, "b"))] == ["b", "a", "x"]


def test_a_doubling_graph_is_given_up_in_time() -> None:
    """Without a bound the 60 nodes would be multiplied out along 2^60 paths."""
    body = (
        "v0 = Add (x, z) "
        + " ".join(f"v{i} = Mul (v{i - 1}, v{i - 1})" for i in range(1, 60))
        + " y = Neg (v59)"
    )
    model = build(body)
    assert read(value(model, "y"), value(model, "x"), value(model, "z")) is None
