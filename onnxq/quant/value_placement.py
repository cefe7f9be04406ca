"""Deciding which values get Q/DQ, and of which format, once it is known which nodes are quantized."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, producer, rank, sole_consumer
from onnxq.quant.concat_scales import joined
from onnxq.quant.eligibility import Kind, is_quantized_already, kind
from onnxq.quant.formats import INT32, IntFormat
from onnxq.quant.operators import (
    bias_add,
    bias_stays_float,
    merging_add,
    operands,
    other_operand,
    weight_axis,
)
from onnxq.quant.plan import Role, ValueDecision
from onnxq.quant.recipe import NOTHING, Choices, Wish
from onnxq.quant.recurrent import cell_format, is_in_cell, same_in_all_steps
from onnxq.quant.scale_groups import ScaleGroups
from onnxq.targets.target import Range, Target

__all__ = ["ValuePlacement", "first_output"]

_DECODES = "decodes outputs of the model"
_ADDS_UP = "in recurrent cells, which add up over time"


def first_output(node: ir.Node) -> str:
    """The name a node is known by in a plan: that of its first output."""
    return next((output.name for output in node.outputs if output.name), node.name or "")


class ValuePlacement:
    """One decision a value and role.

    ``quantized`` are the nodes on integers in graph order; ``inside`` the values within fused operators;
    ``tail`` the values of box decoding, which get the target's wide format.
    ``states`` pairs of values that share a scale because the one becomes the other at the next step. A range
    that the recipe gives one of these is that of all values of their group.
    """

    def __init__(
        self,
        target: Target,
        quantized: Sequence[ir.Node],
        inside: Mapping[ir.Value, ir.Node],
        choices: Choices,
        tail: Collection[ir.Value] = frozenset(),
        states: Sequence[tuple[ir.Value, ir.Value]] = (),
    ) -> None:
        self.target, self.quantized, self.inside, self.choices = target, quantized, inside, choices
        self.members = frozenset(quantized)
        self.groups = ScaleGroups[ir.Value]()
        self.followers: set[ir.Value] = set()
        for node in quantized:
            if kind(node, target) is Kind.MOVE:
                self.groups.join(*self.moved(node))
                self.followers.update(_cut(node))
            elif is_op(node, "Concat"):
                together = joined(node, self.members, target)
                self.groups.join(*together)
                self.followers.update(together[1:])
        for pair in (*states, *same_in_all_steps(quantized)):
            self.groups.join(*pair)
        self.asked = self._asked()
        self.wishes = self._group_wishes()
        self.widened = self._widen(tail)
        cells = (output for node in quantized if is_in_cell(node) for output in node.outputs)
        self.in_cells = {self.groups.leader(output) for output in cells if cell_format(target)}
        self.state_ranges = {
            self.groups.leader(value): asked
            for pair in states
            for value in pair
            if (asked := self.asked.get(value, NOTHING).range) is not None
        }

    @staticmethod
    def moved(node: ir.Node) -> list[ir.Value]:
        """The values that a move node gives one scale."""
        data = (value for i in operands(node).data if (value := node.inputs[i]) is not None)
        return [*data, *(output for output in node.outputs if output.name)]

    def decisions(self) -> Iterator[ValueDecision]:
        """In graph order."""
        done: set[tuple[ir.Value, Role, int | None]] = set()
        for node in self.quantized:
            for value, role, axis in self._operands(node):
                if (value, role, axis) in done or value in self.inside or is_quantized_already(value):
                    continue
                if role is Role.BIAS and self._stays_float(node):
                    continue
                done.add((value, role, axis))
                if role in (Role.WEIGHT, Role.BIAS):
                    yield self._constant(node, value, role, axis)
                elif not self._leaves_as_float(value) and not self._is_merged(value):
                    yield self._activation(node, value, role)

    def _operands(self, node: ir.Node) -> Iterator[tuple[ir.Value, Role, int | None]]:
        roles = operands(node)
        makers = [maker for value in node.inputs if (maker := producer(value)) is not None]
        biased = any(bias_add(maker) is node for maker in makers)
        for i in roles.data:
            if (value := node.inputs[i]) is None:
                continue
            if constant(value) is None:
                yield value, Role.ACTIVATION, None
            else:
                yield value, Role.BIAS if biased else Role.CONSTANT, None
        if roles.weight is not None and (weight := node.inputs[roles.weight]) is not None:
            yield weight, Role.WEIGHT, self._axis(node, weight)
        bias = get_input(node, roles.bias) if roles.bias is not None else None
        if bias is not None and constant(bias) is not None:  # one computed at run time stays float
            yield bias, Role.BIAS, None
        for output in node.outputs:
            if output.is_graph_output() or output.uses():
                yield output, Role.ACTIVATION, None

    def _axis(self, node: ir.Node, weight: ir.Value) -> int | None:
        wanted = self.choices.of_node(node).per_channel
        per_channel = is_op(node, *self.target.per_channel) if wanted is None else wanted
        return weight_axis(node, rank(weight) or 0) if per_channel else None

    # --- weights and biases ---------------------------------------------------------------------

    def _stays_float(self, node: ir.Node) -> bool:
        """Whether a node's bias, or the one that it adds to a MatMul, gets no Q/DQ."""
        makers = [maker for value in node.inputs if (maker := producer(value)) is not None]
        linear = next((maker for maker in makers if bias_add(maker) is node), node)
        return bias_stays_float(linear, self.target)

    def _constant(self, node: ir.Node, value: ir.Value, role: Role, axis: int | None) -> ValueDecision:
        name = value.name or ""
        if role is Role.BIAS:
            return ValueDecision(name, role, INT32, name, True)
        fmt, wish = self.target.weight, self.choices.of_node(node)
        if wish.weight is not None:
            asked = IntFormat.parse(wish.weight)
            fmt = IntFormat(asked.bits, asked.signed, narrow=asked.signed)
        pow2 = self.target.weight_power_of_two if wish.power_of_two is None else wish.power_of_two
        readers = tuple(first_output(n) for n in consumers(value) if self._reads_as_weight(n, value, axis))
        return ValueDecision(name, role, fmt, name, True, pow2, axis, readers=readers)

    def _reads_as_weight(self, node: ir.Node, value: ir.Value, axis: int | None) -> bool:
        return node in self.members and any(
            v is value and role is Role.WEIGHT and a == axis for v, role, a in self._operands(node)
        )

    # --- activations ----------------------------------------------------------------------------

    def _activation(self, node: ir.Node, value: ir.Value, role: Role) -> ValueDecision:
        leader = self.groups.leader(value)
        wish, target = self.wishes.get(leader, NOTHING), self.target
        fmt = wish.format or (self._beside(node) if role is Role.CONSTANT else target.activation)
        symmetric = target.symmetric if wish.symmetric is None else wish.symmetric
        pow2 = target.activation_power_of_two if wish.power_of_two is None else wish.power_of_two
        fixed = self.state_ranges.get(leader) or self.asked.get(value, NOTHING).range
        fixed = fixed or self._fixed(value, fmt, symmetric)
        readers, follows = self._readers(value), fixed is None and value in self.followers
        name, group, why = value.name or "", leader.name or "", self._why(leader, fmt)
        return ValueDecision(name, role, fmt, group, symmetric, pow2, None, fixed, readers, follows, why)

    def _why(self, leader: ir.Value, fmt: IntFormat) -> str:
        """Why a format is not the target's usual one, where the target has it so by itself."""
        if leader in self.widened:
            return _DECODES
        return _ADDS_UP if leader in self.in_cells and fmt == cell_format(self.target) else ""

    def _group_wishes(self) -> dict[ir.Value, Wish]:
        """What the recipe says of each scale group: of several dtypes the widest."""
        found: dict[ir.Value, Wish] = {}
        for node in self.quantized:
            for value in (*node.inputs, *node.outputs):
                if value is None or (wish := self.asked.get(value, NOTHING)) == NOTHING:
                    continue
                leader = self.groups.leader(value)
                before = found.get(leader, NOTHING)
                widest = max((before, wish), key=lambda w: 0 if w.format is None else w.format.bits)
                found[leader] = Wish(dtype=widest.dtype).over(wish.over(before))
        return found

    def _widen(self, tail: Collection[ir.Value]) -> set[ir.Value]:
        """Give the wide format to the scale groups that lie within the tail; what the recipe says wins."""
        wide = self.target.wide
        if wide is None or not tail:
            return set()
        together: dict[ir.Value, list[ir.Value]] = {}
        for node in self.quantized:
            for value, role, _ in self._operands(node):
                if role in (Role.ACTIVATION, Role.CONSTANT):
                    together.setdefault(self.groups.leader(value), []).append(value)
        found = {leader for leader, values in together.items() if all(value in tail for value in values)}
        found = {leader for leader in found if self.wishes.get(leader, NOTHING).dtype is None}
        for leader in found:
            self.wishes[leader] = Wish(dtype=str(wide)).over(self.wishes.get(leader, NOTHING))
        return found

    def _asked(self) -> dict[ir.Value, Wish]:
        """What the recipe says of each value; within a fused operator it holds for what that makes."""
        asked: dict[ir.Value, Wish] = {}
        for node in self.quantized if self.choices.chosen else ():
            for value in (*node.inputs, *node.outputs):
                if value is not None:
                    asked[value] = self.choices.of_value(value).over(asked.get(value, NOTHING))
            for output in node.outputs:
                if output in self.inside:
                    result = self.inside[output].outputs[0]
                    asked[result] = asked[output]
        return {value: wish for value, wish in asked.items() if wish != NOTHING}

    def _beside(self, node: ir.Node) -> IntFormat:
        """A constant operand has the format of the values beside it: kernels want one dtype."""
        leaders = [self.groups.leader(v) for v in (*node.inputs, *node.outputs) if v is not None]
        formats = [self.wishes.get(leader, NOTHING).format or self.target.activation for leader in leaders]
        return max(formats, key=lambda fmt: fmt.bits, default=self.target.activation)

    def _fixed(self, value: ir.Value, fmt: IntFormat, symmetric: bool) -> Range | None:
        """The known range of a function's output, without the code that its upper end would need."""
        maker = producer(value)
        if maker is None or not is_op(maker, *self.target.fixed_range):
            return None
        low, high = self.target.fixed_range[maker.op_type]
        if symmetric and fmt.signed:
            room = 1 - 2.0 ** (1 - fmt.bits)
            return low * room, high * room
        return low, high - (high - low) / 2**fmt.bits

    def _leaves_as_float(self, value: ir.Value) -> bool:
        """Whether a linear operator hands its sums to float nodes only, and the target lets it.

        Not behind a Relu or Clip: runtimes take these into the operator together with a Q only.
        """
        maker = producer(value)
        if is_op(maker, "Relu", "Clip"):
            return False
        while maker is not None and (before := self._swallower(maker)) is not None:
            maker = before
        if maker is None or maker not in self.members or not is_op(maker, *self.target.float_output):
            return False
        return not any(self._takes_codes(reader, value) for reader in consumers(value))

    def _is_merged(self, value: ir.Value) -> bool:
        """Whether the Add that alone reads a value takes it as float: the first operand that it may.

        Not a value that the recipe speaks of.
        """
        add = self._merger(value)
        first = None if add is None else add.inputs[0]
        return add is not None and (first is value or first is None or self._merger(first) is not add)

    def _merger(self, value: ir.Value) -> ir.Node | None:
        """The Add that may take in a value, one of the quantized nodes like the operator that makes it."""
        add = merging_add(value, self.target)
        maker, other = producer(value), None if add is None else other_operand(add, value)
        together = add in self.members and maker in self.members and value not in self.asked
        return add if together and other is not value else None

    def _swallower(self, node: ir.Node) -> ir.Node | None:
        """The node before one that was fused into it."""
        values = [value for value in node.inputs if value is not None and self.inside.get(value) is node]
        return producer(values[0]) if values else None

    def _takes_codes(self, reader: ir.Node, value: ir.Value) -> bool:
        return reader in self.members and any(v is value for v, _, _ in self._operands(reader))

    def _readers(self, value: ir.Value) -> tuple[str, ...] | None:
        """All readers of what a quantized node makes; of anything else only the quantized ones.

        An input of a strict integer model holds codes for all its readers, such as a comparison.
        """
        maker = producer(value)
        if value.is_graph_input() and self.target.form == "integer":
            return None
        if maker is not None and maker in self.members and not is_op(maker, "Constant"):
            return None
        return tuple(first_output(node) for node in consumers(value) if node in self.members)


def _cut(node: ir.Node) -> Iterator[ir.Value]:
    """What a Min or Max cuts off needs no codes: sat(min(a, b)) = min(sat(a), sat(b)), for max as well."""
    if not is_op(node, "Max", "Min"):
        return
    yield from (value for value in node.inputs if value is not None and sole_consumer(value) is node)
