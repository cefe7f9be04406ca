"""The number of the ONNX operator set a model is written in, and whether another number would say the same.

A model says once which opset its nodes mean. Nearly all versions of an operator only add dtypes or
attributes, so the number can often be changed and nothing else: up, to use a newer operator; down, for a
runtime that loads older files only. :func:`objections` says for every node why that would be wrong:

- the operator does not exist at the other opset, or is deprecated there;
- the node has inputs, outputs, attributes or dtypes which the other version does not allow. An attribute that
  spells out its default is no obstacle: :func:`relabel` drops it;
- the default of an attribute the node leaves out differs;
- its meaning changed (:mod:`onnxq.graph.opset_changes`).

A value whose dtype is not known is taken to fit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache

import onnx
import onnx_ir as ir
from onnx import defs, helper

from onnxq.errors import ModelError
from onnxq.graph.match import is_op
from onnxq.graph.opset_changes import KNOWN_OPSETS, changed_meaning
from onnxq.graph.rewriter import describe
from onnxq.words import plural

__all__ = [
    "Objection",
    "can_relabel",
    "exists",
    "first_objection",
    "objections",
    "opset",
    "relabel",
    "schema_of",
]


@dataclass(frozen=True)
class Objection:
    """A node that would not be valid, or would not mean the same, at another opset."""

    node: ir.Node
    reason: str


def opset(model: ir.Model) -> int:
    """The opset of the operators of ``ai.onnx`` in the main graph.

    Raises:
        ModelError: the model names none.
    """
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if version is None:
        raise ModelError("the model names no opset for the domain 'ai.onnx'; expected one, such as 19")
    return version


@cache
def schema_of(op_type: str, version: int) -> defs.OpSchema | None:
    """What ``ai.onnx`` says of an operator at an opset; None where it has none of that name."""
    try:
        return defs.get_schema(op_type, version, "")
    except defs.SchemaError:
        return None


def exists(op_type: str, version: int) -> bool:
    """Whether ``ai.onnx`` has the operator at an opset and does not deprecate it."""
    found = _signature(op_type, version)
    return found is not None and not found.deprecated


def can_relabel(model: ir.Model, to: int) -> list[str]:
    """The reasons why the opset's number cannot simply be changed to ``to``; empty if it can."""
    for number in (opset(model), to):
        if number not in KNOWN_OPSETS:
            known = f"{KNOWN_OPSETS[0]} to {KNOWN_OPSETS[-1]}"
            return [f"the differences of the opsets {known} are known, but not those of opset {number}"]
    return [f"{describe(o.node)}: {o.reason}" for o in objections(model, to)]


def objections(model: ir.Model, to: int) -> Iterator[Objection]:
    """Every node of every scope and function that stands against the number ``to`` (of ``KNOWN_OPSETS``)."""
    for imports, nodes in _parts(model):
        now = imports.get("", imports.get("ai.onnx", to))
        for node in nodes:
            if (
                now != to
                and is_op(node, node.op_type)
                and (reason := first_objection(node, now, to)) is not None
            ):
                yield Objection(node, reason)


def relabel(model: ir.Model, to: int) -> None:
    """Set the opset's number in the model and its functions, and the IR version that belongs to it.

    Attributes that spell out their default and do not exist at ``to`` are dropped. Ask
    :func:`can_relabel` first: nothing is checked here.
    """
    for imports, nodes in _parts(model):
        now = imports.pop("ai.onnx", imports.get("", to))
        for node in nodes if now != to else ():
            if is_op(node, node.op_type):
                _drop_defaults(node, now, to)
        imports[""] = to
    ids = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    model.ir_version = helper.find_min_ir_version_for(ids, ignore_unknown=True)


def first_objection(node: ir.Node, now: int, to: int) -> str | None:
    """Why one node of ``ai.onnx`` would not be valid, or not mean the same, at another opset; else None."""
    here, there = _signature(node.op_type, now), _signature(node.op_type, to)
    if here is None:
        return f"is no operator of opset {now}, the one the model names"
    if there is None or there.deprecated:
        return f"does not exist at opset {to}"
    if here.since == there.since:
        return None
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _count_objection(node, there),
        lambda: _attribute_objection(node, here, there),
        lambda: _type_objection(node, there),
    )
    reason = next((reason for check in checks if (reason := check()) is not None), None)
    return f"{reason} at opset {to}" if reason is not None else changed_meaning(node, now, to)


