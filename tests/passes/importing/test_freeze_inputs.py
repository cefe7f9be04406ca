"""freeze-inputs: defaults become constants, everything else stays an input."""

from collections.abc import Callable

import onnx_ir as ir

from onnxq.graph.match import constant
from onnxq.passes.importing.freeze_inputs import FreezeInputs
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context

OVERRIDABLE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Add (x, w) }"""


def test_a_default_becomes_a_constant(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "freeze-inputs",
        before=OVERRIDABLE,
        after="""<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add (x, w) }""",
        rtol=0,
        atol=0,
    )


def test_only_then_it_counts_as_constant(onnx_text: Callable[..., ir.Model]) -> None:
    model = onnx_text(OVERRIDABLE)
    add = model.graph[0]
    assert constant(add.inputs[1]) is None
    FreezeInputs().run(model, Context())
    assert constant(add.inputs[1]) is not None


def test_inputs_without_a_default_stay(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "freeze-inputs", before="g (float[2] x, float[2] w) => (float[2] y) { y = Add (x, w) }", after=None
    )
