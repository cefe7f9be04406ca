"""The one-call doors: a float model and samples in, a quantized model with its plan and its proof out.

result = onnxq.quantize("model.onnx", "calib/", target="generic-int8")
print(result.plan.quantized_nodes, result.comparison.outputs[0].sqnr_db)
result.save("model.int8.onnx")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxq import model_io
from onnxq._version import __version__
from onnxq.calibration.store import StatisticsFile
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import input_specs
from onnxq.data.source import Source, open_samples
from onnxq.doors.inputs import load_samples, open_model
from onnxq.doors.measure import Planner, calibrate, compare, plan, sensitivity
from onnxq.doors.run import run
from onnxq.doors.techniques import Rounding, Scales, Techniques, decide
from onnxq.errors import UsageError
from onnxq.evaluate.compare import compare as compare_models
from onnxq.evaluate.comparison import Comparison
from onnxq.evaluate.rivals import Chosen
from onnxq.graph.scopes import named_values
from onnxq.model_io import ModelSource
from onnxq.pipeline.base import Pass
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.options import quote
from onnxq.pipeline.presets import Form, Io, Level, Shapes
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import Hook, RunReport, check_run, run_pipeline
from onnxq.pipeline.spec import Pipeline, parse
from onnxq.quant.plan import Plan
from onnxq.quant.recipe import Recipe
from onnxq.targets.target import Target, load_target

__all__ = [
    "Form",
    "ModelSource",
    "Planner",
    "Result",
    "Rounding",
    "Scales",
    "Shapes",
    "calibrate",
    "compare",
    "load_samples",
    "plan",
    "quantize",
    "run",
    "sensitivity",
    "with_recipe",
]


_FIRST_WITH_KERNELS = 7

PROOF_SAMPLES = 16
"""How many of the calibration samples the quantized model is compared with the float one on."""


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
    shapes: Shapes | None = None,
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
            its ``RIVALS`` brings them closer by more than chance on samples that were held back, see
            :func:`onnxq.evaluate.rivals.choose`. It is ``as-is`` with random samples or fewer than
            ``FOR_SCALES``, with a level, and with a recipe or statistics, which speak of the model as it is.
            A model with MatMuls that all these leave further off than 10 dB gets 8 bits for its products
            alone, if that halves the error: the level ``O3``, or ``both`` with ``others=float`` of insert-qdq
            (16 bits where nothing may be float). In 8 bits a residual stream loses its small channels.
        rounding: ``nearest``, or ``gptq``: so that the outputs of the layers come out right, not the weights;
            closer, and several times slower, see the pass round-weights for more. ``auto`` is ``gptq`` where
            there are at least ``FOR_ROUNDING`` samples, not random ones, and no level.
        options: of insert-qdq, as in a pipeline text: ``"symmetric=true activation=int8"``.
        recipe: what single nodes and values shall have, see :mod:`onnxq.quant.recipe`: the path of a TOML
            file, its text, or a recipe.
        statistics: of :func:`calibrate` with the same target and options; ``data`` then serves the proof.
        state: of a model that hands state from step to step, see :func:`load_samples`. Where the model
            gives and takes codes, the output gets the scale of the input that takes it.
        shapes: lengths of open axes, such as ``{"batch": 1}``, or ``samples`` for those of the first sample.
        proof: on how many samples the result is compared with the float model; 0 for none. Random samples
            prove nothing and are not compared.
        checkpoints: a folder in which passes that learn for long, such as round-weights, keep what is done;
            an interrupted run goes on from there to the same bytes.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    wanted = (target if isinstance(target, Target) else load_target(target)).lowered_to(form)
    kept = None if checkpoints is None else Path(checkpoints)
    asked = Techniques(wanted, wanted.form, options, level, scales, rounding, shapes)
    tied = state if io == "int8" or wanted.form == "integer" else None
    extra = with_recipe(_tying(tied or {}), recipe)
    # What does not depend on the samples is checked before them, and before anything runs.
    check_run(parse(asked.text(io, extra)), Context(wanted, checkpoints=kept), hooks)
    if isinstance(statistics, Path | str):
        statistics = StatisticsFile.load(Path(statistics))
    source, digest = open_model(model)
    samples = None
    if data is not None:
        samples = load_samples(source, data, state=state, preprocessing=preprocessing, limit=limit, seed=seed)
    context = Context(wanted, samples, seed, progress, statistics, kept)
    known = 0 if samples is None or _is_random(data) else len(samples)
    decided = decide(asked, source, context, known, choosing=not (recipe or statistics))
    pipeline = parse(decided.text(io, extra))
    keeper = _KeepPlan()
    report = run_pipeline(source.clone(), pipeline, context, [keeper, *hooks])
    if keeper.plan is None:
        raise UsageError("the run stopped before insert-qdq: use onnxq run for parts of a pipeline")
    stamp(report.model, str(pipeline), __version__, digest)
    comparison = None
    if proof and samples is not None and not _is_random(data):
        shown = open_samples(samples, input_specs(source), limit=proof)
        comparison = compare_models(_runnable(source, context), report.model, shown, optimize=False)
    return Result(report.model, keeper.plan, report, str(pipeline), comparison, decided.chosen)


def _tying(state: Mapping[str, str]) -> str:
    """The option of insert-qdq by which each output shares the scale of the input that takes it."""
    pairs = "|".join(quote(f"{output}={name}") for output, name in state.items())
    return f"state={pairs}" if pairs else ""


def with_recipe(options: str, recipe: Recipe | Path | str | None) -> str:
    """The options of insert-qdq with a recipe among them, so that the text of the pipeline tells all."""
    if recipe is None:
        return options
    text = recipe.toml() if isinstance(recipe, Recipe) else str(recipe)
    return f"{options} recipe={quote(text)}".strip()


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
