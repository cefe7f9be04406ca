"""Models that ask for too much, or hold what cannot be quantized: one message each, soon, and no file."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxq.graph.numeric import Array

from .helpers import HEAD, Run, weights, write_model

CONV = f"{HEAD} g (float[N,2,6,6] x) => (float[N,?,?,?] y) {{ c = Conv (x, W) y = Relu (c) }}"
FUNCTIONS = '<ir_version: 8, opset_import: ["": 17, "f": 1]> g (float[2] x) => (float[2] y) { y = f.A0 (x) }'


def _function(name: str, body: str) -> str:
    return f'<domain: "f", opset_import: ["": 17, "f": 1]> {name} (a) => (b) {{ {body} }}'


def _doubling(levels: int) -> str:
    """Functions that call the next one twice each: 2^levels nodes in the end."""
    each = (_function(f"A{i}", f"c = f.A{i + 1} (a) b = f.A{i + 1} (c)") for i in range(levels))
    return " ".join([FUNCTIONS, *each, _function(f"A{levels}", "b = Sigmoid (a)")])


def _sized(body: str) -> str:
    return f"{HEAD} g (float[1,4] x) => (float[1,4] y) {{ {body} y = Sigmoid (x) }}"


def _poisoned(number: float) -> Array:
    array = weights(4, 2, 3, 3)
    array[1, 0, 0, 0] = number
    return array


CASES: dict[str, tuple[str, dict[str, Array], str]] = {
    "circular functions": (
        f"{FUNCTIONS} {_function('A0', 'b = f.A1 (a)')} {_function('A1', 'b = f.A0 (a)')}",
        {},
        "the functions cannot be inlined: a cycle of calls, f::A",
    ),
    "doubling functions": (_doubling(40), {}, "1099511627776 nodes would come out"),
    "huge input": (
        f"{HEAD} g (float[1000000,1000000] x) => (float[1000000,1000000] y) {{ y = Sigmoid (x) }}",
        {},
        "needs 4000000000000 bytes a sample: give real samples",
    ),
    "nan weight": (CONV, {"W": _poisoned(np.nan)}, "'W' holds NaN or infinity"),
    "infinite weight": (CONV, {"W": _poisoned(np.inf)}, "'W' holds NaN or infinity"),
    "wrong channels": (CONV, {"W": weights(4, 1, 3, 3)}, "Input channels C is not equal to kernel channels"),
    "wrong rank": (CONV, {"W": weights(2, 3, 3)}, "the type of 'c' is not known"),
    "texts": (
        f"{HEAD} g (string[2] x) => (string[2] y) {{ y = Identity (x) }}",
        {},
        "tensors of numbers only",
    ),
    "sequence": (
        f"{HEAD} g (seq(float[N,4]) x) => (float[?,4] y) {{ y = ConcatFromSequence <axis = 0> (x) }}",
        {},
        "input 'x' is Sequence(Tensor(FLOAT)): onnxq can feed tensors of numbers only",
    ),
    "complex": (f"{HEAD} g (complex64[2] x) => (complex64[2] y) {{ y = Identity (x) }}", {}, "complex64"),
    "nothing in it": (f"{HEAD} g (float[2] x) => (float[2] x) {{ }}", {}, "(it has none)"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message(onnxq: Run, tmp_path: Path, case: str) -> None:
    text, constants, message = CASES[case]
    write_model(tmp_path / "in.onnx", text, **constants)
    done = onnxq("quantize", tmp_path / "in.onnx", "--data", "random:1", "-o", tmp_path / "out.onnx")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("error: ") == 1
    assert "defect" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.onnx"]


def test_an_input_of_no_type(onnxq: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Sigmoid (x) }}")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    onnx.save(model, tmp_path / "in.onnx")
    done = onnxq("quantize", tmp_path / "in.onnx", "--data", "random:1", "-o", tmp_path / "out.onnx")
    assert done.code == 2
    assert "input 'x' is UNDEFINED: onnxq can feed tensors of numbers only" in done.err


@pytest.mark.parametrize(
    "unread",
    [
        "a = Constant <value = int64 {0}> () b = Constant <value = int64 {1000000000000}> () "
        "d = Constant <value = int64 {1}> () r = Range (a, b, d)",
        "s = Constant <value = int64[2] {1000000,1000000}> () t = Tile (x, s)",
        "s = Constant <value = int64[2] {1000000,1000000}> () e = Expand (x, s)",
    ],
)
def test_what_is_huge_and_unread_is_not_made(onnxq: Run, tmp_path: Path, unread: str) -> None:
    write_model(tmp_path / "in.onnx", _sized(unread))
    done = onnxq("quantize", tmp_path / "in.onnx", "--data", "random:1", "-o", tmp_path / "out.onnx")
    assert done.code == 0, done.err
    assert (tmp_path / "out.onnx").stat().st_size < 4096


def test_an_old_model_is_compared_in_a_form_that_runs(onnxq: Run, tmp_path: Path) -> None:
    """ONNX Runtime has no Add of opset 6."""
    text = """<ir_version: 3, opset_import: ["": 6]> g (float[1,3,4,4] x) => (float[1,3,4,4] y) {
        a = Add <broadcast = 1, axis = 1> (x, c) y = Sigmoid (a) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(3), "c"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [3]))
    onnx.save(model, tmp_path / "in.onnx")
    done = onnxq("quantize", tmp_path / "in.onnx", "--data", "random:2", "-o", tmp_path / "out.onnx")
    assert done.code == 0, done.err
