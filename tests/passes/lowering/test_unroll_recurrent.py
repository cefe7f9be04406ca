"""unroll-recurrent: the steps compute what ONNX Runtime and onnx.reference make of the operator."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnxq.errors import UsageError
from onnxq.passes.lowering.unroll_recurrent import UnrollRecurrent
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .recurrent import FUNCTIONS, Network

Rewrite = Callable[..., Outcome]

OPTIONAL = {
    "LSTM": ["B", "sequence_lens", "initial_h", "initial_c", "P"],
    "GRU": ["B", "sequence_lens", "initial_h"],
    "RNN": ["B", "sequence_lens", "initial_h"],
}
ACTIVATIONS = ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus"]
WITH_NUMBERS = [*ACTIVATIONS, "Affine", "ThresholdedRelu", "ScaledTanh"]


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Every attribute that ONNX Runtime takes; it refuses layout=1."""
    op = draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    functions = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
    attributes: dict[str, object] = {"direction": direction}
    if draw(st.booleans()):
        numbers = draw(st.booleans())
        known = st.sampled_from(WITH_NUMBERS if numbers else ACTIVATIONS)
        attributes["activations"] = [draw(known) for _ in range(functions)]
        for key in ("activation_alpha", "activation_beta") if numbers else ():
            attributes[key] = [draw(st.floats(0.25, 1, width=16)) for _ in range(functions)]
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.1, 0.5, 1.0]))
    if op == "LSTM":
        attributes["input_forget"] = int(draw(st.booleans()))
    if op == "GRU":
        attributes["linear_before_reset"] = int(draw(st.booleans()))
    steps, batch, inputs, hidden = (draw(st.integers(1, 4)) for _ in range(4))
    given_ = [name for name in OPTIONAL[op] if draw(st.booleans())]
    names = ("Y", "Y_h", "Y_c") if op == "LSTM" else ("Y", "Y_h")
    outputs = [name if draw(st.booleans()) else "" for name in names]
    if not any(outputs):
        outputs[-1] = names[-1]
    return Network(op, steps, batch, inputs, hidden, attributes, given_, outputs, 0.7, draw(st.booleans()))


