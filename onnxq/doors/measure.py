"""What quantizing would do, what it would measure, and what it costs: doors that change no model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import onnx_ir as ir

from onnxq import model_io
from onnxq.calibration.calibrate import calibrate as measure
from onnxq.calibration.engines import calibrate_on, open_engine
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.observe import Options
from onnxq.calibration.statistics import Statistic
from onnxq.calibration.store import StatisticsFile
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.source import Source
from onnxq.doors.inputs import load_samples, open_model
from onnxq.errors import UsageError
from onnxq.evaluate.compare import compare as compare_models
from onnxq.evaluate.comparison import Comparison
from onnxq.graph.numeric import Array
from onnxq.model_io import ModelSource
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.presets import Shapes, fixing, preparation, quantizing
from onnxq.pipeline.runner import check_run, run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.plan import Plan
from onnxq.targets.target import Target, load_target

if TYPE_CHECKING:
    from onnxq.evaluate.sensitivity import Sensitivity

__all__ = ["Planner", "calibrate", "compare", "plan", "sensitivity"]


@runtime_checkable
class Planner(Protocol):
    """A pass that decides first and can show its decisions."""

    def plan(self, model: ir.Model, context: Context, /) -> Plan: ...


def plan(
    model: ModelSource,
    target: str | Target = "generic-int8",
    options: str = "",
    *,
    shapes: Shapes | None = None,
    data: Source | None = None,
) -> Plan:
    """What ``quantize`` would do to a model, decided without running it.

    ``shapes`` is as for ``quantize``; only ``samples`` needs ``data``, of which the first sample is read.

    Raises:
        OnnxqError: the model cannot be read or prepared, or the target or options are wrong.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    if data is not None and shapes != "samples":
        raise UsageError("plan reads data for shapes='samples' only, as nothing else needs samples")
    planner = _planner(options, wanted)
    return planner.plan(_prepared(model, wanted, shapes, data), Context(wanted))


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
    shapes: Shapes | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> StatisticsFile:
    """Measure what ``quantize`` would measure, as histograms from which every method finds its ranges.

    Give the result to ``quantize(statistics=…)``. ``path`` is written at checkpoints and at the end; a file
    that is there already is continued. ``engine`` spreads the samples: ``local:4``, ``ray``,
    ``ray://host:10001``. ``state`` is as for :func:`load_samples`, ``shapes`` as for ``quantize``.

    Raises:
        OnnxqError: ModelError, DataError, TargetError or UsageError with one clear message.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    planner, chosen = _planner(options, wanted), None if engine is None else open_engine(engine)
    prepared = _prepared(model, wanted, shapes, data, state, preprocessing)
    names = planner.plan(prepared, Context(wanted)).measured
    samples = load_samples(prepared, data, state=state, preprocessing=preprocessing, limit=limit, seed=seed)
    wants: dict[str, Statistic] = {name: Histogram() for name in names}
    where = Path(path) if path is not None else None
    if chosen is None:
        return measure(prepared, samples, wants, progress, path=where, options=observing)
    return calibrate_on(chosen, prepared, samples, wants, progress, path=where, options=observing)


def sensitivity(
    model: ModelSource,
    data: Source,
    *,
    target: str | Target = "generic-int8",
    options: str = "",
    measured: int = 8,
    shapes: Shapes | None = None,
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
    steps = parse(quantizing(wanted, options=options))
    check_run(steps, Context(wanted))
    prepared = _prepared(model, wanted, shapes, data, preprocessing=preprocessing)
    samples = load_samples(prepared, data, preprocessing=preprocessing, limit=limit, seed=seed)
    inserter = next(p for p in steps.passes() if isinstance(p, Inserter))
    return rank(prepared, Context(wanted, samples, seed, progress), inserter, measured)


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


def _prepared(
    model: ModelSource,
    target: Target,
    shapes: Shapes | None,
    data: Source | None = None,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> ir.Model:
    """The model as insert-qdq finds it; of ``data`` the first sample is read, for ``samples`` as shapes."""
    steps = parse(fixing(shapes) + preparation(target))
    check_run(steps, Context(target))
    source, _ = open_model(model)
    first = None
    if shapes == "samples" and data is not None:
        first = load_samples(source, data, state=state, preprocessing=preprocessing, limit=1)
    return run_pipeline(source.clone(), steps, Context(target, first)).model


def _planner(options: str, target: Target) -> Planner:
    steps = parse(f"insert-qdq{{{options}}}" if options else "insert-qdq")
    check_run(steps, Context(target))
    return next(step for step in steps.passes() if isinstance(step, Planner))
