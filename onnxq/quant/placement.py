"""Deciding what is quantized: target + graph → :class:`Plan`. Nothing is edited here.

1. Every node is *able* or not (:mod:`onnxq.quant.eligibility` gives the reason).
2. A compute node that is able is quantized. A move node (it passes codes through) is quantized where it
   is connected, through other move nodes, with a compute node that is.
3. Between a node and the Relu or Clip that only narrows its range, and between a MatMul and the Add of
   its bias, no Q/DQ is put: the pair is one integer operator.
4. Every float value that a quantized node reads or makes gets one Q/DQ pair; a float node reads the
   exact value where the value comes from a float node, the dequantized one otherwise.
5. Values that a move node connects form one scale group.
"""

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, is_op, producer, rank, sole_consumer
from onnxq.graph.scopes import scopes
from onnxq.quant.eligibility import Kind, is_quantized_already, kind, masks, why_not
from onnxq.quant.formats import INT32
from onnxq.quant.operators import bias_add, operands, weight_axis
from onnxq.quant.plan import NodeDecision, Plan, Role, ValueDecision
from onnxq.quant.scale_groups import ScaleGroups
from onnxq.targets.target import Target

__all__ = ["plan"]


def plan(model: ir.Model, target: Target) -> Plan:
    """Decide which nodes run on integers and which values get Q/DQ.

    Raises:
        nothing: a node that cannot be quantized is a decision with its reason.
    """
    return _Placement(model, target).plan()


