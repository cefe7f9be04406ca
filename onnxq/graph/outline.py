"""A model as text, one stable line a node: for dumps, diffs and tests.

    graph main(%x: float32[N,3,8,8]) -> (%y: float32[N,4,8,8])
      %c = Conv(%x, W: float32[4,3,3,3]) {pads=[1,1,1,1]} : float32[N,4,8,8]
      %y = Relu(%c) : float32[N,4,8,8]

Attributes are sorted, bodies of If/Loop indented. Constants print as ``name: dtype[shape]``, single
numbers by value. With ``canonical=True`` private names are numbered and types dropped, so that two
graphs of the same structure print the same text.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, is_op
from onnxq.graph.scopes import scopes, subgraphs

__all__ = ["outline", "type_text"]

Namer = Callable[[ir.Value], str]


def outline(model: ir.Model, *, canonical: bool = False) -> str:
    """The text of every scope of a model, ending in a newline."""
    lines: list[str] = []
    namer = _numbers(model) if canonical else _plain
    lines += _graph(model.graph, "main", namer, canonical)
    for function in model.functions.values():
        lines += _graph(function, f"{function.domain}::{function.name}", namer, canonical)
    return "\n".join(lines) + "\n"


def type_text(value: ir.Value) -> str:
    """``float32[N,4]``, with ``?`` for what is not known."""
    dtype = "?" if value.dtype is None else value.dtype.name.lower()
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if value.shape is None:
        return f"{dtype}[…]"
    return f"{dtype}[{','.join('?' if d == ir.SymbolicDim(None) else str(d) for d in value.shape)}]"


def _plain(value: ir.Value) -> str:
    return f"%{value.name}"


def _numbers(model: ir.Model) -> Namer:
    public = {v for scope in scopes(model) for v in (*scope.graph.inputs, *scope.graph.outputs)}
    seen: dict[ir.Value, str] = {}

    def name(value: ir.Value) -> str:
        return f"%{value.name}" if value in public else seen.setdefault(value, f"%{len(seen)}")

    return name


def _graph(graph: ir.Graph | ir.Function, title: str, namer: Namer, canonical: bool) -> Iterator[str]:
    def typed(value: ir.Value) -> str:
        return namer(value) if canonical else f"{namer(value)}: {type_text(value)}"

    inputs, outputs = (", ".join(map(typed, values)) for values in (graph.inputs, graph.outputs))
    yield f"graph {title}({inputs}) -> ({outputs})"
    for node in graph:
        if is_op(node, "Constant") and constant(node.outputs[0]) is not None:
            continue
        yield f"  {_node(node, namer, canonical)}"
        for name, body in subgraphs(node):
            yield from (f"    {line}" for line in _graph(body, name, namer, canonical))


def _node(node: ir.Node, namer: Namer, canonical: bool) -> str:
    outputs = ", ".join(namer(value) if value.name else "_" for value in node.outputs)
    inputs = ", ".join(_input(value, namer, canonical) for value in node.inputs)
    op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    named = [
        f"{a.name}={_attribute(a)}"
        for a in sorted(node.attributes.values(), key=lambda a: a.name)
        if a.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    ]
    line = f"{outputs} = {op}({inputs})" + (f" {{{', '.join(named)}}}" if named else "")
    return line if canonical else f"{line} : {', '.join(type_text(value) for value in node.outputs)}"


def _input(value: ir.Value | None, namer: Namer, canonical: bool) -> str:
    if value is None:
        return "_"
    array = constant(value)
    if array is None:
        return namer(value)
    kind = f"{array.dtype}[{','.join(map(str, array.shape))}]"
    if array.size == 1 and not canonical:
        return f"{array.reshape(-1)[0]}: {array.dtype}[{','.join(map(str, array.shape))}]"
    return kind if canonical else f"{value.name}: {kind}"


def _attribute(attribute: ir.Attr) -> str:
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    if attribute.type == ir.AttributeType.TENSOR:
        array = attribute.as_tensor().numpy()
        return f"{array.dtype}{array.tolist()}" if array.size <= 8 else f"{array.dtype}[{array.shape}]"
    value = attribute.value
    if isinstance(value, (tuple, list)):
        return f"[{','.join(_number(item) for item in value)}]"
    return _number(value)


def _number(value: object) -> str:
    if isinstance(value, float):
        return str(np.float32(value))
    return repr(value) if isinstance(value, str) else str(value)
