"""Order, fixed points, places, errors and the stamp of a run."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.errors import ModelError, PassError
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline import registry
from onnxq.pipeline.context import Context
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import Hook, RunReport, StepReport, run_pipeline
from onnxq.pipeline.spec import parse

OnnxText = Callable[..., ir.Model]

FOUR = """g (float[2] x) => (float[2] y) {
    a = Identity (x)  b = Identity (a)  c = Identity (b)  d = Identity (c)  y = Relu (d)
}"""


def _run(model: ir.Model, text: str, *hooks: Hook) -> RunReport:
    return run_pipeline(model, parse(text), Context(), hooks)


def test_repeat_runs_until_nothing_changes_and_reports_every_step_with_its_place(onnx_text: OnnxText) -> None:
    report = _run(onnx_text(FOUR), "test-bypass-identity, repeat(test-nothing, test-bypass-identity)")
    # one Identity goes before the loop, three in its rounds, and the fourth round finds nothing
    places = ["1/2", *(f"2.repeat[{turn}].{i}" for turn in range(1, 5) for i in (1, 2))]
    assert [step.place for step in report.steps] == places
    assert [step.edits for step in report.steps] == [1, 0, 1, 0, 1, 0, 1, 0, 0]
    assert report.edits == 4
    assert report.unfinished == ()
    assert [node.op_type for node in report.model.graph] == ["Relu"]


def test_a_repeat_that_reaches_its_maximum_is_reported(onnx_text: OnnxText) -> None:
    report = _run(onnx_text(FOUR), "repeat(test-bypass-identity){max=2}")
    assert report.edits == 2
    assert "the repeat at place 1 still made 1 edits in round 2" in report.unfinished[0]


def test_nested_repeats_have_nested_places(onnx_text: OnnxText) -> None:
    report = _run(onnx_text(FOUR), "repeat(repeat(test-bypass-identity))")
    assert report.steps[0].place == "1.repeat[1].1.repeat[1].1"
    assert report.edits == 4


def test_an_unexpected_exception_becomes_a_pass_error_with_the_place(onnx_text: OnnxText) -> None:
    with pytest.raises(
        PassError, match=r"'test-broken' \(place 2/2 of .*ZeroDivisionError: division"
    ) as caught:
        _run(onnx_text(FOUR), "test-nothing, test-broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_errors_raised_on_purpose_keep_their_type_and_get_a_note(
    onnx_text: OnnxText, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, rw: Rewriter, context: Context, /) -> None:
        raise ModelError("not this model")

    monkeypatch.setattr(registry.find("test-broken"), "apply", fail)
    with pytest.raises(ModelError, match="not this model") as caught:
        _run(onnx_text(FOUR), "repeat(test-broken)")
    assert caught.value.__notes__ == ["in the pass 'test-broken', place 1.repeat[1].1 of the pipeline"]


def test_hooks_see_the_model_before_and_after(onnx_text: OnnxText) -> None:
    seen: list[tuple[str, int]] = []

    class Watch(Hook):
        def before(self, pass_: object, place: str, model: ir.Model) -> None:
            seen.append((f"before {place}", len(model.graph)))

        def after(self, step: StepReport, model: ir.Model) -> None:
            seen.append((f"after {step.place}", len(model.graph)))

    _run(onnx_text(FOUR), "test-bypass-identity, test-nothing", Watch())
    assert seen == [("before 1/2", 5), ("after 1/2", 4), ("before 2/2", 4), ("after 2/2", 4)]


def test_a_hook_that_keeps_the_input_makes_the_run_work_on_a_copy(onnx_text: OnnxText) -> None:
    class Keep(Hook):
        keeps_input = True

    model = onnx_text(FOUR)
    before = outline(model)
    report = _run(model, "test-bypass-identity", Keep())
    assert outline(model) == before
    assert outline(report.model) != before


def test_the_stamp_tells_how_a_model_was_made_over_two_runs(onnx_text: OnnxText) -> None:
    model = onnx_text(FOUR)
    stamp(model, "a", "1.0", "first")
    stamp(model, "b", "1.1", "second")
    assert dict(model.metadata_props) == {
        "onnxq.pipeline": "a, b",
        "onnxq.version": "1.1",
        "onnxq.input_sha256": "first",
    }
