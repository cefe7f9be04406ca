"""Any pipeline on a model."""

from collections.abc import Sequence
from pathlib import Path

from onnxq._version import __version__
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.source import Source
from onnxq.doors.inputs import load_samples, open_model
from onnxq.model_io import ModelSource
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.pipeline.provenance import stamp
from onnxq.pipeline.runner import Hook, RunReport, check_run, run_pipeline
from onnxq.pipeline.spec import Pipeline, parse
from onnxq.targets.target import Target, load_target

__all__ = ["run"]


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

    ``checkpoints`` is as for :func:`onnxq.api.quantize`.

    Raises:
        OnnxqError: the text cannot be understood, or a pass failed; names the pass and its place.
    """
    wanted = target if isinstance(target, Target) else load_target(target)
    steps = parse(pipeline) if isinstance(pipeline, str) else pipeline
    kept = None if checkpoints is None else Path(checkpoints)
    check_run(steps, Context(wanted, checkpoints=kept), hooks)
    source, digest = open_model(model)
    samples = None
    if data is not None:
        samples = load_samples(source, data, preprocessing=preprocessing, limit=limit, seed=seed)
    context = Context(wanted, samples, seed, progress, checkpoints=kept)
    report = run_pipeline(source.clone(), steps, context, hooks)
    stamp(report.model, str(steps), __version__, digest)
    return report
