"""fix-shapes: names become numbers everywhere, from options or from the samples, and mistakes are named."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.errors import DataError, TargetError, UsageError
from onnxq.graph.match import static_shape
from onnxq.passes.importing.fix_shapes import FixShapes
from onnxq.pipeline.context import Context
from onnxq.quant.placement import check_shapes
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]

OPEN = "g (float[N,H] x, float[N,2] z) => (float[N,M] y) { y = Concat <axis = 1> (x, z) }"


def test_a_name_is_fixed_wherever_it_stands(onnx_text: Text) -> None:
    done = api.run(onnx_text(OPEN), "fix-shapes{axes='N=2'}").model
    assert [str(value.shape) for value in (*done.graph.inputs, *done.graph.outputs)] == [
        "[2,H]",
        "[2,2]",
        "[2,M]",
    ]


def test_what_follows_from_fixed_inputs_can_be_inferred(onnx_text: Text) -> None:
    done = api.run(onnx_text(OPEN), "fix-shapes{axes='N=2'|'x[1]=3'}, infer-shapes").model
    assert static_shape(done.graph.outputs[0]) == (2, 5)


def test_samples_give_the_lengths(onnx_text: Text) -> None:
    sample = {"x": np.zeros((2, 3), np.float32), "z": np.zeros((2, 2), np.float32)}
    done = api.run(onnx_text(OPEN), "fix-shapes, infer-shapes", [sample]).model
    assert static_shape(done.graph.outputs[0]) == (2, 5)
    with pytest.raises(DataError, match="pass --data"):
        FixShapes().run(onnx_text(OPEN), Context())


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (("K=2",), "no input has an axis 'K'; axes: H, N, x"),
        (("N",), "written name=length"),
        (("N=0",), "written name=length"),
        (("N=2", "x[0]=3"), "the axis 'N' would be 3 and 2"),
    ],
)
def test_mistakes_are_named(axes: tuple[str, ...], message: str, onnx_text: Text) -> None:
    with pytest.raises(UsageError, match=message):
        FixShapes(axes).run(onnx_text(OPEN), Context())


def test_targets_with_static_shapes_say_what_to_do(onnx_text: Text) -> None:
    check_shapes(onnx_text(OPEN), load_target("generic-int8"))
    with pytest.raises(TargetError, match=r"'x' is \[N,H\].*fix-shapes\{axes='H=1'\|'N=1'\}"):
        check_shapes(onnx_text(OPEN), load_target("qnn-htp"))
