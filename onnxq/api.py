"""The one-call doors: a float model and samples in, a quantized model with its plan and its proof out.

result = onnxq.quantize("model.onnx", "calib/", target="generic-int8")
print(result.plan.quantized_nodes, result.comparison.outputs[0].sqnr_db)
result.save("model.int8.onnx")
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import onnx_ir as ir

from onnxq import model_io
from onnxq._version import __version__
from onnxq.calibration.calibrate import calibrate as measure
from onnxq.calibration.engines import calibrate_on, open_engine
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.observe import Options
from onnxq.calibration.statistics import Statistic
from onnxq.calibration.store import StatisticsFile
from onnxq.data.check import check_samples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import Samples, input_specs
from onnxq.data.sequences import carry_state
from onnxq.data.source import Source, open_samples
from onnxq.errors import UsageError
from onnxq.evaluate.compare import compare as compare_models
from onnxq.evaluate.comparison import Comparison
from onnxq.evaluate.rivals import Chosen, choose
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import named_values
from onnxq.model_io import ModelSource
from onnxq.pipeline.base import Pass
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.options import quote
from onnxq.pipeline.presets import SCALES, Form, Io, Level, preparation, quantizing
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import Hook, RunReport, run_pipeline
from onnxq.pipeline.spec import Pipeline, parse
from onnxq.quant.plan import Plan
from onnxq.quant.recipe import Recipe
from onnxq.targets.target import Target, load_target
from onnxq.tensors import tensor_slots

if TYPE_CHECKING:
    from onnxq.evaluate.sensitivity import Sensitivity

__all__ = [
    "Form",
    "ModelSource",
    "Planner",
    "Result",
    "Rounding",
    "Scales",
    "calibrate",
    "compare",
    "load_samples",
    "plan",
    "quantize",
    "run",
    "sensitivity",
    "with_recipe",
]


Scales: TypeAlias = Literal["auto", "as-is", "equalize", "smooth", "both"]
"""Whether scales per channel are moved through the graph before anything is rounded, and by which passes."""

Rounding: TypeAlias = Literal["auto", "nearest", "gptq"]
"""How weights are rounded."""

_FIRST_WITH_KERNELS = 7

PROOF_SAMPLES = 16
"""How many of the calibration samples the quantized model is compared with the float one on."""

RIVALS = ("as-is", "equalize", "both")
"""What is tried where nobody says whether scales are to be moved, each a step further than the one before."""

FOR_SCALES = 16
"""Below so many samples, too few can be held back to tell whether moved scales win."""

FOR_ROUNDING = 32
"""Below so many samples, round-weights warns that it learns what may not hold for others."""


@dataclass(frozen=True)
class Result:
    """A quantized model, the decisions it was made by, what each pass did, and how close it came.

    ``comparison`` was measured on the first calibration samples, the graph computed as it is written. It
    says nothing of unseen data: measure the accuracy of your task with :func:`compare` on held-out samples.
    """

    model: ir.Model
    plan: Plan
    report: RunReport
    pipeline: str
    comparison: Comparison | None = None
    scales: Chosen | None = None
    """Whether scales were moved, and what that was measured to win; None where nobody had to choose."""

    def save(self, path: Path | str) -> None:
        """Write the model; the file appears whole or not at all.

        Raises:
            ModelError: the path cannot be written.
        """
        model_io.save(self.model, Path(path))


def quantize(
    model: ModelSource,
    data: Source | None = None,
    *,
    target: str | Target = "generic-int8",
    form: Form | None = None,
    io: Io = "float",
    level: Level | None = None,
    scales: Scales = "auto",
    rounding: Rounding = "auto",
    options: str = "",
    recipe: Recipe | Path | str | None = None,
    statistics: StatisticsFile | Path | str | None = None,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    proof: int = PROOF_SAMPLES,
    checkpoints: Path | str | None = None,
    progress: Progress = silent,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Quantize a float model after training.

    Args:
        model: a path, or a model in memory, which is not changed.
        data: calibration samples, see :func:`onnxq.data.source.open_samples`.
        target: a name from ``onnxq targets`` or the path of a TOML file.
        form: ``qdq``, ``qoperator`` or ``integer``; by default what the target takes.
        io: ``int8`` lets a Q/DQ or QOperator model take and give codes; ``integer`` always does.
        level: ``O1``, ``O2`` or ``O3`` of SmoothQuant, for transformers: products alone in 8 bits, after
            smoothing; activations quantized per token or per tensor at run time, or statically.
        scales: ``as-is`` quantizes the model as it is; ``equalize``, ``smooth`` and ``both`` run these passes
            first. ``auto`` is ``as-is``, unless that leaves outputs far from the float model's and another of
            ``RIVALS`` brings them closer by more than chance on samples that were held back, see
            :func:`onnxq.evaluate.rivals.choose`. It is ``as-is`` with random samples or fewer than
            ``FOR_SCALES``, with a level, and with a recipe or statistics, which speak of the model as it is.
        rounding: ``nearest``, or ``gptq``: so that the outputs of the layers come out right, not the weights;
            closer, and several times slower, see the pass round-weights for more. ``auto`` is ``gptq`` where
            there are at least ``FOR_ROUNDING`` samples, not random ones, and no level.
        options: of insert-qdq, as in a pipeline text: ``"symmetric=true activation=int8"``.
        recipe: what single nodes and values shall have, see :mod:`onnxq.quant.recipe`: the path of a TOML
            file, its text, or a recipe.
        statistics: of :func:`calibrate` with the same target and options; ``data`` then serves the proof.
        state: of a model that hands state from step to step, see :func:`load_samples`.
        proof: on how many samples the result is compared with the float model; 0 for none. Random samples
            prove nothing and are not compared.
        checkpoints: a folder in which passes that learn for long, such as round-weights, keep what is done;
            an interrupted run goes on from there to the same bytes.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    source, digest = _open(model)
    samples = None
    if data is not None:
        samples = load_samples(source, data, state=state, preprocessing=preprocessing, limit=limit, seed=seed)
    if isinstance(statistics, Path | str):
        statistics = StatisticsFile.load(Path(statistics))
    context = Context(wanted, samples, seed, progress, statistics, _folder(checkpoints))
    known = 0 if samples is None or _is_random(data) or level else len(samples)
    moving, chosen = ("as-is" if scales == "auto" else str(scales)), None
    if scales == "auto" and known >= FOR_SCALES and not (recipe or statistics):
        chosen = _choose_scales(source, context, options)
        moving = chosen.name
    fitted = ("gptq" if known >= FOR_ROUNDING else "nearest") if rounding == "auto" else rounding
    pipeline = parse(quantizing(wanted, form, with_recipe(options, recipe), io, level, moving, fitted))
    keeper = _KeepPlan()
    report = run_pipeline(source.clone(), pipeline, context, [keeper, *hooks])
    if keeper.plan is None:
        raise UsageError("the run stopped before insert-qdq: use onnxq run for parts of a pipeline")
    stamp(report.model, str(pipeline), __version__, digest)
    comparison = None
    if proof and samples is not None and not _is_random(data):
        shown = open_samples(samples, input_specs(source), limit=proof)
        comparison = compare_models(_runnable(source, context), report.model, shown, optimize=False)
    return Result(report.model, keeper.plan, report, str(pipeline), comparison, chosen)


def _choose_scales(source: ir.Model, context: Context, options: str) -> Chosen:
    """Measured as Q/DQ, whatever form is wanted: it rounds the same, and runs many times faster."""
    rivals = {name: parse(quantizing(context.target, "qdq", options, scales=name)) for name in RIVALS}
    return choose(source, rivals, context, tuple(SCALES))


def with_recipe(options: str, recipe: Recipe | Path | str | None) -> str:
    """The options of insert-qdq with a recipe among them, so that the text of the pipeline tells all."""
    if recipe is None:
        return options
    text = recipe.toml() if isinstance(recipe, Recipe) else str(recipe)
    return f"{options} recipe={quote(text)}".strip()


def run(
    model: ModelSource,
    pipeline: str | Pipeline,
    data: Source | None = None,
    *,
    target: str | Target = "generic-int8",
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    checkpoints: Path | str | None = None,
    progress: Progress = silent,
    hooks: Sequence[Hook] = (),
) -> RunReport:
    """Run any pipeline on a model; ``data`` is needed only by passes that measure activations.

    ``checkpoints`` is as for :func:`quantize`.

    Raises:
        OnnxqError: the text cannot be understood, or a pass failed; names the pass and its place.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    steps = parse(pipeline) if isinstance(pipeline, str) else pipeline
    source, digest = _open(model)
    samples = None
    if data is not None:
        samples = load_samples(source, data, preprocessing=preprocessing, limit=limit, seed=seed)
    context = Context(wanted, samples, seed, progress, checkpoints=_folder(checkpoints))
    report = run_pipeline(source.clone(), steps, context, hooks)
    stamp(report.model, str(steps), __version__, digest)
    return report


