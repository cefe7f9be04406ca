"""The one-call doors: a float model and samples in, a quantized model with its plan and its proof out.

result = onnxq.quantize("model.onnx", "calib/", target="generic-int8")
print(result.plan.quantized_nodes, result.comparison.outputs[0].sqnr_db)
result.save("model.int8.onnx")
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import onnx_ir as ir

from onnxq import model_io
from onnxq._version import __version__
from onnxq.data.check import check_samples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import Samples, input_specs
from onnxq.data.source import Source, open_samples
from onnxq.errors import UsageError
from onnxq.evaluate.compare import Comparison, compare
from onnxq.pipeline.base import Pass
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import Hook, RunReport, run_pipeline
from onnxq.pipeline.spec import Pipeline, Step, parse
from onnxq.quant.plan import Plan
from onnxq.targets.target import Target, load_target
from onnxq.tensors import tensor_slots

__all__ = [
    "Form",
    "ModelSource",
    "Planner",
    "Result",
    "load_samples",
    "pipeline_text",
    "plan",
    "quantize",
    "run",
]

ModelSource: TypeAlias = ir.Model | Path | str
Form: TypeAlias = Literal["qdq", "integer"]

PROOF_SAMPLES = 16
"""How many of the calibration samples the quantized model is compared with the float one on."""


@dataclass(frozen=True)
class Result:
    """A quantized model, the decisions it was made by, what each pass did, and how close it came.

    ``comparison`` was measured on the first calibration samples and says nothing of unseen data: measure
    the accuracy of your task with :func:`onnxq.compare` on held-out samples.
    """

    model: ir.Model
    plan: Plan
    report: RunReport
    pipeline: str
    comparison: Comparison | None = None

    def save(self, path: Path | str) -> None:
        """Write the model; the file appears whole or not at all.

        Raises:
            ModelError: the path cannot be written.
        """
        model_io.save(self.model, Path(path))


def quantize(
    model: ModelSource,
    data: Source,
    *,
    target: str | Target = "generic-int8",
    form: Form | None = None,
    options: str = "",
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    proof: int = PROOF_SAMPLES,
    progress: Progress = silent,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Quantize a float model after training.

    Args:
        model: a path, or a model in memory, which is not changed.
        data: calibration samples, see :func:`onnxq.data.source.open_samples`.
        target: a name from ``onnxq targets`` or the path of a TOML file.
        form: ``qdq`` or ``integer``; by default what the target takes.
        options: of insert-qdq, as in a pipeline text: ``"symmetric=true activation=int8"``.
        proof: on how many samples the result is compared with the float model; 0 for none.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    source, digest = _open(model)
    samples = load_samples(source, data, preprocessing=preprocessing, limit=limit, seed=seed)
    context = Context(wanted, samples, seed, progress)
    pipeline = parse(pipeline_text(wanted, form, options))
    keeper = _KeepPlan()
    report = run_pipeline(source.clone(), pipeline, context, [keeper, *hooks])
    if keeper.plan is None:
        raise UsageError("the run stopped before insert-qdq: use onnxq run for parts of a pipeline")
    stamp(report.model, str(pipeline), __version__, digest)
    shown = open_samples(samples, input_specs(source), limit=proof) if proof else None
    comparison = compare(source, report.model, shown) if shown is not None else None
    return Result(report.model, keeper.plan, report, str(pipeline), comparison)


def pipeline_text(target: Target, form: Form | None = None, options: str = "") -> str:
    """The pipeline that ``quantize`` runs for a target, as text.

    Raises:
        UsageError: there is no such form.
    """
    wanted = form or target.form
    if wanted not in ("qdq", "integer"):
        raise UsageError(f"no form '{wanted}'; expected qdq or integer")
    insert = f"insert-qdq{{{options}}}" if options else "insert-qdq"
    out = "lower" if wanted == "integer" else f"expand-new-operators{{opset={target.opset}}}, finish"
    return f"prepare, {insert}, fold-fake-quant, {out}"


def run(
    model: ModelSource,
    pipeline: str | Pipeline,
    data: Source | None = None,
    *,
    target: str | Target = "generic-int8",
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    hooks: Sequence[Hook] = (),
) -> RunReport:
    """Run any pipeline on a model; ``data`` is needed only by passes that measure activations.

    Raises:
        OnnxqError: the text cannot be understood, or a pass failed; names the pass and its place.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    steps = parse(pipeline) if isinstance(pipeline, str) else pipeline
    source, digest = _open(model)
    samples = None
    if data is not None:
        samples = load_samples(source, data, preprocessing=preprocessing, limit=limit, seed=seed)
    report = run_pipeline(source.clone(), steps, Context(wanted, samples, seed, progress), hooks)
    stamp(report.model, str(steps), __version__, digest)
    return report


def plan(model: ModelSource, target: str | Target = "generic-int8", options: str = "") -> Plan:
    """What ``quantize`` would do to a model, decided without running it and without any data.

    Raises:
        OnnxqError: the model cannot be read or prepared, or the target or options are wrong.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    prepared = run(model, "prepare", target=wanted).model
    steps = parse(f"insert-qdq{{{options}}}" if options else "insert-qdq").steps
    planner = next(step.pass_ for step in steps if isinstance(step, Step) and isinstance(step.pass_, Planner))
    return planner.plan(prepared, Context(wanted))


def load_samples(
    model: ir.Model,
    data: Source,
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Samples:
    """Open calibration or evaluation data for a model and check all of it.

    Raises:
        DataError: nothing is there, or a sample does not fit; names the sample.
    """
    specs = input_specs(model)
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


def _open(model: ModelSource) -> tuple[ir.Model, str]:
    """The model and the hash that goes into the stamp of what is made of it."""
    if not isinstance(model, ir.Model):
        return model_io.load(Path(model)), model_io.sha256_of(Path(model))
    digest = hashlib.sha256(model_io.skeleton(model).SerializeToString(deterministic=True))
    for slot in tensor_slots(model):
        digest.update(slot.tensor.tobytes())
    return model, digest.hexdigest()
