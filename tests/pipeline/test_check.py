"""``CheckEach`` holds passes to their contracts, names the first value that differs and loses nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.data.samples import Sample, Samples
from onnxq.errors import ContractError
from onnxq.graph.match import scalar
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline import registry
from onnxq.pipeline.base import Contract
from onnxq.pipeline.check import CheckEach
from onnxq.pipeline.context import Context
from onnxq.pipeline.contracts import Limits
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse

OnnxText = Callable[..., ir.Model]
Edit = Callable[[Rewriter], None]

NET = """g (float[N,4] x) => (float[N,4] y, int64[N] best) <float two = {2.0}, int64 axis = {1}> {
    a = Relu (x)  b = Identity (a)  c = Mul (b, two)  d = Sin (c)  y = Add (d, c)
    best = ArgMax <axis = 1, keepdims = 0> (y)
}"""


@dataclass(frozen=True)
class _Ramps(Samples):
    def __iter__(self) -> Iterator[Sample]:
        for i in range(5):
            yield Sample(f"ramp{i}", {"x": np.linspace(-1, 1 + i, 12, dtype=np.float32).reshape(3, 4)})

    def __len__(self) -> int:
        return 5


@pytest.fixture
def edit_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit, Contract], None]:
    """Let the pass ``test-broken`` do something, under a contract."""

    def install(edit: Edit, contract: Contract) -> None:
        cls = registry.find("test-broken")
        monkeypatch.setattr(cls, "apply", lambda self, rw, context: edit(rw))
        monkeypatch.setattr(cls, "contract", contract)

    return install


def test_honest_passes_go_through_and_their_noise_is_measured(onnx_text: OnnxText) -> None:
    check = CheckEach()
    pipeline = parse("test-nothing, test-bypass-identity, test-scale-approximate{factor=1.1}")
    run_pipeline(onnx_text(NET), pipeline, Context(), [check])
    exact, approximate = check.rows
    assert (exact.place, dict(exact.sqnr_db)) == ("2/3", {"y": np.inf})
    assert (approximate.place, approximate.contract) == ("3/3", Contract.APPROXIMATE)
    # scaling by 1.1 is noise of at most a tenth of c plus what Sin makes of it: near 20 dB
    assert 10 < approximate.sqnr_db["y"] < 30


def test_a_breach_names_pass_place_output_first_value_and_amount(onnx_text: OnnxText) -> None:
    model, check = onnx_text(NET), CheckEach()
    before = outline(model)
    with pytest.raises(ContractError) as caught:
        run_pipeline(
            model, parse("test-bypass-identity, test-scale-exact"), Context(samples=_Ramps()), [check]
        )
    message = str(caught.value)
    assert message.startswith(
        "the pass 'test-scale-exact' (place 2/2) broke its contract 'exact': output 'y'"
    )
    assert "sample 'ramp0'" in message
    # x ends at 1, so c = 2 · 1 becomes 2.02: one percent of its largest value
    assert (
        "The first value that differs is 'c', made by Mul (output 'c'): it differs by up to 0.02" in message
    )
    assert outline(model) == before
    assert check.previous is not None
    assert [node.op_type for node in check.previous.graph] == ["Relu", "Mul", "Sin", "Add", "ArgMax"]


def test_limits_can_be_set(onnx_text: OnnxText) -> None:
    """The change of one percent that is a breach by default."""
    check = CheckEach(Limits(rtol=0.1))
    run_pipeline(onnx_text(NET), parse("test-scale-exact"), Context(), [check])
    (row,) = check.rows
    assert row.sqnr_db["y"] < 60, "it was compared, and differs"


def test_a_model_that_stops_running_is_a_breach(
    onnx_text: OnnxText, edit_with: Callable[[Edit, Contract], None]
) -> None:
    def rename(rw: Rewriter) -> None:
        node = next(node for node in rw.model.graph if node.op_type == "Sin")
        rw.replace(node, rw.op("NoSuchOp", node.inputs, like=node.outputs[0]))

    edit_with(rename, Contract.APPROXIMATE)
    with pytest.raises(ContractError, match=r"the model does not run any more: .*NoSuchOp"):
        run_pipeline(onnx_text(NET), parse("test-broken"), Context(), [CheckEach()])


def test_a_model_that_lost_the_type_of_its_input_is_a_breach(
    onnx_text: OnnxText, edit_with: Callable[[Edit, Contract], None]
) -> None:
    def retype(rw: Rewriter) -> None:
        x = rw.model.graph.inputs[0]
        rw.interpose(x, rw.op("Cast", [x], {"to": 1}, like=x))
        rw.set_type(x, ir.DataType.INT8)

    edit_with(retype, Contract.INTEGER_EXACT)
    with pytest.raises(ContractError, match=r"does not take its inputs any more: input 'x' is int8"):
        run_pipeline(onnx_text(NET), parse("test-broken"), Context(), [CheckEach()])


def test_outputs_that_are_no_tensors_are_left_out(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """g (float[2] x) => (float[2] y, seq(float[2]) s) {
            a = Identity (x)  y = Relu (a)  s = SequenceConstruct (a, y)
        }"""
    )
    check = CheckEach()
    run_pipeline(model, parse("test-bypass-identity"), Context(), [check])
    assert dict(check.rows[0].sqnr_db) == {"y": np.inf}


def test_what_cannot_run_before_a_pass_is_reported_as_unchecked(onnx_text: OnnxText) -> None:
    check = CheckEach()
    model = onnx_text(
        "g (float[2] x) => (float[2] y) { a = other.Quant (x)  b = Identity (a)  y = Relu (b) }"
    )
    run_pipeline(model, parse("test-bypass-identity"), Context(), [check])
    assert "ONNX Runtime cannot load" in check.rows[0].unchecked


QDQ = """g (float[N,4] x) => (float[N,4] y) <float s = {0.1}, int8 z = {5}, float t = {0.2}, int8 o = {0}> {
    q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  a = Relu (d)
    r = QuantizeLinear (a, t, o)  y = DequantizeLinear (r, t, o)
}"""


def _to_codes(output_shift: int) -> Edit:
    """Input and output become int8 codes, as a lowering makes them; the output perhaps wrong by a shift.

    The edits go past the Rewriter, which keeps public types.
    """

    def edit(rw: Rewriter) -> None:
        graph = rw.model.graph
        q, dq = graph[0], graph[-1]
        x, y, r = graph.inputs[0], graph.outputs[0], dq.inputs[0]
        assert r is not None
        q.outputs[0].replace_all_uses_with(x)
        shifted = ir.node("Add", [r, rw.const(np.array(output_shift, np.int8), "shift")])
        graph.insert_before(dq, shifted)
        value = shifted.inputs[1]
        assert value is not None
        graph.register_initializer(value)
        graph.outputs[0] = shifted.outputs[0]
        graph.remove([dq, q], safe=True)
        shifted.outputs[0].name, y.name = "y", None
        x.dtype = shifted.outputs[0].dtype = ir.DataType.INT8
        shifted.outputs[0].shape = ir.Shape(["N", 4])
        codes = {"scale.x": "0.1", "zero_point.x": "5", "scale.y": "0.2", "zero_point.y": "0"}
        rw.model.metadata_props.update({f"onnxq.{key}": text for key, text in codes.items()})
        rw.edits += 1

    return edit


@pytest.mark.parametrize(
    ("shift", "breach"), [(0, ""), (1, "has other codes"), (2, "is up to 2 codes apart")]
)
def test_integer_inputs_and_outputs_are_compared_by_their_codes(
    onnx_text: OnnxText, edit_with: Callable[[Edit, Contract], None], shift: int, breach: str
) -> None:
    edit_with(_to_codes(shift), Contract.INTEGER_EXACT)
    check = CheckEach()
    if not breach:
        run_pipeline(onnx_text(QDQ), parse("test-broken"), Context(), [check])
        # the codes are equal, and reading them back as floats costs at most the rounding of 0.2
        assert check.rows[0].sqnr_db["y"] > 120
        return
    with pytest.raises(ContractError, match=f"output 'y' {breach}"):
        run_pipeline(onnx_text(QDQ), parse("test-broken"), Context(), [check])


TWO_LAYERS = """g (float[200] x) => (float[200] y)
  <float s = {0.1}, float t = {0.2}, int8 z = {0}, float eight = {8.0}> {
    q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  m = Mul (d, eight)
    r = QuantizeLinear (m, t, z)  y = DequantizeLinear (r, t, z)
}"""


def _move_codes(count: int, before: str) -> Edit:
    """The first ``count`` inputs of a QuantizeLinear grow by one step of its scale."""

    def edit(rw: Rewriter) -> None:
        node = next(node for node in rw.model.graph if node.outputs[0].name == before)
        offset = np.zeros(200, np.float32)
        offset[:count] = scalar(node.inputs[1])
        rw.set_input(node, 0, rw.op("Add", [node.inputs[0], rw.const(offset, "offset")]))

    return edit


def test_a_code_that_moves_may_move_many_behind_it_if_each_layer_keeps_the_contract(
    onnx_text: OnnxText, edit_with: Callable[[Edit, Contract], None]
) -> None:
    # one of 200 codes moves by one in the first layer, and by 8 · 0.1 / 0.2 = 4 in the second
    edit_with(_move_codes(1, "q"), Contract.INTEGER_EXACT)
    check = CheckEach()
    run_pipeline(onnx_text(TWO_LAYERS), parse("test-broken"), Context(), [check])
    assert check.rows[0].by_layer
    assert 10 < check.rows[0].sqnr_db["y"] < 60


@pytest.mark.parametrize(("count", "layer"), [(3, "q"), (3, "r"), (200, "r")])
def test_a_layer_that_breaks_the_contract_by_itself_is_named(
    onnx_text: OnnxText, edit_with: Callable[[Edit, Contract], None], count: int, layer: str
) -> None:
    edit_with(_move_codes(count, layer), Contract.INTEGER_EXACT)
    with pytest.raises(
        ContractError,
        match=rf"although the codes before it are the same is '{layer}', made by QuantizeLinear",
    ):
        run_pipeline(onnx_text(TWO_LAYERS), parse("test-broken"), Context(), [CheckEach()])