@seed(0)
@settings(max_examples=150)
@given(networks())
def test_the_steps_compute_what_onnx_runtime_does(network: Network) -> None:
    before, feeds = network.model(network.batch if network.fixed_state else "N"), network.feeds()
    after = unrolled(before)
    found = Session(after, optimize=False, threads=1).run(feeds)
    for name, expected in Session(before, optimize=False, threads=1).run(feeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def unrolled(before: onnx.ModelProto) -> onnx.ModelProto:
    """The model without recurrent nodes, sound, and as the second run leaves it."""
    done = UnrollRecurrent().run(ir.from_proto(before), Context())
    assert done.modified
    after = ir.to_proto(done.model)
    onnx.checker.check_model(after, full_check=True)
    assert not {"LSTM", "GRU", "RNN"} & {node.op_type for node in after.graph.node}
    read = {name for node in after.graph.node for name in node.input} | {o.name for o in after.graph.output}
    assert all(any(name in read for name in node.output) for node in after.graph.node), "a node is left over"
    assert not UnrollRecurrent().run(done.model, Context()).modified
    return after


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("optional", [(), ("B", "initial_h", "initial_c")])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_both_layouts_as_onnx_reference_computes_them(
    op: str, optional: tuple[str, ...], layout: int
) -> None:
    given_ = [name for name in optional if name in OPTIONAL[op]]
    outputs = ("Y", "Y_h", "Y_c") if op == "LSTM" and not layout else ("Y", "Y_h")
    network = Network(op, attributes={"layout": layout}, given=given_, outputs=outputs)
    before, feeds = network.model(), network.feeds()
    found = Session(unrolled(before), optimize=False, threads=1).run(feeds)
    for name, expected in zip(outputs, ReferenceEvaluator(before).run(None, feeds), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_input_is_multiplied_once_for_all_steps(rewrite: Rewrite) -> None:
    rewrite(
        "unroll-recurrent",
        before="""g (float[2,3,1] x) => (float[2,1,3,1] y) <float[1,1,1] W = {2}, float[1,1,1] R = {3}> {
            y = RNN <hidden_size = 1> (x, W, R)
        }""",
        after="""g (float[2,3,1] x) => (float[2,1,3,1] y)
          <float[1,1] w = {2}, int64[2] ones = {1, 1}, int64[1] time = {0}, float[1,1] r = {3},
           int64[2] axes = {0, 1}> {
            s = MatMul (x, w)
            s0, s1 = Split <axis = 0> (s, ones)
            a0 = Squeeze (s0, time)
            a1 = Squeeze (s1, time)
            h0 = Tanh (a0)
            p = MatMul (h0, r)
            z = Add (a1, p)
            h1 = Tanh (z)
            y0 = Unsqueeze (h0, axes)
            y1 = Unsqueeze (h1, axes)
            y = Concat <axis = 0> (y0, y1)
        }""",
    )


def test_a_branch_is_written_out_too(rewrite: Rewrite) -> None:
    rewrite(
        "unroll-recurrent",
        before="""g (float[1,1,1] x, bool c) => (float[1,1,1] y)
          <float[1,1,1] W = {2}, float[1,1,1] R = {3}> {
            y = If (c) <
                then_branch = t () => (float[1,1,1] h) { n, h = RNN <hidden_size = 1> (x, W, R) },
                else_branch = e () => (float[1,1,1] q) { q = Neg (x) }>
        }""",
        after="""g (float[1,1,1] x, bool c) => (float[1,1,1] y) {
            y = If (c) <
                then_branch = t () => (float[1,1,1] h) <float[1,1] w = {2}, int64[1] zero = {0}> {
                    s = MatMul (x, w)
                    a = Squeeze (s, zero)
                    b = Tanh (a)
                    h = Unsqueeze (b, zero)
                },
                else_branch = e () => (float[1,1,1] q) { q = Neg (x) }>
        }""",
    )


RNN = "RNN <hidden_size = 1>"
LEFT_ALONE = {
    "float[T,1,1] x": (f"{RNN} (x, W, R)", "its sequence length is 'T': fix it with fix-shapes"),
    "float[65,1,1] x": (f"{RNN} (x, W, R)", "it has 65 steps, of 1 to 64 that are written"),
    "float[2,1,1] x, int32[1] l": (
        f"{RNN} (x, W, R, , l)",
        "its sequence lengths are given at run time by 'l'",
    ),
    "float[2,1,1] x, float[1,1,1] V": (f"{RNN} (x, V, R)", "its weights are computed at run time"),
    "float[2,1,1] x, float[1,2] b": (f"{RNN} (x, W, R, b)", "its weights are computed at run time"),
    "float[2,1,1] x": (f"{RNN} (x, W, R, , short)", "its sequences are shorter than the 2 steps"),
    "float[1,1,1] x": (
        'RNN <hidden_size = 1, activations = ["ScaledTanh"]> (x, W, R)',
        "its activation ScaledTanh needs activation_alpha",
    ),
    "float[3,1,1] x": (
        'RNN <hidden_size = 1, activations = ["Tanh", "Tanh"]> (x, W, R)',
        "it names 2 activations where 1 belong",
    ),
    "float[4,1,1] x": (
        'RNN <hidden_size = 1, direction = "bidirectional"> (x, W, R)',
        "'W' has the shape [1, 1, 1] where [2, 1, 1] belongs",
    ),
    "float[5,1,1] x": ('RNN <hidden_size = 1, direction = "up"> (x, W, R)', "its direction 'up' is none of"),
    "float[6,1,1] x": (
        "LSTM <hidden_size = 1> (x, W, R)",
        "'W' has the shape [1, 1, 1] where [1, 4, 1] belongs",
    ),
}


def test_weights_without_elements_give_no_length(onnx_text: Callable[..., ir.Model]) -> None:
    """Their shape may say any number."""
    model = onnx_text("g (float[2,1,1] x) => (float[2,1,1,?] y) { y = RNN (x, W, R) }")
    for name, shape in (("W", (1, 0, 1)), ("R", (1, 0, 10**12))):
        value = next(v for v in model.graph.node(0).inputs if v is not None and v.name == name)
        value.const_value = ir.tensor(np.zeros(shape, np.float32), name=name)
        value.shape, value.type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
        model.graph.initializers.add(value)
    assert "'W' has the shape [1, 0, 1]" in UnrollRecurrent().run(model, Context()).skips[0].reason


@pytest.mark.parametrize("inputs", LEFT_ALONE)
def test_left_alone_with_the_reason(onnx_text: Callable[..., ir.Model], inputs: str) -> None:
    call, reason = LEFT_ALONE[inputs]
    weights = "float[1,1,1] W = {2}, float[1,1,1] R = {3}, int32[1] short = {1}"
    model = onnx_text(f"g ({inputs}) => (float[?,1,1,1] y) <{weights}> {{ y = {call} }}")
    done = UnrollRecurrent().run(model, Context())
    assert not done.modified
    assert [reason in skip.reason for skip in done.skips] == [True], done.skips


def test_more_steps_where_asked_for(rewrite: Rewrite) -> None:
    text = """g (float[3,1,1] x) => (float[1,1,1] h) <float[1,1,1] W, float[1,1,1] R> {
        y, h = RNN <hidden_size = 1> (x, W, R) }"""
    rewrite("unroll-recurrent{steps=2}", before=text, after=None)
    with pytest.raises(UsageError, match="steps must be at least 1, not 0"):
        UnrollRecurrent(steps=0)
