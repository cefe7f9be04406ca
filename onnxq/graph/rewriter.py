"""The only door through which a pass edits a graph.

It counts edits (so that ``modified`` is honest), gives new values unique names, puts new nodes into the
scope of the nodes they replace, and keeps the public names and types of the model's inputs and outputs.

    y = rw.op("Conv", [x, rw.const(w, "w"), rw.const(b, "b")], conv.attributes)
    rw.replace([conv, bn], y)            # y takes the place of bn's output, name and type included

New nodes and constants wait until an edit says where they belong; a pass that gives up halfway simply
returns, and what it had prepared is dropped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph import surgery
from onnxq.graph.numeric import Array
from onnxq.graph.surgery import AttributeValue
from onnxq.graph.unique_names import UniqueNames

__all__ = ["AttributeValue", "Rewriter", "Skip", "describe"]


@dataclass(frozen=True)
class Skip:
    """A place where a pass did nothing, and why."""

    node: str
    reason: str


def describe(node: ir.Node) -> str:
    """How messages name a node: ``Conv 'features.0' (output 'x12')``."""
    output = next((value.name for value in node.outputs if value.name), "")
    name = f" '{node.name}'" if node.name else ""
    return f"{node.op_type}{name} (output '{output}')"


class Rewriter:
    """Edits one model in place; ``edits`` counts, ``skips`` remembers why something was left alone."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.edits = 0
        self.skips: list[Skip] = []
        self._names = UniqueNames(model)
        self._orphans: dict[ir.Value, None] = {}
        self._function_bodies: set[ir.Graph] | None = None
        self._nodes: list[ir.Node] = []
        self._constants: list[ir.Value] = []

    # --- preparing ------------------------------------------------------------------------------

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        domain: str = "",
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        shape: ir.Shape | None = None,
        outputs: int = 1,
        name: str | None = None,
        output: str | None = None,
    ) -> ir.Value:
        """Prepare a node and return its first output (the others: ``value.producer().outputs``).

        ``like`` gives the output the dtype and shape of another value, ``dtype`` and ``shape`` say them
        outright. ``name`` names the node, ``output`` its first output; both are made unique.
        """
        given = {k: v for k, v in (attributes or {}).items() if v is not None}
        node = ir.Node(domain, op_type, inputs, surgery.attributes_of(given), num_outputs=outputs, name=name)
        value = node.outputs[0]
        kind = dtype or (like.dtype if like is not None else None)
        value.type = ir.TensorType(kind) if kind is not None else None
        if shape is None and like is not None and like.shape is not None:
            shape = like.shape.copy()
        value.shape = shape
        value.name = self.unique(output) if output else None
        self._nodes.append(node)
        return value

    def const(self, array: Array, name: str) -> ir.Value:
        """Prepare a constant: an initializer, or a Constant node where a function cannot hold one."""
        name = self.unique(name)
        array = np.asarray(array)
        # ir.tensor does the same for arrays, but first asks 15 times as long what it was given
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
        kind, shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
        self._constants.append(value)
        return value

    def unique(self, name: str) -> str:
        """``name``, or ``name_1``, ``name_2`` … if a node or value of any scope already has it."""
        return self._names.make(name)

    def discard(self) -> None:
        """Drop what was prepared and not used."""
        self._nodes.clear()
        self._constants.clear()

    # --- editing --------------------------------------------------------------------------------

    def replace(self, old: ir.Node | Sequence[ir.Node], *new: ir.Value) -> None:
        """Put the prepared nodes before the last of ``old`` and let ``new`` take over its outputs.

        Nodes of ``old`` that nobody reads any more are removed, their private constants at the pass's end.
        """
        nodes = [old] if isinstance(old, ir.Node) else list(old)
        root = nodes[-1]
        fresh = {value for node in self._flush(root) for value in node.outputs}
        for was, now in zip(root.outputs, new, strict=True):
            surgery.take_over(was, now, named=now in fresh or was.is_graph_output())
        self._remove_unread(reversed(nodes))
        self.edits += 1

    def bypass(self, node: ir.Node, value: ir.Value) -> bool:
        """Let the readers of a node's first output read ``value`` and remove the node; no other may be read.

        Returns False (and keeps the node, with a skip) where the output's public name cannot move to
        ``value``: it is a graph input, an initializer, an output already, or belongs to another scope.
        """
        output = node.outputs[0]
        if output.is_graph_output():
            maker = value.producer()
            if maker is None or maker.graph is not node.graph or value.is_graph_output() or self._nodes:
                self.skip(node, f"'{output.name}' is an output of the model and '{value.name}' cannot be")
                return False
        self.replace(node, value, *node.outputs[1:])
        return True

    def interpose(self, value: ir.Value, new: ir.Value, readers: Iterable[ir.Node] | None = None) -> None:
        """Put the prepared nodes right behind ``value`` and let its readers read ``new``.

        ``readers`` limits this to some nodes. Without it an output of the model moves to ``new`` too,
        which takes the public name; ``value`` gets a private one.
        """
        chosen = None if readers is None else set(readers)
        prepared = set(self._nodes)
        uses = [u for u in value.uses() if u.node not in prepared and (chosen is None or u.node in chosen)]
        self._flush_behind(value)
        for use in uses:
            use.node.replace_input_with(use.idx, new)
        if chosen is None and value.is_graph_output():
            public = value.name or "output"
            surgery.move_output(value, new)
            if value.is_graph_input():
                raise ValueError(f"'{public}' is both an input and an output of the model")
            value.name = self.unique(f"{public}_before")
            new.name = public
        self.edits += 1

    def set_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        """Let a node read another value (or none); prepared nodes go before it."""
        self._flush(node)
        before = node.inputs[index] if index < len(node.inputs) else None
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
        if before is not None:
            self._orphans[before] = None
        self.edits += 1

    def set_attribute(self, node: ir.Node, name: str, value: AttributeValue) -> None:
        """Set one attribute, or remove it with None."""
        if value is None:
            node.attributes.pop(name)
        else:
            node.attributes.update({a.name: a for a in surgery.attributes_of({name: value})})
        self.edits += 1

    def set_type(self, value: ir.Value, dtype: ir.DataType, shape: ir.Shape | None = None) -> None:
        """Declare a value's type; for lowerings that turn the model's inputs and outputs into integers."""
        value.type = ir.TensorType(dtype)
        value.shape = shape if shape is not None else value.shape
        self.edits += 1

    def freeze_input(self, value: ir.Value) -> None:
        """Make a constant of an input that has a default value: callers can no longer override it."""
        self.model.graph.inputs.remove(value)
        self.edits += 1

    def remove(self, *nodes: ir.Node) -> None:
        """Remove nodes that nobody reads, and their private constants."""
        self.edits += self._remove_unread(nodes)

    def drop(self, *values: ir.Value) -> None:
        """Remove initializers that nobody reads."""
        for value in values:
            if value.graph is not None and value.name is not None:
                value.graph.initializers.pop(value.name, None)
                self.edits += 1

    def drop_functions(self, *functions: ir.OperatorIdentifier) -> None:
        """Remove functions that nobody calls."""
        for identifier in functions:
            del self.model.functions[identifier]
            self.edits += 1

    def finish(self) -> None:
        """Remove the constants that lost their last reader; called once, at the end of a pass.

        Not at every edit: a constant with thousands of readers would be looked at thousands of times.
        """
        self.discard()
        for value in self._orphans:
            surgery.drop_if_unread(value)
        self._orphans.clear()

    def adopt(self, model: ir.Model) -> None:
        """Go on with another model (what a whole-model tool such as onnxsim returned)."""
        self.model = model
        self._names = UniqueNames(model)
        self._function_bodies = None
        self.edits += 1

    def skip(self, where: ir.Node | str, reason: str) -> None:
        """Remember why a place was left alone, for ``--explain``; prepared nodes are dropped."""
        self.skips.append(Skip(where if isinstance(where, str) else describe(where), reason))
        self.discard()

    # --- inside ---------------------------------------------------------------------------------

    def _flush(self, before: ir.Node) -> list[ir.Node]:
        graph = surgery.home(before)
        nodes = self._take(graph, next((o.name for o in before.outputs if o.name), None) or before.op_type)
        graph.insert_before(before, nodes)
        return nodes

    def _flush_behind(self, value: ir.Value) -> None:
        maker = value.producer()
        hint = value.name or (maker.op_type if maker is not None else "value")
        surgery.insert_behind(value, self._take(surgery.home(maker or value), hint))

    def _take(self, graph: ir.Graph | ir.Function, hint: str) -> list[ir.Node]:
        """The prepared nodes, named; their constants are registered with ``graph``."""
        made: list[ir.Node] = []
        for value in self._constants:
            if isinstance(graph, ir.Graph) and not self._in_function(graph):
                graph.register_initializer(value)
            else:
                made.append(surgery.constant_node(value))
        made += self._nodes
        for node in made:
            node.name = node.name or self.unique(f"{hint}_{node.op_type}")
            for output in node.outputs:
                output.name = output.name or self.unique(f"{hint}_{node.op_type.lower()}")
        self.discard()
        return made

    def _in_function(self, graph: ir.Graph | ir.Function) -> bool:
        """Whether a graph is the body of a function or inside one: a node's ``graph`` does not say."""
        if self._function_bodies is None:
            functions = self.model.functions.values()
            self._function_bodies = {g for f in functions for g in (f.graph, *f.subgraphs())}
        return graph in self._function_bodies

    def _remove_unread(self, nodes: Iterable[ir.Node]) -> int:
        removed = 0
        for node in nodes:
            if node.graph is None or any(o.is_graph_output() or o.uses() for o in node.outputs):
                continue
            removed += 1
            self._orphans.update(dict.fromkeys(surgery.remove(node)))
        return removed
