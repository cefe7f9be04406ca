"""Going up the ladder: making candidates, measuring them, and remembering the best."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import onnx_ir as ir

from onnxq import model_io
from onnxq._version import __version__
from onnxq.errors import OnnxqError
from onnxq.pipeline.context import Context
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import Pipeline, parse
from onnxq.runtime import Session
from onnxq.search.budget import Budget
from onnxq.search.choice import COVERAGES, RUNGS, Choice, compose, cut, inserter_of
from onnxq.search.memo import Clock, MemoContext, OutOfTimeError
from onnxq.search.metrics import Metric, MetricError, Sqnr
from onnxq.search.precision import choose_precision
from onnxq.search.shares import shares
from onnxq.search.trials import Results, Trial

__all__ = ["Climb"]

_AT_LEAST = 3
"""Nodes that mixed precision may exempt however small the model is; with a coverage of 1 none."""

_RUNS = 3


@dataclass
class Climb:
    """One search: from the simplest candidate up, rung by rung."""

    source: ir.Model
    digest: str
    context: MemoContext
    clock: Clock
    metric: Metric
    results: Results
    start: Pipeline
    folder: Path = field(default_factory=Path)
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    finished: bool = True
    given_up: list[str] = field(default_factory=list)
    """Candidates whose part of the time was over."""
    hopeless: bool = False
    """Whether the metric could not be taken of the float model."""
    _prepared: dict[str, ir.Model] = field(default_factory=dict)
    _kept: dict[str, ir.Model] = field(default_factory=dict)
    """The model of the best trial that was made here, by its pipeline."""
    _top: float = -math.inf

    def all(self, coverage: float) -> Trial:
        """Every rung, then mixed precision; the best trial.

        Raises:
            MetricError: nothing could be measured.
        """
        choice = Choice(method=inserter_of(self.start).method)
        best = self.try_one(choice)
        if best.value is None and self.hopeless:
            raise MetricError(f"{best.failure}; so it did for the float model: nothing can be compared")
        if self.clock.is_over:
            self.notes.append("the first candidate and the metric of the float model took all of the time")
        self.clock.strict = best.value is not None
        for rung in RUNGS:
            self.clock.until = rung.until
            for candidate in list(rung.choices(choice)):
                trial = self.try_one(candidate)
                if _better(trial, best):
                    best, choice = trial, candidate
                self.clock.strict = best.value is not None
        if self.given_up:
            self.notes.append(f"given up, as their part of the time was over: {', '.join(self.given_up)}")
        self.clock.until = 1.0
        for share in COVERAGES:
            if not coverage <= share < 1 or best.value is None:
                continue
            mixed = self.mixed(choice, share)
            if mixed is not None and _better(trial := self.try_one(mixed), best):
                best = trial
        if best.value is None:
            reasons: dict[str, list[str]] = {}
            for trial in self.trials:
                reasons.setdefault(trial.failure, []).append(trial.title)
            listed = "; ".join(f"{', '.join(titles)}: {reason}" for reason, titles in reasons.items())
            raise MetricError(f"no candidate could be made and measured: {listed}")
        return best

    def try_one(self, choice: Choice) -> Trial:
        """Make and measure one candidate; what goes wrong is its failure, and the search goes on."""
        pipeline = compose(self.start, choice)
        text = str(pipeline)
        known = next((trial for trial in self.trials if trial.pipeline == text), None)
        if known is not None:
            return known
        trial = self.results.trial(text)
        if trial is None:
            try:
                self.clock(f"trying {choice.title}", len(self.trials), len(self.trials) + 1)
                trial = self.made(choice.title, pipeline)
            except OutOfTimeError:
                self.finished = False
                self.given_up.append(choice.title)
                return Trial(choice.title, text, None, failure="the time budget was used up")
            except OnnxqError as error:
                trial = Trial(choice.title, text, None, failure=str(error))
                self.notes.append(f"candidate '{choice.title}' has no result: {error}")
            self.results.keep(trial)
        self.trials.append(trial)
        return trial

    def made(self, title: str, pipeline: Pipeline) -> Trial:
        begin = perf_counter()
        before, rest = cut(pipeline)
        model = self.prepared(before).clone()
        plan = inserter_of(pipeline).plan(model, self.context)
        cost = shares(model, plan)
        model = run_pipeline(model, rest, self.context).model
        stamp(model, str(pipeline), __version__, self.digest)
        path = self.folder / "candidate.onnx"
        model_io.save(model, path)
        value = self.metric(path, self.clock.left if self.clock.strict else math.inf)
        if value > self._top:
            self._kept, self._top = {str(pipeline): model}, value
        size = sum(file.stat().st_size for file in self.folder.glob("candidate.onnx*"))
        return Trial(
            title,
            str(pipeline),
            value,
            size,
            cost.nodes,
            cost.macs,
            cost.narrow,
            _milliseconds(path, self.context),
            perf_counter() - begin,
            model_io.sha256_of(path),
        )

    def prepared(self, before: Pipeline) -> ir.Model:
        """The model in front of insert-qdq; equal beginnings run once."""
        text = str(before)
        if text not in self._prepared:
            self._prepared[text] = run_pipeline(self.source.clone(), before, self.context).model
        return self._prepared[text]

    def mixed(self, choice: Choice, coverage: float) -> Choice | None:
        """The choice with the exemptions that a search finds; None where it finds none or has no time."""
        pipeline = compose(self.start, choice)
        question = f"mixed precision, coverage={coverage:g}: {pipeline}"
        recipe = self.results.recipe(question)
        if recipe is None:
            if self.clock.is_over:
                self.finished = False
                return None
            try:
                recipe = self.search(pipeline, coverage)
            except OnnxqError as error:
                self.finished = self.finished and not isinstance(error, OutOfTimeError)
                self.notes.append(f"mixed precision with {coverage:.0%} of the nodes on 8 bits: {error}")
                return None
            self.results.keep_recipe(question, recipe)
        if not recipe:
            return None
        rules = recipe.count("[[rule]]")
        return replace(choice, recipe=recipe, mixed=f"mixed {coverage:.0%} ({rules} rules)")

    def search(self, pipeline: Pipeline, coverage: float) -> str:
        model = self.prepared(cut(pipeline)[0])
        nodes = inserter_of(pipeline).plan(model, self.context).quantized_nodes
        budget = Budget(coverage=max(min(coverage, 1 - _AT_LEAST / max(nodes, 1)), 0.0))
        self.clock.strict = False  # the search minds its own time, and gives what it has
        found = choose_precision(
            model, self.context, inserter_of(pipeline), budget, seconds=self.clock.left / 2
        )
        self.clock.strict = True
        self.finished = self.finished and found.complete
        return found.recipe if found.chosen else ""

    def float_value(self, model: ir.Model | Path | str) -> float | None:
        """The metric of the float model: what there is to lose. SQNR compares with it anyway."""
        if isinstance(self.metric, Sqnr):
            return None
        path = self.folder / "float.onnx"
        if isinstance(model, ir.Model):
            model_io.save(model, path)
        else:
            path = Path(model)
        try:
            return self.metric(path)
        except MetricError as error:
            self.notes.append(f"the float model itself: {error}")
            self.hopeless = True
            return None

    def again(self, best: Trial) -> tuple[ir.Model, Trial]:
        """The winner's model: as it was measured, or made anew where an earlier run measured it."""
        if best.pipeline in self._kept:
            return self._kept[best.pipeline], best
        self.clock.strict = False
        context = Context(self.context.target, self.context.samples, self.context.seed, self.clock)
        model = run_pipeline(self.source.clone(), parse(best.pipeline), context).model
        stamp(model, best.pipeline, __version__, self.digest)
        path = self.folder / "winner.onnx"
        model_io.save(model, path)
        digest = model_io.sha256_of(path)
        if digest == best.sha256:
            return model, best
        return model, replace(best, sha256=digest, value=self.metric(path))


def _better(trial: Trial, best: Trial) -> bool:
    return trial.value is not None and (best.value is None or trial.value > best.value)


def _milliseconds(path: Path, context: Context) -> float:
    """The shortest of a few inferences, if the model takes the samples as they are."""
    sample = next(iter(context.samples or ()), None)
    session = Session(path, threads=1)
    ports = {port.name: port.dtype for port in session.inputs}
    if sample is None or any(sample.feeds[name].dtype != dtype for name, dtype in ports.items()):
        return 0.0
    feeds = {name: sample.feeds[name] for name in ports}
    times = []
    for _ in range(_RUNS):
        begin = perf_counter()
        session.run(feeds)
        times.append(perf_counter() - begin)
    return 1e3 * min(times)
