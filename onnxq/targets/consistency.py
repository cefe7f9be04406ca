"""Facts of a target that onnxq does not know, or that exclude each other."""

from functools import cache

import onnx.defs

from onnxq.suggest import did_you_mean
from onnxq.targets.target import KINDS, Target
from onnxq.toml_tables import Document

__all__ = ["check_consistency"]

_FORMS = ("qdq", "integer")
_ROUNDINGS = ("half-even", "half-up", "half-away")
_ENGINES = ("none", "onnxruntime-cpu")
_BIASES = ("int32", "float32")
_SIXTEEN_BIT_OPSET = 21
_PER_CHANNEL_OPSET = 13


def check_consistency(doc: Document, target: Target) -> None:
    """Hold the facts of a target against what onnxq knows, and against each other.

    Raises:
        TargetError: the first that does not; says where it stands in ``doc`` and what is allowed.
    """
    _check_choices(doc, target)
    _check_versions(doc, target)
    _check_formats(doc, target)
    _check_operators(doc, target)


def _check_choices(doc: Document, target: Target) -> None:
    choices = (
        ("form", target.form, _FORMS, ("form",)),
        ("rounding", target.rounding, _ROUNDINGS, ("arithmetic", "rounding")),
        ("engine", target.engine, _ENGINES, ("runtime", "engine")),
        ("bias dtype", target.bias, _BIASES, ("bias", "dtype")),
    )
    for what, found, allowed, words in choices:
        if found not in allowed:
            raise doc.wrong(f": {what} is '{found}', expected {' or '.join(allowed)}", *words)


def _check_formats(doc: Document, target: Target) -> None:
    for fmt in target.activations:
        if fmt.bits not in (8, 16):
            where = ("dtype" if fmt == target.activation else "also",)
            raise doc.wrong(f": activations of {fmt} are not supported; 8 or 16 bits", "activation", *where)
    if target.activation.bits > 8 and target.opset < _SIXTEEN_BIT_OPSET:
        raise doc.wrong(
            f": {target.activation} needs opset {_SIXTEEN_BIT_OPSET}, the target has {target.opset}", "opset"
        )
    if target.wide_tail and not any(fmt.bits == 16 for fmt in target.activations):
        raise doc.wrong(": wide_tail gives 16 bits, but [activation] lists no such dtype", "wide_tail")
    if target.recurrent_bits not in {8, *(fmt.bits for fmt in target.activations)}:
        raise doc.wrong(
            f": recurrent_bits is {target.recurrent_bits}, but no activation has as many; add one to 'also'",
            "activation",
            "recurrent_bits",
        )
    if target.weight.bits > 8:
        raise doc.wrong(f": weights of {target.weight} are not supported; at most 8 bits", "weight", "dtype")


def _check_operators(doc: Document, target: Target) -> None:
    for key in (*KINDS[:2], "split"):
        for op in sorted(getattr(target, key) - _operators()):
            hint = did_you_mean(op, _operators())
            raise doc.wrong(f", table [operators]: '{key}' names {op}, which ONNX does not have{hint}", key)
    for key in ("per_channel", "fuse_activation", "neighbours", "float_output", "fuse_sum", "fuse_mask"):
        if unknown := sorted(getattr(target, key) - target.compute - target.move):
            raise doc.wrong(f": {key} names {unknown[0]}, which [operators] compute does not hold", key)


def _check_versions(doc: Document, target: Target) -> None:
    newest = onnx.defs.onnx_opset_version()
    for key, found, least, most in (
        ("opset", target.opset, _PER_CHANNEL_OPSET, newest),
        ("ir_version", target.ir_version, 7, onnx.IR_VERSION),
    ):
        if not least <= found <= most:
            raise doc.wrong(f": {key} is {found}, expected {least} to {most}", key)


@cache
def _operators() -> frozenset[str]:
    """All of ai.onnx."""
    return frozenset(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "")