# --- one node ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Signature:
    """What a schema says, read once: asking onnx for it is slow."""

    since: int
    deprecated: bool
    defaults: Mapping[str, object]
    """By attribute; ``_REQUIRED`` and ``_NONE`` where there is no default."""
    inputs: tuple[tuple[str, frozenset[str]], ...]
    """The type variable and the allowed types of each; the last stands for all further ones if variadic."""
    outputs: tuple[tuple[str, frozenset[str]], ...]
    counts: tuple[range, range]


_REQUIRED, _NONE = object(), object()


@cache
def _signature(op_type: str, version: int) -> _Signature | None:
    schema = schema_of(op_type, version)
    if schema is None:
        return None
    defaults = {name: _default(attribute) for name, attribute in schema.attributes.items()}
    counts = range(schema.min_input, schema.max_input + 1), range(schema.min_output, schema.max_output + 1)
    inputs, outputs = (tuple(map(_typed, formal)) for formal in (schema.inputs, schema.outputs))
    return _Signature(schema.since_version, schema.deprecated, defaults, inputs, outputs, counts)


def _default(attribute: defs.OpSchema.Attribute) -> object:
    if attribute.required:
        return _REQUIRED
    if attribute.default_value.type == onnx.AttributeProto.UNDEFINED:
        return _NONE
    return ir.serde.deserialize_attribute(attribute.default_value).value


def _typed(formal: defs.OpSchema.FormalParameter) -> tuple[str, frozenset[str]]:
    return (formal.type_str if formal.is_homogeneous else ""), frozenset(formal.types)


def _count_objection(node: ir.Node, there: _Signature) -> str | None:
    inputs = max((i + 1 for i, value in enumerate(node.inputs) if value is not None), default=0)
    if inputs not in there.counts[0]:
        return f"cannot have {plural(inputs, 'input')}"
    outputs = len(node.outputs)
    return None if outputs in there.counts[1] else f"cannot have {plural(outputs, 'output')}"


def _attribute_objection(node: ir.Node, here: _Signature, there: _Signature) -> str | None:
    for name, attribute in node.attributes.items():
        if name not in there.defaults and not _is_default(attribute, here):
            return f"has no attribute '{name}'"
    for name, default in there.defaults.items():
        if name in node.attributes:
            continue
        if default is _REQUIRED:
            return f"needs the attribute '{name}'"
        if name in here.defaults and here.defaults[name] != default and node.op_type not in _RENAMED_DEFAULTS:
            return f"has another default for '{name}'"
    return None


_RENAMED_DEFAULTS = ("GridSample",)
"""Operators whose default got a new name for the same meaning."""


def _is_default(attribute: ir.Attr, signature: _Signature) -> bool:
    return not attribute.is_ref() and signature.defaults.get(attribute.name, _NONE) == attribute.value


def _type_objection(node: ir.Node, there: _Signature) -> str | None:
    """Types are allowed one by one, and one type variable stands for one type."""
    bound: dict[str, str] = {}
    for values, formal in ((node.inputs, there.inputs), (node.outputs, there.outputs)):
        for i, value in enumerate(values):
            if value is None or not isinstance(value.type, ir.TensorType):
                continue
            variable, allowed = formal[min(i, len(formal) - 1)]
            found = f"tensor({value.type.dtype.name.lower()})"
            if found not in allowed:
                return f"does not take {found}"
            if variable and bound.setdefault(variable, found) != found:
                return f"cannot mix {bound[variable]} and {found}"
    return None


def _drop_defaults(node: ir.Node, now: int, to: int) -> None:
    here, there = _signature(node.op_type, now), _signature(node.op_type, to)
    if here is None or there is None:
        return
    for name, attribute in list(node.attributes.items()):
        if name not in there.defaults and _is_default(attribute, here):
            node.attributes.pop(name)


def _parts(model: ir.Model) -> Iterator[tuple[MutableMapping[str, int], Iterable[ir.Node]]]:
    """What names an opset of its own, the main graph and each function, with its nodes of all depths."""
    yield model.opset_imports, model.graph.all_nodes()
    for function in model.functions.values():
        yield function.opset_imports, function.all_nodes()
