"""correct-shapes: nodes are believed, not the file, with one warning; wrong types are refused."""

from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.passes.importing.correct_shapes import CorrectShapes, WrongShapeWarning
from onnxq.pipeline.context import Context

Text = Callable[..., ir.Model]

NET = """g (float[N,2,6,6] x) => (%s y) <%s c, float[4,2,3,3] W> {
    c = Conv (x, W)
    y = Flatten (c)
}"""


@pytest.mark.parametrize(
    ("output", "inner", "complaint"),
    [
        ("float[N,10]", "float[N,4,4,4]", r"Flatten .*\(output 'y'\) makes \[N,64\], declared is \[N,10\]"),
        ("float[N,64,1]", "float[N,4,4,4]", r"makes \[N,64\], declared is \[N,64,1\]"),
        (
            "float[N,64]",
            "float[N,4,9,9]",
            r"Conv .*'c'\) makes \[N,4,4,4\], declared is \[N,4,9,9\]",
        ),
        ("float[N,9]", "float[4]", r"'c'\) makes .*; Flatten .*'y'\) makes"),
    ],
)
def test_nodes_are_believed(onnx_text: Text, output: str, inner: str, complaint: str) -> None:
    model = onnx_text(NET % (output, inner))
    with pytest.raises(ModelError, match="differ in"):
        model_io.check(model)
    with pytest.warns(WrongShapeWarning, match=complaint):
        outcome = CorrectShapes().run(model, Context())
    model_io.check(outcome.model)
    axes = onnx.shape_inference.infer_shapes(model_io.to_proto(outcome.model)).graph.output[0].type
    assert [axis.dim_value for axis in axes.tensor_type.shape.dim][1:] == [64]
    assert CorrectShapes().run(outcome.model, Context()).edits == 0


@pytest.mark.parametrize(
    "output", ["float[N,64]", "float[batch,64]", "float[1,64]", "float[N,K]", "float[?,?]"]
)
def test_what_may_be_true_stays(onnx_text: Text, output: str) -> None:
    model = onnx_text(NET % (output, "float[N,4,4,4]"))
    before = str(model.graph.outputs[0].shape)
    assert CorrectShapes().run(model, Context()).edits == 0
    assert str(model.graph.outputs[0].shape) == before


@pytest.mark.parametrize(
    ("output", "inner", "complaint"),
    [
        ("int64[N,64]", "float[N,4,4,4]", "Flatten .* makes float, but the model declares 'y' as int64"),
        ("float[N,64]", "int8[N,4,4,4]", "Conv .* makes float, but the model declares 'c' as int8"),
    ],
)
def test_wrong_types_are_refused(onnx_text: Text, output: str, inner: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        CorrectShapes().run(onnx_text(NET % (output, inner)), Context())


def test_lengths_that_onnx_cannot_know_stay_as_declared(onnx_text: Text) -> None:
    model = onnx_text("""g (float[N,2,6,6] x, int64[2] s) => (float[N,72] y) {
        y = Reshape (x, s)
    }""")
    assert CorrectShapes().run(model, Context()).edits == 0
