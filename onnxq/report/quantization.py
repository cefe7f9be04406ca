"""What came out of a quantization, in a few lines and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from onnxq._version import __version__
from onnxq.api import Result
from onnxq.pipeline.presets import SCALES
from onnxq.report import plan as plan_report
from onnxq.report.comparison import output_lines
from onnxq.report.table import size
from onnxq.words import plural

__all__ = ["as_dict", "summary"]


def summary(made: Result, data: str | None, sizes: tuple[int, int]) -> Iterator[str]:
    """Nodes on integers, what stayed float and why, size, proof; ``sizes`` are bytes before and after."""
    yield plan_report.headline(made.plan)
    if left := plan_report.left_float(made.plan):
        yield f"not quantized: {plural(len(left), 'node')}"
        yield from (f"  {line}" for line in plan_report.reasons(made.plan))
    yield from plan_report.widened(made.plan)
    yield f"size: {size(sizes[0])} before, {size(sizes[1])} after"
    if made.comparison is not None:
        yield f"against the float model on {plural(made.comparison.samples, 'calibration sample')}:"
        yield from (f"  {line}" for line in output_lines(made.comparison))
    if made.scales is not None and made.scales.name != "as-is":
        before, after = made.scales.measured["as-is"], made.scales.measured[made.scales.name]
        gain = f"on samples held back {after:.1f} dB, {before:.1f} dB without"
        if made.scales.name in SCALES:
            yield f"scales moved by {SCALES[made.scales.name].replace(', ', ' and ')}: {gain}"
        else:
            how = "as --smooth O3 does" if made.scales.name == "O3" else "and scales moved"
            yield f"8 bits for products alone, {how} (for all with --scales as-is): {gain}"
    if data is not None and data.startswith("random:"):
        yield "calibrated on random numbers: a smoke test, not a model to use"
    yield from (f"note: {sentence}" for sentence in made.report.unfinished)


def as_dict(made: Result) -> dict[str, object]:
    """The same, the whole plan and every pass run as plain data for JSON."""
    steps = [
        {
            "place": step.place,
            "pass": step.text,
            "edits": step.edits,
            "seconds": round(step.seconds, 6),
            "skips": [{"node": skip.node, "reason": skip.reason} for skip in step.skips],
        }
        for step in made.report.steps
    ]
    return {
        "onnxq": __version__,
        "pipeline": made.pipeline,
        "scales": None if made.scales is None else asdict(made.scales),
        "plan": plan_report.as_dict(made.plan),
        "steps": steps,
        "comparison": None if made.comparison is None else json.loads(made.comparison.to_json()),
    }
