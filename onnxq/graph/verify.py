"""Whether a model is still well formed after an edit: names, order, scopes, public signature.

onnx-ir lets a pass leave a graph that cannot be written or run (a value that nothing makes, two values of one
name, a node before its input), and the serializer is silent about it. :func:`verify` walks every scope once,
in time linear in nodes and uses, and needs no protobuf. Types of operators are onnx.checker's business.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import onnx
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import all_nodes, subgraphs

__all__ = ["Port", "Signature", "signature", "verify"]


@dataclass(frozen=True)
class Port:
    """One input or output of a model; dtype and shape are None where they are not known."""

    name: str
    dtype: ir.DataType | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """What the outside world sees of a model, and the functions that its nodes may call."""

    inputs: tuple[Port, ...]
    """What must be fed: graph inputs without a default value."""
    outputs: tuple[Port, ...]
    functions: frozenset[ir.OperatorIdentifier] = frozenset()

    def names_only(self) -> "Signature":
        """The same without types, for passes that turn inputs and outputs into integers."""
        inputs, outputs = (
            tuple(Port(port.name, None, None) for port in ports) for ports in (self.inputs, self.outputs)
        )
        return replace(self, inputs=inputs, outputs=outputs)


def signature(model: ir.Model) -> Signature:
    """The inputs, outputs and functions of a model as they are now."""
    graph = model.graph
    required = [value for value in graph.inputs if value.name not in graph.initializers]
    return Signature(_ports(required), _ports(graph.outputs), frozenset(model.functions))


def verify(model: ir.Model, kept: Signature | None = None) -> None:
    """Check every scope of a model, and that it still has the inputs and outputs of ``kept``.

    A value must be made before it is read, in its own scope or one around it; no two values visible together
    have one name; functions that are called exist; inputs and outputs keep names, order and dtypes.

    Raises:
        ModelError: something is wrong; names the value and the node that reads or makes it.
    """
    for graph, title in _roots(model):
        _Scopes(graph.opset_imports).enter(graph, title)
    _check_calls(model, kept)
    if kept is not None:
        now = signature(model)
        _check_ports("inputs", kept.inputs, now.inputs)
        _check_ports("outputs", kept.outputs, now.outputs)


class _Scopes:
    """The values visible at the place where the walk stands."""

    def __init__(self, imports: Mapping[str, int]) -> None:
        self._visible: dict[str, ir.Value] = {}
        self._imports = imports

    def enter(self, graph: ir.Graph | ir.Function, title: str) -> None:
        """Walk a scope; what it defines is forgotten at its end."""
        mine: list[str] = []
        for value in graph.inputs:
            mine.append(self._define(value, f"an input of {title}"))
        for value in _initializers(graph):
            if not value.is_graph_input():
                mine.append(self._define(value, f"an initializer of {title}"))
        for node in graph:
            self._read(node)
            for name, body in subgraphs(node):
                self.enter(body, f"the {name} of {describe(node)}")
            mine += [self._define(value, describe(node)) for value in node.outputs if value.name != ""]
        self._leave(graph, title)
        for name in mine:
            del self._visible[name]

    def _define(self, value: ir.Value, maker: str) -> str:
        if value.name is None:
            raise ModelError(f"a value made by {maker} has no name")
        if value.name in self._visible:
            raise ModelError(
                f"two values are named '{value.name}': the second is made by {maker}, "
                f"the first by {_maker(self._visible[value.name])}"
            )
        self._visible[value.name] = value
        return value.name

    def _read(self, node: ir.Node) -> None:
        if node.domain not in self._imports:
            raise ModelError(
                f"{describe(node)} is of the domain '{node.domain}', which the model does not import"
            )
        for index, value in enumerate(node.inputs):
            if value is not None and self._visible.get(value.name or "") is not value:
                raise ModelError(f"{describe(node)} reads '{value.name}' (input {index}), {_lost(value)}")

    def _leave(self, graph: ir.Graph | ir.Function, title: str) -> None:
        seen: set[ir.Value] = set()
        for value in graph.outputs:
            if self._visible.get(value.name or "") is not value:
                raise ModelError(f"'{value.name}' is an output of {title}, {_lost(value)}")
            if value in seen:
                raise ModelError(f"'{value.name}' is an output of {title} twice")
            seen.add(value)


def _roots(model: ir.Model) -> Iterator[tuple[ir.Graph | ir.Function, str]]:
    yield model.graph, "the model"
    for function in model.functions.values():
        yield function, f"the function {function.domain}::{function.name}"


def _initializers(graph: ir.Graph | ir.Function) -> Iterable[ir.Value]:
    return graph.initializers.values() if isinstance(graph, ir.Graph) else ()


def _maker(value: ir.Value) -> str:
    node = value.producer()
    return describe(node) if node is not None else "an input or initializer"


def _lost(value: ir.Value) -> str:
    """Why a value is not visible where it is read."""
    node = value.producer()
    if node is None:
        return "which is no input or initializer of a scope that is visible there"
    if node.graph is None:
        return f"whose maker {describe(node)} has been removed"
    return f"which {describe(node)} makes later, or in a scope that is not visible there"


def _check_calls(model: ir.Model, kept: Signature | None) -> None:
    """A call must find its function: one that the model had before, or of a domain it defines itself."""
    known = frozenset(model.functions)
    before = kept.functions if kept is not None else frozenset()
    domains = {domain for domain, _, _ in known | before}
    for node in all_nodes(model):
        if node.domain not in domains or node.op_identifier() in known:
            continue
        if not onnx.defs.has(node.op_type, node.domain):
            raise ModelError(
                f"{describe(node)} calls the function {node.domain}::{node.op_type}, which does not exist"
            )


def _check_ports(what: str, kept: tuple[Port, ...], now: tuple[Port, ...]) -> None:
    names, found = [port.name for port in kept], [port.name for port in now]
    if names != found:
        raise ModelError(f"the {what} of the model must stay {', '.join(names)}; they are {', '.join(found)}")
    for was, port in zip(kept, now, strict=True):
        if was.dtype is not None and port.dtype != was.dtype:
            raise ModelError(f"'{was.name}' of the {what} must stay {was.dtype}; it is {port.dtype}")


def _ports(values: Iterable[ir.Value]) -> tuple[Port, ...]:
    return tuple(Port(value.name or "", value.dtype, _shape(value)) for value in values)


def _shape(value: ir.Value) -> tuple[int | str | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
