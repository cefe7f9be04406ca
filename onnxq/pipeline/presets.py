"""Presets: names for pipeline texts. A preset may stand wherever a pass may, other presets included."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from onnxq.errors import UsageError
from onnxq.pipeline.options import quote
from onnxq.targets.target import Target

__all__ = [
    "PRESETS",
    "ROUNDING",
    "SCALES",
    "Form",
    "Io",
    "Level",
    "Preset",
    "Shapes",
    "fixing",
    "parse_shapes",
    "preparation",
    "quantizing",
]

Form: TypeAlias = Literal["qdq", "qoperator", "integer"]
"""What quantize makes: Q/DQ around float operators, QOperator nodes, or strict integers."""

Io: TypeAlias = Literal["float", "int8"]
"""What the model takes and gives: real numbers, or codes whose scales are in its metadata."""

Level: TypeAlias = Literal["O1", "O2", "O3"]
"""The presets of SmoothQuant: activations quantized per token or per tensor at run time, or statically."""

Shapes: TypeAlias = Literal["samples"] | Mapping[str, int]
"""Lengths of open axes by their names, as fix-shapes knows them; or those of the first sample."""

SCALES: Mapping[str, str] = MappingProxyType(
    {"as-is": "", "equalize": "equalize", "smooth": "smooth", "both": "equalize, smooth"}
)
"""Which passes move scales per channel through the graph before anything is rounded."""

ROUNDING: Mapping[str, str] = MappingProxyType({"nearest": "", "gptq": "round-weights, "})
"""How weights are rounded: each to its nearest step, or so that the outputs of the layers come out right."""


@dataclass(frozen=True)
class Preset:
    """A pipeline text and one line on what it is for."""

    text: str
    description: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "import": Preset(
            "freeze-inputs, inline-functions, lift-constants, correct-shapes, import-fake-quant, "
            "eliminate-noop-arithmetic, simplify, inline-constant-if, raise-opset, floats-to-float32, "
            "lift-constants, infer-shapes",
            "any model becomes one graph of opset 19 or newer with constants as initializers and known types",
        ),
        "clean": Preset(
            "eliminate-identity, eliminate-dropout, eliminate-noop-arithmetic, eliminate-noop-cast, "
            "eliminate-noop-pad, eliminate-noop-reshape, eliminate-noop-slice, eliminate-noop-transpose, "
            "eliminate-noop-expand, eliminate-single-input, keep-reduced-axes, merge-transposes",
            "operators that do nothing vanish",
        ),
        "fold": Preset(
            "fuse-pad-into-conv, fold-bn-into-conv, fold-bn-into-conv-transpose, fold-bn-into-gemm, "
            "fold-mul-into-conv, fold-add-into-conv, fold-bn-before-conv, fold-bn-before-gemm",
            "per-channel arithmetic moves into the weights and biases beside it",
        ),
        "trained": Preset(
            "fold-layout-into-fake-quant, fold-bn-into-fake-quant, push-fake-quant",
            "fake-quant that a trainer put in stands where targets fuse it",
        ),
        "fuse": Preset(
            "fuse-reduce-mean, fuse-layer-norm, fuse-rms-norm, fuse-softmax, fuse-lp-normalization, "
            "fuse-hard-sigmoid, fuse-hard-swish, fuse-gelu, fuse-silu",
            "functions that an exporter took apart become one operator again",
        ),
        "finish": Preset(
            "deduplicate-initializers, eliminate-dead-nodes, infer-shapes",
            "equal constants become one, what nobody reads vanishes, types are complete",
        ),
        "prepare": Preset(
            "import, repeat(clean, fold){max=5}, trained, fuse, expand-batch-norm, finish",
            "all that comes before quantization and keeps every value",
        ),
        "lower": Preset(
            "fuse, choose-integer-types, lower-integer, finish",
            "Q/DQ becomes strict integers, as ONNX Runtime from 1.24 on runs them fastest",
        ),
        "lower-portable": Preset(
            "fuse, choose-integer-types{dialect=portable}, lower-integer{dialect=portable}, "
            "expand-new-operators, finish",
            "Q/DQ becomes strict integers for ONNX Runtime from 1.17 on",
        ),
        "lower-int32": Preset(
            "fuse, narrow-activations, choose-integer-types{dialect=int32}, lower-integer{dialect=int32}, "
            "expand-new-operators, finish",
            "Q/DQ becomes strict integers of at most 32 bits, activations of 16 bits get 8",
        ),
        "qoperator": Preset("lower-qoperator, finish", "Q/DQ becomes QOperator nodes for ONNX Runtime"),
        "int8-dynamic": Preset(
            "prepare, quantize-dynamic, expand-new-operators, finish",
            "activations quantized at run time, weights per channel; needs no samples",
        ),
        "O1": Preset(
            "prepare, smooth{insert=true others=float}, quantize-dynamic{per_token=true}, "
            "expand-new-operators, finish",
            "SmoothQuant: each token quantized at run time by a scale of its own, weights per channel",
        ),
        "O2": Preset(
            "prepare, smooth{insert=true others=float}, quantize-dynamic, expand-new-operators, finish",
            "SmoothQuant: each tensor quantized at run time by one scale, weights per channel",
        ),
        "O3": Preset(
            "prepare, smooth{insert=true others=float}, insert-qdq{others=float}, fold-fake-quant, "
            "expand-new-operators, finish",
            "SmoothQuant: every input of a product in 8 bits by a scale from samples, the rest in float",
        ),
    }
)


def preparation(target: Target, scales: str = "as-is") -> str:
    """What runs before ranges are measured, as a pipeline text.

    Scales move before a target's operators are taken apart: they pass a gated activation as a whole.
    """
    return ", ".join(filter(None, ("prepare", SCALES[scales], "expand-for-target" if target.split else "")))


def fixing(shapes: Shapes | None) -> str:
    """What gives open axes their lengths, as the beginning of a pipeline text."""
    if shapes is None:
        return ""
    if shapes == "samples":
        return "fix-shapes, "
    return f"fix-shapes{{axes={'|'.join(quote(f'{name}={length}') for name, length in shapes.items())}}}, "


def parse_shapes(text: str) -> Shapes:
    """``"batch=1, sequence=576"`` as lengths by name, or ``"samples"``.

    Raises:
        UsageError: it is neither.
    """
    if text == "samples":
        return "samples"
    pairs = [part.strip().rpartition("=") for part in text.split(",")]
    if not all(name and number.isdecimal() for name, _, number in pairs):
        raise UsageError(f"shapes are written 'batch=1, sequence=576', or samples, not '{text}'")
    return {name.strip(): int(number) for name, _, number in pairs}


def quantizing(
    target: Target,
    form: str | None = None,
    options: str = "",
    io: str = "float",
    level: str | None = None,
    scales: str = "as-is",
    rounding: str = "nearest",
    bias: str = "",
) -> str:
    """The pipeline text that quantizes for a target; ``options`` are those of insert-qdq.

    ``level`` smooths first, as the presets O1, O2 and O3 do. ``scales`` is one of ``SCALES``, ``rounding`` of
    ``ROUNDING``; O1 and O2 take neither. ``bias`` is that of fold-fake-quant; by default strict integers have
    the int32 biases of the Q/DQ form, so that they compute the same codes.

    Raises:
        UsageError: there is no such form, level or kind of input and output, or they do not go together.
    """
    form = form or target.form
    allowed = (get_args(Form), form), (get_args(Io), io), (SCALES, scales), (ROUNDING, rounding)
    for known, given in (*allowed, ((None, *get_args(Level)), level)):
        if given not in known:
            raise UsageError(f"'{given}' is none of {', '.join(filter(None, known))}")
    if level in ("O1", "O2") and (scales != "as-is" or rounding != "nearest"):
        raise UsageError(f"{level} has scales and roundings of its own")
    suit = "suit-onnxruntime, " if target.engine == "onnxruntime-cpu" else ""
    older = f"expand-new-operators{{opset={target.opset}}}"
    expand = f"{suit}{older}"
    if level in ("O1", "O2"):
        return _dynamic(str(level), f"{preparation(target)}, {_SMOOTH}", expand, form == "qdq", options, io)
    others = f"others={_beside_products(target, form)}" if level == "O3" and "others=" not in options else ""
    options = f"{others} {options}".strip()
    smooth = f"{_SMOOTH}, " if level == "O3" else ""
    ending = {
        "qdq": f"{expand}, finish",
        "qoperator": f"{expand}, qoperator",
        "integer": f"lower, {older}, finish",
    }[form]
    insert = f"{smooth}insert-qdq{{{options}}}" if options else "insert-qdq"
    fold = f"fold-fake-quant{{bias={bias}}}" if bias else "fold-fake-quant"
    codes = ", strip-io, finish" if io == "int8" and form != "integer" else ""
    return f"{preparation(target, scales)}, {insert}, {ROUNDING[rounding]}{fold}, {ending}{codes}"


def _beside_products(target: Target, form: str) -> str:
    """What all but the products compute on: floats, or 16 bits where nothing may be float."""
    if form != "integer":
        return "float"
    if target.wide is None:
        raise UsageError(
            "O3 keeps all but products in float, or in 16 bits where nothing may be: "
            f"target {target.name} has none"
        )
    return str(target.wide)


_SMOOTH = "smooth{insert=true others=float}"


def _dynamic(level: str, start: str, expand: str, qdq: bool, options: str, io: str) -> str:
    if not qdq or options or io != "float":
        raise UsageError(
            f"{level} quantizes activations at run time: it makes neither QOperator nodes, integers only nor "
            "codes as inputs, and takes no options of insert-qdq; O3 does"
        )
    per_token = "{per_token=true}" if level == "O1" else ""
    return f"{start}, quantize-dynamic{per_token}, {expand}, finish"