def plan(model: ModelSource, target: str | Target = "generic-int8", options: str = "") -> Plan:
    """What ``quantize`` would do to a model, decided without running it and without any data.

    Raises:
        OnnxqError: the model cannot be read or prepared, or the target or options are wrong.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    prepared = run(model, preparation(wanted), target=wanted).model
    return _planner(options).plan(prepared, Context(wanted))


def calibrate(
    model: ModelSource,
    data: Source,
    *,
    target: str | Target = "generic-int8",
    options: str = "",
    path: Path | str | None = None,
    engine: str | None = None,
    observing: Options | None = None,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> StatisticsFile:
    """Measure what ``quantize`` would measure, as histograms from which every method finds its ranges.

    Give the result to ``quantize(statistics=…)``. ``path`` is written at checkpoints and at the end; a file
    that is there already is continued. ``engine`` spreads the samples: ``local:4``, ``ray``,
    ``ray://host:10001``. ``state`` is as for :func:`load_samples`.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    prepared = run(model, preparation(wanted), target=wanted).model
    names = _planner(options).plan(prepared, Context(wanted)).measured
    samples = load_samples(prepared, data, state=state, preprocessing=preprocessing, limit=limit, seed=seed)
    wants: dict[str, Statistic] = {name: Histogram() for name in names}
    where = Path(path) if path is not None else None
    if engine is None:
        return measure(prepared, samples, wants, progress, path=where, options=observing)
    chosen = open_engine(engine)
    return calibrate_on(chosen, prepared, samples, wants, progress, path=where, options=observing)


