"""What ``quantize`` does where nobody says: which scales move, how weights round, what 8 bits are for.

Asked is a :class:`Techniques` with ``auto`` in it, decided is one without.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import onnx_ir as ir

from onnxq.evaluate.rivals import Chosen, choose
from onnxq.graph.match import is_op
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.context import Context
from onnxq.pipeline.presets import SCALES, Level, Shapes, fixing, quantizing
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import Pipeline, parse
from onnxq.targets.target import Target

__all__ = ["FOR_ROUNDING", "FOR_SCALES", "RESORTS", "RIVALS", "Rounding", "Scales", "Techniques", "decide"]

Scales: TypeAlias = Literal["auto", "as-is", "equalize", "smooth", "both"]
"""Whether scales per channel are moved through the graph before anything is rounded, and by which passes."""

Rounding: TypeAlias = Literal["auto", "nearest", "gptq"]
"""How weights are rounded."""

RIVALS: tuple[Scales, ...] = ("as-is", "equalize", "both")
"""What is tried where nobody says whether scales are to be moved, each a step further than the one before."""

RESORTS = ("O3", "products")
"""8 bits for products alone, where scales leave a model with MatMuls far off: the level, or with ``both``."""

FOR_SCALES = 16
"""Below so many samples, too few can be held back to tell whether moved scales win."""

FOR_ROUNDING = 32
"""Below so many samples, round-weights warns that it learns what may not hold for others."""


@dataclass(frozen=True)
class Techniques:
    """What settles the pipeline for a target: the arguments of :func:`onnxq.pipeline.presets.quantizing`.

    ``chosen`` is what scales were measured to win; None where nobody had to choose.
    """

    target: Target
    form: str
    options: str = ""
    level: Level | None = None
    scales: Scales = "auto"
    rounding: Rounding = "auto"
    shapes: Shapes | None = None
    bias: str = ""
    chosen: Chosen | None = None

    def text(self, io: str, extra: str) -> str:
        """The pipeline, ``auto`` taken as the plain way; ``extra`` are options of insert-qdq beside these."""
        options = f"{self.options} {extra}".strip()
        scales = "as-is" if self.scales == "auto" else self.scales
        rounding = "nearest" if self.rounding == "auto" else self.rounding
        text = quantizing(self.target, self.form, options, io, self.level, scales, rounding, self.bias)
        return fixing(self.shapes) + text


def decide(
    asked: Techniques, source: ir.Model, context: Context, known: int, *, choosing: bool
) -> Techniques:
    """What to do with ``source``, of which ``known`` samples are known that say something.

    Scales are chosen only if ``choosing``: recipes and statistics speak of the model as it is.

    Raises:
        OnnxqError: of a rival, see :func:`onnxq.evaluate.rivals.choose`.
    """
    known = 0 if asked.level else known
    chosen = None
    if asked.scales == "auto":
        chosen = _chosen(asked, source, context) if choosing and known >= FOR_SCALES else None
        asked = _with(asked, chosen.name if chosen else "as-is")
    if asked.rounding == "auto":
        gptq = known >= FOR_ROUNDING and not asked.level
        asked = replace(asked, rounding="gptq" if gptq else "nearest")
    bias = "float32" if asked.form == "integer" and _is_trained(source) else ""
    return replace(asked, bias=bias, chosen=chosen)


def _chosen(asked: Techniques, source: ir.Model, context: Context) -> Chosen:
    """Measured as Q/DQ, whatever form is wanted: it rounds the same, and runs many times faster."""
    rivals: dict[str, Pipeline] = {name: _pipeline(_with(asked, name)) for name in RIVALS}
    resorts = {}
    if _products_only(asked) is not None and any(is_op(n, "MatMul", "Gemm") for n in all_nodes(source)):
        resorts = {name: _pipeline(_with(asked, name)) for name in RESORTS}
    return choose(source, rivals, context, tuple(SCALES), resorts)


def _pipeline(techniques: Techniques) -> Pipeline:
    return parse(replace(techniques, form="qdq", rounding="nearest").text("float", ""))


def _with(asked: Techniques, name: str) -> Techniques:
    """What a rival or a last resort stands for."""
    for scales in RIVALS:
        if name == scales:
            return replace(asked, scales=scales)
    options = _products_only(asked) or asked.options
    if name == "O3":
        return replace(asked, options=options, level="O3", scales="as-is")
    return replace(asked, options=options, scales=RIVALS[-1])


def _products_only(asked: Techniques) -> str | None:
    """The options that leave 8 bits to products alone: the rest is float, or 16 bits where nothing may be.

    None where the target has neither, or the options speak of it.
    """
    target, form = asked.target, asked.form
    if "others=" in asked.options or target.activation.bits > 8 or form == "qoperator":
        return None
    if target.float_tail and form == "qdq":
        return f"{asked.options} others=float".strip()
    wide = target.wide if target.wide_tail or (target.float_tail and form == "integer") else None
    return None if wide is None else f"{asked.options} others={wide}".strip()


def _is_trained(source: ir.Model) -> bool:
    """Whether a model brings fake-quant of any dialect. Its biases were trained as floats.

    Strict integers add them at any precision where they rescale; int32 would be off by up to half of s_x·s_w.
    """
    pipeline = parse("freeze-inputs, inline-functions, lift-constants, import-fake-quant")
    imported = run_pipeline(source.clone(), pipeline, Context()).model
    return any(is_op(node, "DequantizeLinear") for node in all_nodes(imported))
