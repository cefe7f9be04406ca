"""Deciding what is quantized: target + recipe + graph → :class:`Plan`. Nothing is edited here.

1. Every node is *able* or not (:mod:`onnxq.quant.eligibility` gives the reason), and the recipe may keep it
   float.
2. A compute node that is able is quantized. A move node (it passes codes through) is quantized where it
   is connected, through other move nodes, with a compute node that is. What the target calls a neighbour is
   quantized only where that saves conversions (:mod:`onnxq.quant.islands`).
3. Between a node and the Relu or Clip that only narrows its range, and between a MatMul and the Add of
   its bias, no Q/DQ is put: the pair is one integer operator.
4. Every float value that a quantized node reads or makes gets one Q/DQ pair; a float node reads the
   exact value where the value comes from a float node, the dequantized one otherwise.
5. Values that a move node connects form one scale group (:mod:`onnxq.quant.value_placement`).
6. Box decoding in front of an output stays float or gets 16 bits if the target says so
   (:mod:`onnxq.quant.tail`).
"""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxq.errors import TargetError, UsageError
from onnxq.graph.match import is_float, is_op, producer, sole_consumer, static_shape
from onnxq.graph.scopes import scopes
from onnxq.quant.eligibility import Kind, is_quantized_already, kind, masks, unfit, why_not
from onnxq.quant.islands import costly_islands
from onnxq.quant.operators import bias_add, operands
from onnxq.quant.plan import NodeDecision, Plan
from onnxq.quant.recipe import Choices, Recipe
from onnxq.quant.scale_groups import ScaleGroups
from onnxq.quant.tail import decoding, joining
from onnxq.quant.trained import trained_qparams
from onnxq.quant.value_placement import ValuePlacement, first_output
from onnxq.suggest import did_you_mean
from onnxq.targets.target import Target

__all__ = ["check_shapes", "plan"]


def plan(
    model: ir.Model, target: Target, recipe: Recipe | None = None, state: Mapping[str, str] | None = None
) -> Plan:
    """Decide which nodes run on integers and which values get Q/DQ.

    ``state`` names outputs that become inputs at the next step: the two share one scale. A node that cannot
    be quantized is a decision with its reason.

    Raises:
        UsageError: a rule of the recipe is for nothing in the model, or asks for what the target lacks;
            or the model has no such state.
    """
    return _Placement(model, target, recipe or Recipe(), _states(model, state or {})).plan()


def _states(model: ir.Model, state: Mapping[str, str]) -> list[tuple[ir.Value, ir.Value]]:
    """Outputs with the inputs that take them."""
    outputs = {value.name or "": value for value in model.graph.outputs}
    inputs = {value.name or "": value for value in model.graph.inputs}
    for names, known, what in ((state.keys(), outputs, "output"), (state.values(), inputs, "input")):
        for name in names:
            if name not in known:
                raise UsageError(f"state: the model has no {what} '{name}'{did_you_mean(name, known)}")
    return [(outputs[output], inputs[name]) for output, name in state.items()]


def check_shapes(model: ir.Model, target: Target) -> None:
    """Refuse a model with axes that are not known, where the target needs all of them.

    Raises:
        TargetError: names the inputs and the pass that fixes their shapes.
    """
    if not target.static_shapes:
        return
    inputs = [
        v for v in model.graph.inputs if v.name not in model.graph.initializers and static_shape(v) is None
    ]
    if not inputs:
        return
    found = ", ".join(f"'{value.name}' is {value.shape}" for value in inputs)
    names = sorted(
        {
            axis.value
            for v in inputs
            for axis in v.shape or ()
            if isinstance(axis, ir.SymbolicDim) and axis.value
        }
    )
    example, short = "|".join(f"'{name}=1'" for name in names), ", ".join(f"{name}=1" for name in names)
    raise TargetError(
        f"target {target.name} takes static shapes only, but input {found}: fix them with --fix-shapes "
        f"samples or --fix-shapes '{short}', which put the pass fix-shapes{{axes={example}}} in front"
    )


