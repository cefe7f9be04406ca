"""Trying the ladder of :mod:`onnxq.search.choice` against a metric, within a time budget.

    found = onnxq.search.auto("model.onnx", "calib/", metric=lambda path: top1(path), time_budget=600)
    found.best.value, found.pipeline
    found.save("model.int8.onnx")

Without a metric the last quarter of the samples is held out: candidates are calibrated on the others and
scored by the SQNR of their worst output on these. ``onnxq run -p`` with the winner's pipeline, the same data
and ``found.limit`` makes the same bytes.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxq import api, model_io
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.source import Source
from onnxq.errors import UsageError
from onnxq.evaluate.bench import some
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.presets import Form, Io, quantizing
from onnxq.pipeline.runner import check_run, run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.recipe import Recipe
from onnxq.search.choice import cut, inserter_of
from onnxq.search.climb import Climb
from onnxq.search.held_out import Held, split
from onnxq.search.memo import Clock, MemoContext
from onnxq.search.metrics import TIMEOUT, MetricLike, Sqnr, open_metric
from onnxq.search.trials import Results, Trial, pareto
from onnxq.targets.target import Target, load_target

__all__ = ["AutoResult", "auto"]

TIME_BUDGET = 600.0
MIXED = 0.95
"""The share of nodes that must stay on 8 bits, where nobody says."""

_SCORED = 32


@dataclass(frozen=True)
class AutoResult:
    """The winner, all that was tried, and how to make the winner again.

    ``limit``: on how many samples, from the first, it was calibrated; None for all. ``floats``: the metric of
    the float model, where it could be taken. ``finished``: False where the time ran out first.
    """

    best: Trial
    trials: tuple[Trial, ...]
    metric: str
    floats: float | None
    model: ir.Model
    limit: int | None
    finished: bool
    notes: tuple[str, ...] = ()

    @property
    def pipeline(self) -> str:
        """The text that makes the winner of the float model."""
        return self.best.pipeline

    @property
    def recipe(self) -> str | None:
        """The winner's recipe, if it has one."""
        return inserter_of(parse(self.pipeline)).recipe

    @property
    def pareto(self) -> list[Trial]:
        return pareto(self.trials)

    def save(self, path: Path | str) -> None:
        """Write the winner.

        Raises:
            ModelError: the path cannot be written.
        """
        model_io.save(self.model, Path(path))


def auto(
    model: api.ModelSource,
    data: Source,
    *,
    metric: MetricLike | None = None,
    target: str | Target = "generic-int8",
    form: Form | None = None,
    io: Io = "float",
    options: str = "",
    recipe: Recipe | Path | str | None = None,
    coverage: float = MIXED,
    time_budget: float = TIME_BUDGET,
    folder: Path | str | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    timeout: float = TIMEOUT,
    progress: Progress = silent,
) -> AutoResult:
    """Find the pipeline whose model scores best, of those that keep ``coverage`` of the nodes on 8 bits.

    Args:
        metric: a function of the path of a model file, or a command with ``{model}`` in it that prints a
            number; the larger, the better. Default: SQNR on held-out samples.
        coverage: the share of the nodes on 8-bit integers that mixed precision must leave there, though three
            nodes it may always exempt; 1: no mixed precision.
        time_budget: seconds, after which the best so far wins; the first candidate is always made.
        folder: where results are kept; a search that was stopped goes on from there.
        timeout: seconds that a metric command may take for one model.

    Raises:
        MetricError: no candidate could be made and measured; names each with its reason.
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    if not time_budget > 0:
        raise UsageError(f"the time budget is {time_budget:g} s, expected more than 0")
    if not 0 < coverage <= 1:
        raise UsageError(f"coverage is a share of nodes, more than 0 and at most 1, not {coverage:g}")
    wanted = (target if isinstance(target, Target) else load_target(target)).lowered_to(form)
    given = open_metric(metric, timeout)
    where = Path(folder) if folder is not None else None
    start = parse(quantizing(wanted, form, api.with_recipe(options, recipe), io))
    check_run(start, Context(wanted, checkpoints=where))
    source = model if isinstance(model, ir.Model) else model_io.load(Path(model))
    samples = api.load_samples(source, data, preprocessing=preprocessing, limit=limit, seed=seed)
    parts = split(samples) if given is None else (samples, samples)
    clock = Clock(progress, time_budget)
    context = MemoContext(wanted, parts[0], seed, clock, checkpoints=where)
    digest = _digest(source) if isinstance(model, ir.Model) else model_io.sha256_of(Path(model))
    reference = run_pipeline(source.clone(), cut(start)[0], context).model
    chosen = given or Sqnr(reference, Held(tuple(some(parts[1], _SCORED))))
    identity = [digest, samples.fingerprint(), str(len(parts[0])), _facts(wanted), chosen.name, str(seed)]
    results = Results(where, identity)
    climb = Climb(source, digest, context, clock, chosen, results, start)
    if parts[0] is parts[1] and isinstance(chosen, Sqnr):
        climb.notes.append(
            "fewer than four samples: scored on those that were calibrated on, which says little"
        )
    with tempfile.TemporaryDirectory(prefix="onnxq-auto-") as place:
        climb.folder = Path(place)
        floats = climb.float_value(model)
        best = climb.all(coverage)
        made, best = climb.again(best)
    calibrated = len(parts[0]) if len(parts[0]) < len(samples) else limit
    return AutoResult(
        best, tuple(climb.trials), chosen.name, floats, made, calibrated, climb.finished, tuple(climb.notes)
    )


def _facts(target: Target) -> str:
    """A target as a text that is the same in every process; sets have no order."""
    facts = {k: sorted(map(str, v)) if isinstance(v, frozenset) else str(v) for k, v in vars(target).items()}
    return repr(sorted(facts.items()))


def _digest(model: ir.Model) -> str:
    return hashlib.sha256(model_io.skeleton(model).SerializeToString(deterministic=True)).hexdigest()
