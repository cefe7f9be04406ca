"""What a recipe means for one model."""

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.match import is_op
from onnxq.quant.recipe.rules import NOTHING, OF_VALUES, Recipe, Rule, Wish
from onnxq.quant.recurrent import cell_format, is_in_cell
from onnxq.suggest import nearest
from onnxq.targets.target import Target

__all__ = ["Choices"]


class Choices:
    """What a recipe says of each node and value of one model.

    Raises:
        UsageError: a rule is for nothing in the model, or asks for a dtype that the target does not take.
    """

    def __init__(self, recipe: Recipe, nodes: Iterable[ir.Node], target: Target) -> None:
        self._nodes: dict[ir.Node, Wish] = {}
        self._values: dict[ir.Value, Wish] = {}
        known = [node for node in nodes if not is_op(node, "Constant")]
        self._widen_cells(known, target)
        if not recipe.rules:
            return
        values = {
            v.name: v for node in known for v in (*node.inputs, *node.outputs) if v is not None and v.name
        }
        for rule in recipe.rules:
            _check_target(rule, target)
            if rule.value is not None:
                self._choose_values(rule, {name or "": value for name, value in values.items()})
            else:
                self._choose_nodes(rule, known)

    @property
    def chosen(self) -> bool:
        """Whether anything at all is said."""
        return bool(self._nodes or self._values)

    def of_node(self, node: ir.Node) -> Wish:
        """What is said of a node, float or not, and of its weights."""
        return self._nodes.get(node, NOTHING)

    def of_value(self, value: ir.Value) -> Wish:
        """What is said of a value, by its name or through the node that makes it."""
        return self._values.get(value, NOTHING)

    def _widen_cells(self, nodes: Iterable[ir.Node], target: Target) -> None:
        """What the target says of recurrent cells; any rule wins over it."""
        if (fmt := cell_format(target)) is None:
            return
        inside = (output for node in nodes if is_in_cell(node) for output in node.outputs)
        self._values.update(dict.fromkeys(inside, Wish(dtype=str(fmt))))

    def _choose_values(self, rule: Rule, values: Mapping[str, ir.Value]) -> None:
        pattern = re.compile(rule.value or "")
        found = [value for name, value in values.items() if pattern.fullmatch(name)]
        _check_found(rule, found, rule.value or "", values)
        for value in found:
            self._values[value] = rule.wish.over(self.of_value(value))

    def _choose_nodes(self, rule: Rule, nodes: Sequence[ir.Node]) -> None:
        pattern = re.compile(rule.node or ".*", re.DOTALL)
        found = [
            node
            for node in nodes
            if rule.op in (None, node.op_type) and any(pattern.fullmatch(name) for name in _names(node))
        ]
        wanted = rule.node or rule.op or ""
        names = (
            [name for node in nodes for name in _names(node)]
            if rule.node
            else [node.op_type for node in nodes]
        )
        _check_found(rule, found, wanted, names)
        made = Wish(**{k: v for k, v in rule.wish.said().items() if k in OF_VALUES})  # type: ignore[arg-type]
        for node in found:
            self._nodes[node] = rule.wish.over(self.of_node(node))
            for output in node.outputs if not made.is_float else ():
                self._values[output] = made.over(self.of_value(output))


def _names(node: ir.Node) -> list[str]:
    first = next((output.name for output in node.outputs if output.name), "")
    return [name for name in (node.name, first) if name] or [""]


def _check_target(rule: Rule, target: Target) -> None:
    fmt = rule.wish.format
    if fmt is not None and fmt not in target.activations:
        allowed = ", ".join(map(str, target.activations))
        raise UsageError(f"{rule.where}: target {target.name} takes {allowed} or float, not {fmt}")


def _check_found(rule: Rule, found: Sequence[object], wanted: str, names: Iterable[str]) -> None:
    if found:
        return
    known = list(dict.fromkeys(names))
    near = nearest(wanted.replace(".*", ""), known, 3) or known[:3]
    raise UsageError(f"{rule.where} ({rule}) is for nothing in the model; near: {', '.join(near)}")