class _Placement:
    def __init__(
        self, model: ir.Model, target: Target, recipe: Recipe, states: Sequence[tuple[ir.Value, ir.Value]]
    ) -> None:
        self.target, self.states = target, states
        self.nodes = [(node, scope) for scope in scopes(model) for node in scope.graph]
        self.choices = Choices(recipe, (node for node, _ in self.nodes), target)
        self.reasons: dict[ir.Node, str] = {}
        self.masked: set[ir.Node] = set()
        for node, scope in self.nodes:
            if reason := why_not(node, scope, target):
                self.reasons[node] = reason
        self._leave_chosen()
        self._leave_masked()
        self._take_in_activations()
        self._leave_islands()
        if target.float_tail:
            for node in joining([node for node, _ in self.nodes], self.reasons, target):
                self.reasons.setdefault(
                    node, "only joins or decodes outputs of the model: each part leaves at its own scale"
                )
        self._leave_idle_moves()
        self.inside = {value: reader for node in self._quantized() for value, reader in self._fused(node)}

    def plan(self) -> Plan:
        nodes = tuple(
            NodeDecision(
                first_output(node),
                node.op_type,
                scope.path,
                node not in self.reasons,
                self._why(node),
                _computes_on_floats(node),
            )
            for node, scope in self.nodes
            if not is_op(node, "Constant")
        )
        quantized = list(self._quantized())
        order, wide = [node for node, _ in self.nodes], self.target.wide_tail
        tail = decoding(order, self.reasons, self.target) if wide else set()
        values = ValuePlacement(self.target, quantized, self.inside, self.choices, tail, self.states)
        return Plan(self.target.name, nodes, tuple(values.decisions()))

    def _quantized(self) -> Iterator[ir.Node]:
        return (node for node, _ in self.nodes if node not in self.reasons)

    def _leave_chosen(self) -> None:
        """What the recipe keeps float."""
        for node, _ in self.nodes:
            touched = [
                v for i in operands(node).data if i < len(node.inputs) and (v := node.inputs[i]) is not None
            ]
            kept = next((v for v in (*touched, *node.outputs) if self.choices.of_value(v).is_float), None)
            if self.choices.of_node(node).is_float:
                self.reasons[node] = "the recipe keeps it float"
            elif kept is not None:
                self.reasons.setdefault(node, f"the recipe keeps its value '{kept.name}' float")

    def _leave_masked(self) -> None:
        """What a mask of huge numbers reaches stays float, up to the Softmax or Clip that swallows it."""
        masked: set[ir.Value] = set()
        for node, _ in self.nodes:
            reached = masks(node) or any(value in masked for value in node.inputs)
            if not reached:
                continue
            before = producer(node, 0, "Add", "Where")
            if before is not None and is_op(node, *self.target.fuse_mask):
                self.reasons[before] = f"adds a mask, which the {node.op_type} behind it takes in"
                self.masked.add(node)
                continue
            self.reasons.setdefault(node, "a mask (−1e4 … −inf) reaches it, beside which 8 bits hold nothing")
            if not is_op(node, "Softmax", "Clip"):
                masked.update(node.outputs)

    def _take_in_activations(self) -> None:
        """A Relu or Clip that the node before it swallows needs no integer kernel of its own."""
        for node, _ in self.nodes:
            clip = self._swallowed(node) if node not in self.reasons else None
            if clip is None or unfit(clip) is not None or self.choices.of_node(clip).is_float:
                continue
            if kind(clip, self.target) is Kind.FLOAT:
                self.reasons.pop(clip, None)

    def _leave_islands(self) -> None:
        """Neighbours whose surroundings are float stay float, and so does what they would have swallowed."""
        for node in costly_islands([node for node, _ in self.nodes], self.reasons, self.target):
            self.reasons[node] = (
                "most of what it reads or feeds is float: integers here would only add conversions"
            )
            clip = self._swallowed(node)
            if clip is not None and kind(clip, self.target) is Kind.FLOAT:
                self.reasons.setdefault(clip, f"the {node.op_type} in front of it stays float")

    def _leave_idle_moves(self) -> None:
        """A move node stays float unless a quantized compute node reads or makes what it moves.

        Between Q/DQ pairs that are there already it moves codes, if the pairs agree.
        """
        connected = ScaleGroups[ir.Value]()
        moves = [node for node in self._quantized() if kind(node, self.target) is Kind.MOVE]
        for node in moves:
            connected.join(*ValuePlacement.moved(node))
        computed = {
            connected.leader(value)
            for node in self._quantized()
            if kind(node, self.target) is not Kind.MOVE
            for value in (*(node.inputs[i] for i in operands(node).data), *node.outputs)
            if value is not None
        }
        for node in moves:
            moved = ValuePlacement.moved(node)
            if all(map(is_quantized_already, moved)):
                if not self._one_scale(moved):
                    self.reasons[node] = "the Q/DQ around it has several scales: codes cannot pass through"
            elif connected.leader(node.outputs[0]) not in computed:
                self.reasons[node] = "moves values that no quantized operator reads or makes"

    def _one_scale(self, values: list[ir.Value]) -> bool:
        """Whether values with Q/DQ share their parameters; strict integers rescale where they do not."""
        found = [trained_qparams(value) for value in values]
        same = all(q is not None and found[0] is not None and q.same_as(found[0]) for q in found)
        return same or self.target.form == "integer"

    def _swallowed(self, node: ir.Node) -> ir.Node | None:
        """The Relu or Clip that a node, with the Add of its bias, takes in."""
        if not is_op(node, *self.target.fuse_activation) or kind(node, self.target) is not Kind.COMPUTE:
            return None
        add = bias_add(node)
        last = add if add is not None and add not in self.reasons else node
        return sole_consumer(last.outputs[0], "Relu", "Clip")

    def _fused(self, node: ir.Node) -> Iterator[tuple[ir.Value, ir.Node]]:
        """Values between a node and the operators that it swallows, with who swallows."""
        if node in self.masked and node.inputs[0] is not None:
            yield node.inputs[0], node
        last = node
        if (add := bias_add(node)) is not None and add not in self.reasons:
            yield node.outputs[0], add
            last = add
        clip = self._swallowed(node)
        if clip is not None and clip not in self.reasons:
            yield last.outputs[0], clip

    def _why(self, node: ir.Node) -> str:
        if node in self.reasons:
            return self.reasons[node]
        if node.outputs[0] in self.inside:
            swallowed = self.inside[node.outputs[0]]
            return f"one integer operator with the {swallowed.op_type} behind it"
        return "passes codes through" if kind(node, self.target) is Kind.MOVE else "integer operator"


def _computes_on_floats(node: ir.Node) -> bool:
    if is_op(node, "QuantizeLinear", "DequantizeLinear", "Shape", "Size"):
        return False
    return any(is_float(value) for value in (*node.inputs, *node.outputs))
