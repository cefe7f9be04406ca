"""Verify, time, dump, stop, bisect."""

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import ModelError, PassError, UsageError
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline import registry
from onnxq.pipeline.base import Contract
from onnxq.pipeline.bisect import bisect
from onnxq.pipeline.context import Context
from onnxq.pipeline.hooks import DumpAfter, StopAfter, TimePasses, VerifyEach
from onnxq.pipeline.runner import Hook, RunReport, run_pipeline
from onnxq.pipeline.spec import parse

OnnxText = Callable[..., ir.Model]

THREE = "g (float[2] x) => (float[2] y) { a = Identity (x)  b = Identity (a)  c = Neg (b)  y = Relu (c) }"


def _run(model: ir.Model, text: str, *hooks: Hook) -> RunReport:
    return run_pipeline(model, parse(text), Context(), hooks)


def _break_with(patch: pytest.MonkeyPatch, edit: Callable[[ir.Graph], None]) -> None:
    def apply(self: object, rw: Rewriter, context: Context, /) -> None:
        edit(rw.model.graph)
        rw.edits += 1

    patch.setattr(registry.find("test-broken"), "apply", apply)


def test_verify_names_the_pass_that_broke_the_graph(
    onnx_text: OnnxText, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_with(monkeypatch, lambda graph: graph.sort() or graph.append(graph[0]))  # type: ignore[func-returns-value]
    _run(onnx_text(THREE), "test-bypass-identity, test-nothing", VerifyEach())
    with pytest.raises(
        PassError, match=r"'test-broken' \(place 2/2\) left a broken model: Identity .* 'x'|reads"
    ):
        _run(onnx_text(THREE), "test-nothing, test-broken", VerifyEach())


def _to_int8(graph: ir.Graph) -> None:
    graph.outputs[0].dtype = ir.DataType.INT8


def test_only_lowerings_may_change_the_types_of_outputs(
    onnx_text: OnnxText, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_with(monkeypatch, _to_int8)
    with pytest.raises(PassError, match="'y' of the outputs must stay FLOAT; it is INT8"):
        _run(onnx_text(THREE), "test-broken", VerifyEach())
    monkeypatch.setattr(registry.find("test-broken"), "contract", Contract.INTEGER_EXACT)
    _run(onnx_text(THREE), "test-broken, test-nothing", VerifyEach())


def test_verify_refuses_a_broken_input_model(onnx_text: OnnxText) -> None:
    model = onnx_text(THREE)
    model.graph[1].outputs[0].name = "a"
    with pytest.raises(ModelError, match="two values are named 'a'"):
        _run(model, "test-nothing", VerifyEach())


def test_times_are_summed_by_pass(onnx_text: OnnxText) -> None:
    timer = TimePasses()
    report = _run(onnx_text(THREE), "test-nothing, repeat(test-bypass-identity)", timer)
    rows = {name: (runs, edits) for name, runs, edits, _ in timer.rows()}
    assert rows == {"test-nothing": (1, 0), "test-bypass-identity": (3, 2)}
    assert sum(row[3] for row in timer.rows()) == pytest.approx(sum(step.seconds for step in report.steps))


def test_dumps_hold_the_model_after_each_pass_that_edited_it(onnx_text: OnnxText, tmp_path: Path) -> None:
    model = onnx_text(THREE)
    report = _run(model, "test-nothing, repeat(test-bypass-identity)", DumpAfter(tmp_path / "new"))
    stems = ["000-input", "002-test-bypass-identity", "003-test-bypass-identity"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        f"{s}.{e}" for s in stems for e in ("onnx", "txt")
    ]
    assert (tmp_path / f"new/{stems[2]}.txt").read_text() == outline(report.model)
    assert [len(onnx.load(tmp_path / f"new/{stem}.onnx").graph.node) for stem in stems] == [4, 3, 2]


def test_dumps_can_be_limited_to_passes_that_the_pipeline_has(onnx_text: OnnxText, tmp_path: Path) -> None:
    _run(
        onnx_text(THREE), "test-nothing, test-bypass-identity", DumpAfter(tmp_path, ["test-bypass-identity"])
    )
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match="has no pass 'test-nothin'; did you mean 'test-nothing'"):
        _run(onnx_text(THREE), "test-nothing", DumpAfter(tmp_path, ["test-nothin"]))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the folder"):
        _run(onnx_text(THREE), "test-nothing", DumpAfter(tmp_path / "file"))


def test_stop_after_ends_even_inside_a_repeat(onnx_text: OnnxText) -> None:
    report = _run(
        onnx_text(THREE), "repeat(test-bypass-identity, test-nothing), test-broken", StopAfter("test-nothing")
    )
    assert [step.place for step in report.steps] == ["1.repeat[1].1", "1.repeat[1].2"]
    with pytest.raises(UsageError, match="has no pass 'nowhere'; its passes are test-nothing"):
        _run(onnx_text(THREE), "test-nothing", StopAfter("nowhere"))


@pytest.mark.parametrize("bad_from", [1, 2, 3, 5, 6])
def test_bisect_finds_the_first_bad_pass_run(onnx_text: OnnxText, bad_from: int) -> None:
    chain = " ".join(f"a{i} = Identity (a{i - 1})" for i in range(1, 7))
    model = onnx_text(f"g (float[2] x) => (float[2] y) {{ a0 = Neg (x) {chain} y = Relu (a6) }}")
    full, probes = len(model.graph), 0

    def is_bad(candidate: ir.Model) -> bool:
        nonlocal probes
        probes += 1
        return full - len(candidate.graph) >= bad_from

    pipeline = parse("test-nothing, repeat(test-nothing, test-bypass-identity), test-nothing")
    found = bisect(model, pipeline, Context(), is_bad)
    assert found is not None
    assert found.step.place == f"2.repeat[{bad_from}].2"
    assert (full - len(found.before.graph), full - len(found.after.graph)) == (bad_from - 1, bad_from)
    assert probes <= 2 + 3  # both ends, then log2 of 6 edits
    assert len(model.graph) == full


def test_bisect_has_nothing_to_find_where_all_is_good_or_bad_from_the_start(onnx_text: OnnxText) -> None:
    pipeline = parse("test-bypass-identity")
    assert bisect(onnx_text(THREE), pipeline, Context(), lambda model: False) is None
    with pytest.raises(UsageError, match="before the first pass"):
        bisect(onnx_text(THREE), pipeline, Context(), lambda model: True)
