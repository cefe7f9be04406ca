"""The ladder: the known best wins, its text makes the same bytes, failures are named, results resume."""

import math
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

import onnxq
from onnxq.errors import UsageError
from onnxq.pipeline.presets import quantizing
from onnxq.pipeline.spec import parse
from onnxq.search import auto
from onnxq.search import choice as ladder
from onnxq.search.choice import Choice, compose
from onnxq.search.metrics import MetricError
from onnxq.search.trials import Trial, pareto
from onnxq.targets.target import load_target

from .planted import Text, planted, samples


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rung only: the passes of the others have tests of their own."""
    monkeypatch.setattr("onnxq.search.climb.RUNGS", ladder.RUNGS[:1])


@pytest.fixture
def model(onnx_text: Text) -> ir.Model:
    return planted(onnx_text)


def pipeline_of(path: Path) -> str:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["onnxq.pipeline"]


def likes_mse(path: Path) -> float:
    """Two for candidates calibrated with mse, one for others; the float model has no pipeline."""
    return 2.0 if "method=mse" in pipeline_of(path) else 1.0


def test_the_known_best_wins_and_its_text_makes_the_same_bytes(model: ir.Model, tmp_path: Path) -> None:
    source = tmp_path / "float.onnx"
    onnxq.save(model, source)
    found = auto(source, samples(), metric=likes_mse, coverage=1)
    assert "method=mse" in found.pipeline
    assert (found.best.value, found.floats, found.limit, found.finished) == (2.0, None, None, True)
    assert {trial.value for trial in found.trials} == {1.0, 2.0}
    found.save(tmp_path / "auto.onnx")
    onnxq.save(onnxq.run(source, found.pipeline, samples()).model, tmp_path / "again.onnx")
    assert (tmp_path / "auto.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_mixed_precision_wins_by_sqnr_on_held_out_samples(model: ir.Model, tmp_path: Path) -> None:
    source = tmp_path / "float.onnx"
    onnxq.save(model, source)
    found = auto(source, samples(32))
    assert found.recipe is not None
    assert '"ruin"' in found.recipe
    assert found.best.value is not None
    assert found.best.value > 25 > max(t.value or 0 for t in found.trials if "recipe" not in t.pipeline)
    assert found.limit == 24, "a quarter is held out"
    again = onnxq.run(source, found.pipeline, samples(32), limit=24)
    found.save(tmp_path / "auto.onnx")
    onnxq.save(again.model, tmp_path / "again.onnx")
    assert (tmp_path / "auto.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_a_metric_that_fails_for_some_is_named_and_the_search_goes_on(model: ir.Model) -> None:
    def moody(path: Path) -> float:
        if "minmax" in pipeline_of(path):
            raise RuntimeError("no labels")
        return math.nan if "entropy" in pipeline_of(path) else likes_mse(path)

    found = auto(model, samples(), metric=moody, coverage=1)
    assert found.best.value == 2.0
    assert any("'minmax'" in note and "RuntimeError: no labels" in note for note in found.notes)
    assert any("'entropy'" in note and "nan" in note for note in found.notes)


def test_a_metric_that_always_fails_ends_the_search(model: ir.Model) -> None:
    calls: list[Path] = []

    def fails(path: Path) -> float:
        calls.append(path)
        return math.nan

    with pytest.raises(MetricError, match=r"the metric is nan, .*; so it did for the float model"):
        auto(model, samples(), metric=fails, coverage=1)
    assert len(calls) == 2, "the float model and the first candidate"
    with pytest.raises(MetricError, match=r"no candidate could be .*99.999, minmax, .*: the metric is nan,"):
        auto(model, samples(), metric=lambda path: 1.0 if path.stem == "float" else math.nan, coverage=1)


def test_a_search_goes_on_where_it_was_stopped(model: ir.Model, tmp_path: Path) -> None:
    calls: list[Path] = []

    def counted(path: Path) -> float:
        calls.append(path)
        return likes_mse(path)

    first = auto(model, samples(), metric=counted, folder=tmp_path / "results")
    made = len(calls)
    again = auto(model, samples(), metric=counted, folder=tmp_path / "results")
    assert len(calls) - made == 1, "the float model alone is measured again"
    assert again.pipeline == first.pipeline
    for file in (tmp_path / "results").glob("*.json"):
        file.write_text("damaged")
    assert auto(model, samples(), metric=counted, folder=tmp_path / "results").best.value == 2.0


def test_the_time_budget_ends_the_search_with_a_winner(model: ir.Model) -> None:
    found = auto(model, samples(), time_budget=1e-6)
    assert not found.finished
    assert [trial.title for trial in found.trials] == ["percentile:99.999"]
    for wrong in ({"time_budget": 0.0}, {"coverage": 0.0}):
        with pytest.raises(UsageError, match=r"expected more than 0|is a share"):
            auto(model, samples(), **wrong)  # type: ignore[arg-type]


def test_composing_puts_passes_where_they_belong() -> None:
    start = parse(quantizing(load_target("generic-int8")))
    choice = Choice(
        "mse", ("eliminate-identity",), ("infer-shapes",), '[[rule]]\nop = "Conv"\ndtype = "float"'
    )
    names = [step.strip().split("{")[0] for step in str(compose(start, choice)).split(", ")]
    at, split = names.index("insert-qdq"), names.index("expand-for-target")
    assert names[at + 1] == "infer-shapes"
    assert names[split - 1] == "eliminate-identity", "scales pass a gated activation only as a whole"
    assert parse(str(compose(start, choice))) == compose(start, choice)


def test_pareto_keeps_what_no_other_beats() -> None:
    def trial(title: str, value: float | None, size: int, nodes: float) -> Trial:
        return Trial(title, title, value, size, nodes)

    trials = [
        trial("accurate", 3.0, 200, 0.8),
        trial("small", 1.0, 100, 0.8),
        trial("integer", 2.0, 200, 1.0),
        trial("beaten", 2.0, 200, 0.8),
        trial("failed", None, 1, 1.0),
    ]
    assert [t.title for t in pareto(trials)] == ["accurate", "small", "integer"]