class _Placement:
    def __init__(self, model: ir.Model, target: Target) -> None:
        self.target = target
        self.nodes = [(node, scope) for scope in scopes(model) for node in scope.graph]
        self.reasons: dict[ir.Node, str] = {}
        for node, scope in self.nodes:
            if reason := why_not(node, scope, target):
                self.reasons[node] = reason
        self._leave_masked()
        if target.float_tail:
            self._leave_tail()
        self._leave_idle_moves()
        self.inside = {value: reader for node in self._quantized() for value, reader in self._fused(node)}

    def plan(self) -> Plan:
        nodes = tuple(
            NodeDecision(_name(node), node.op_type, scope.path, node not in self.reasons, self._why(node))
            for node, scope in self.nodes
            if not is_op(node, "Constant")
        )
        return Plan(self.target.name, nodes, tuple(self._values()))

    # --- nodes ----------------------------------------------------------------------------------

    def _quantized(self) -> Iterator[ir.Node]:
        return (node for node, _ in self.nodes if node not in self.reasons)

    def _leave_masked(self) -> None:
        """What a mask of huge numbers reaches stays float, up to the Softmax or Clip that swallows it."""
        masked: set[ir.Value] = set()
        for node, _ in self.nodes:
            reached = masks(node) or any(value in masked for value in node.inputs)
            if not reached:
                continue
            self.reasons.setdefault(node, "a mask (−1e4 … −inf) reaches it, beside which 8 bits hold nothing")
            if not is_op(node, "Softmax", "Clip"):
                masked.update(node.outputs)

    def _leave_tail(self) -> None:
        """Layout operators from a Concat to the outputs stay float, so that each part keeps its own scale."""
        tail: set[ir.Node] = set()
        for node, _ in reversed(self.nodes):
            if kind(node, self.target) is Kind.MOVE and all(
                reader in tail for output in node.outputs for reader in consumers(output)
            ):
                tail.add(node)
        joined: set[ir.Node] = set()
        for node, _ in self.nodes:
            if node in tail and (is_op(node, "Concat") or any(producer(v) in joined for v in node.inputs)):
                joined.add(node)
                self.reasons.setdefault(
                    node, "only joins outputs of the model: each part leaves at its own scale"
                )

    def _leave_idle_moves(self) -> None:
        """A move node stays float unless a quantized compute node reads or makes what it moves."""
        connected = ScaleGroups[ir.Value]()
        moves = [node for node in self._quantized() if kind(node, self.target) is Kind.MOVE]
        for node in moves:
            connected.join(*_moved(node))
        computed = {
            connected.leader(value)
            for node in self._quantized()
            if kind(node, self.target) is Kind.COMPUTE
            for value in (*_data(node), *node.outputs)
        }
        for node in moves:
            if connected.leader(node.outputs[0]) not in computed:
                self.reasons[node] = "moves values that no quantized operator reads or makes"

    def _fused(self, node: ir.Node) -> Iterator[tuple[ir.Value, ir.Node]]:
        """Values between a node and the operators that it swallows, with who swallows."""
        last = node
        if (add := bias_add(node)) is not None and add not in self.reasons:
            yield node.outputs[0], add
            last = add
        if not is_op(node, *self.target.fuse_activation) or kind(node, self.target) is not Kind.COMPUTE:
            return
        clip = sole_consumer(last.outputs[0], "Relu", "Clip")
        if clip is not None and clip not in self.reasons:
            yield last.outputs[0], clip

    def _why(self, node: ir.Node) -> str:
        if node in self.reasons:
            return self.reasons[node]
        if node.outputs[0] in self.inside:
            swallowed = self.inside[node.outputs[0]]
            return f"one integer operator with the {swallowed.op_type} behind it"
        return "passes codes through" if kind(node, self.target) is Kind.MOVE else "integer operator"

    # --- values ---------------------------------------------------------------------------------

    def _values(self) -> Iterator[ValueDecision]:
        """One decision a value and role, in graph order."""
        groups, fixed = self._groups(), self._fixed()
        done: set[tuple[ir.Value, Role, int | None]] = set()
        for node in self._quantized():
            for value, role, axis in self._operands(node):
                if (value, role, axis) in done or value in self.inside or is_quantized_already(value):
                    continue
                done.add((value, role, axis))
                leader = groups.leader(value) if role in (Role.ACTIVATION, Role.CONSTANT) else value
                yield self._decision(value, role, axis, leader.name or "", fixed.get(value))

    def _operands(self, node: ir.Node) -> Iterator[tuple[ir.Value, Role, int | None]]:
        roles = operands(node)
        biased = {add: matmul for matmul in self._producers(node) if (add := bias_add(matmul)) is node}
        for i in roles.data:
            if (value := node.inputs[i]) is None:
                continue
            if constant(value) is None:
                yield value, Role.ACTIVATION, None
            else:
                yield value, Role.BIAS if biased else Role.CONSTANT, None
        if roles.weight is not None and (weight := node.inputs[roles.weight]) is not None:
            per_channel = is_op(node, *self.target.per_channel)
            yield weight, Role.WEIGHT, weight_axis(node, rank(weight) or 0) if per_channel else None
        if roles.bias is not None and (bias := node.inputs[roles.bias]) is not None:
            yield bias, Role.BIAS, None
        for output in node.outputs:
            if output.is_graph_output() or output.uses():
                yield output, Role.ACTIVATION, None

    @staticmethod
    def _producers(node: ir.Node) -> list[ir.Node]:
        return [maker for value in node.inputs if (maker := producer(value)) is not None]

    def _decision(
        self, value: ir.Value, role: Role, axis: int | None, group: str, fixed: tuple[float, float] | None
    ) -> ValueDecision:
        target, name = self.target, value.name or ""
        if role is Role.WEIGHT:
            users = tuple(_name(n) for n in consumers(value) if self._reads_as_weight(n, value, axis))
            pow2 = target.weight_power_of_two
            return ValueDecision(name, role, target.weight, name, True, pow2, axis, readers=users)
        if role is Role.BIAS:
            return ValueDecision(name, role, INT32, name, True)
        pow2, readers = target.activation_power_of_two, self._readers(value)
        fmt, symmetric = target.activation, target.symmetric
        return ValueDecision(name, role, fmt, group, symmetric, pow2, None, fixed, readers)

    def _reads_as_weight(self, node: ir.Node, value: ir.Value, axis: int | None) -> bool:
        return node not in self.reasons and any(
            v is value and role is Role.WEIGHT and a == axis for v, role, a in self._operands(node)
        )

    def _readers(self, value: ir.Value) -> tuple[str, ...] | None:
        """All readers of what a quantized node makes; of anything else only the quantized ones."""
        maker = producer(value)
        if maker is not None and maker not in self.reasons and not is_op(maker, "Constant"):
            return None
        return tuple(_name(node) for node in consumers(value) if node not in self.reasons)

    def _groups(self) -> ScaleGroups[ir.Value]:
        groups = ScaleGroups[ir.Value]()
        for node in self._quantized():
            if kind(node, self.target) is Kind.MOVE:
                groups.join(*_moved(node))
        return groups

    def _fixed(self) -> dict[ir.Value, tuple[float, float]]:
        ranges = self.target.fixed_range
        return {node.outputs[0]: ranges[node.op_type] for node, _ in self.nodes if node.op_type in ranges}


def _data(node: ir.Node) -> Iterable[ir.Value]:
    return (value for i in operands(node).data if (value := node.inputs[i]) is not None)


def _moved(node: ir.Node) -> list[ir.Value]:
    return [*_data(node), *(output for output in node.outputs if output.name)]


def _name(node: ir.Node) -> str:
    return next((output.name for output in node.outputs if output.name), node.name or "")
