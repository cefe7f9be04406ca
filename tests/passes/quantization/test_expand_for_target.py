"""expand-for-target: what a target knows in parts only is written as these parts."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.targets.target import load_target

SWISH = "g (float[2,3] x) => (float[2,3] y) { y = Swish <alpha = 1.0> (x) }"


def test_swish_becomes_what_runtimes_have_on_integers(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "expand-for-target",
        before=SWISH,
        after="g (float[2,3] x) => (float[2,3] y) { s = Sigmoid (x) y = Mul (x, s) }",
        opset=24,
        context=Context(load_target("generic-int8")),
        rtol=None,
    )


@pytest.mark.parametrize("target", ["integer", "ort-x86-vnni"])
def test_other_targets_keep_it(target: str, onnx_text: Callable[..., ir.Model]) -> None:
    done = api.run(onnx_text(SWISH, 24), "expand-for-target", target=target)
    assert [node.op_type for node in done.model.graph] == ["Swish"]
