"""What was asked for and does not happen is said: one warning, exit code 0, and the model is written."""

from pathlib import Path

import pytest

from .helpers import CONV, Run, weights, write_model


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("insert-qdq{weight=int4}, fold-fake-quant{pack=int4}", ""),
        ("insert-qdq, fold-fake-quant{pack=int4}", "pack=int4 finds no weight whose codes fit into 4 bits"),
        ("insert-qdq{weight=int4}, fold-fake-quant{pack=int2}", "into 2 bits, but 1 weight with 4 bits"),
        ("fold-fake-quant{pack=int2}", "but no weights in codes at all"),
        (
            "insert-qdq, round-weights{method=nearest group=7}",
            "group=7 is for none of the weights (1: its data is quantized",
        ),
        (
            "insert-qdq{weight=int4}, round-weights{method=nearest group=2}",
            "group=2 is for none of the weights (1: its weight is a filter",
        ),
    ],
)
def test_an_option_that_finds_nothing_to_do_says_so(
    passes: str, message: str, onnxq: Run, small: Path
) -> None:
    words = ("run", small / "model.onnx", "--data", small / "data", "-o", small / "out.onnx")
    done = onnxq(*words, "-p", f"prepare, {passes}, finish")
    assert (done.code, message in done.err) == (0, True), done.err
    assert done.err.count("warning: ") == bool(message)


def test_a_wrong_declared_shape_is_named_and_put_right(onnxq: Run, small: Path) -> None:
    text = CONV.replace("(float[N,?] y)", "(float[N,10] y)")
    write_model(small / "model.onnx", text, W=weights(4, 2, 3, 3), b=weights(4))
    assert onnxq("verify", small / "model.onnx").code == 1
    words = ("--data", small / "data", "-o", small / "out.onnx")
    done = onnxq("quantize", small / "model.onnx", *words)
    assert (done.code, done.err.count("warning: ")) == (0, 1)
    assert "Flatten (output 'y') makes [N,64], declared is [N,10]" in done.err
    assert onnxq("verify", small / "out.onnx").code == 0
    assert "[N,64]" in onnxq("inspect", small / "out.onnx").out