def sensitivity(
    model: ModelSource,
    data: Source,
    *,
    target: str | Target = "generic-int8",
    options: str = "",
    measured: int = 8,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> "Sensitivity":
    """What each layer and value costs when it alone is quantized, ranked; errors on ``measured`` samples.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    from onnxq.evaluate.bench import Inserter
    from onnxq.evaluate.sensitivity import sensitivity as rank

    wanted = target if isinstance(target, Target) else load_target(target)
    prepared = run(model, preparation(wanted), target=wanted).model
    samples = load_samples(prepared, data, preprocessing=preprocessing, limit=limit, seed=seed)
    inserter = next(p for p in parse(quantizing(wanted, options=options)).passes() if isinstance(p, Inserter))
    return rank(prepared, Context(wanted, samples, seed, progress), inserter, measured)


def _planner(options: str) -> "Planner":
    steps = parse(f"insert-qdq{{{options}}}" if options else "insert-qdq").passes()
    return next(step for step in steps if isinstance(step, Planner))


def compare(
    reference: ModelSource,
    test: ModelSource,
    data: Source,
    *,
    per_tensor: bool = False,
    labels: Array | Path | str | None = None,
    label_offset: int = 0,
    optimize: bool = True,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Run two models on the same samples; see :func:`onnxq.evaluate.compare.compare`.

    ``data`` is named and typed as the reference takes it. With a ``limit``, labels beyond it are left out.

    Raises:
        OnnxqError: a model cannot run, or samples or labels do not fit.
    """
    first = reference if isinstance(reference, ir.Model) else model_io.load(Path(reference))
    samples = load_samples(first, data, state=state, preprocessing=preprocessing, limit=limit, seed=seed)
    return compare_models(
        reference,
        test,
        samples,
        per_tensor=per_tensor,
        labels=labels,
        label_offset=label_offset,
        optimize=optimize,
        progress=progress,
    )


def load_samples(
    model: ir.Model,
    data: Source,
    *,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Samples:
    """Open calibration or evaluation data for a model and check all of it.

    With ``state``, a map from outputs to the inputs that take them at the next step, the samples are steps of
    sequences, see :func:`onnxq.data.sequences.carry_state`.

    Raises:
        DataError: nothing is there, or a sample does not fit; names the sample.
    """
    specs = input_specs(model)
    if state:
        opened = carry_state(model, data, state, preprocessing=preprocessing, limit=limit, seed=seed)
    else:
        opened = open_samples(data, specs, preprocessing=preprocessing, limit=limit, seed=seed)
    return check_samples(opened, specs)


@runtime_checkable
class Planner(Protocol):
    """A pass that decides first and can show its decisions."""

    def plan(self, model: ir.Model, context: Context, /) -> Plan: ...


@dataclass
class _KeepPlan(Hook):
    """Keeps the plan of the pass that plans."""

    plan: Plan | None = None
    _context: Context | None = None

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        self._context = context

    def before(self, pass_: Pass, place: str, model: ir.Model) -> None:
        if isinstance(pass_, Planner) and self._context is not None:
            self.plan = pass_.plan(model, self._context)


def _folder(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


def _is_random(data: Source | None) -> bool:
    return isinstance(data, str) and data.startswith("random:")


def _runnable(source: ir.Model, context: Context) -> ir.Model:
    """The float model as ONNX Runtime can run it.

    It has no kernels for most operators before opset 7, and few for float64 and bfloat16.
    """
    rare = (ir.DataType.DOUBLE, ir.DataType.BFLOAT16)
    modern = source.opset_imports.get("", _FIRST_WITH_KERNELS) >= _FIRST_WITH_KERNELS
    if modern and not any(value.dtype in rare for value in named_values(source).values()):
        return source
    return run_pipeline(
        source.clone(), parse("inline-functions, raise-opset, floats-to-float32"), context
    ).model


def _open(model: ModelSource) -> tuple[ir.Model, str]:
    """The model and the hash that goes into the stamp of what is made of it."""
    if not isinstance(model, ir.Model):
        return model_io.load(Path(model)), model_io.sha256_of(Path(model))
    digest = hashlib.sha256(model_io.skeleton(model).SerializeToString(deterministic=True))
    for slot in tensor_slots(model):
        digest.update(slot.tensor.tobytes())
    return model, digest.hexdigest()
