"""How long the axes of a graph's values are, where some lengths are known at run time only.

Shape inference forgets how open axes hang together: behind ``Reshape(x, [-1, 512, 256])`` it knows nothing of
the first one. Here every length is a number times lengths of other axes, such as ``2048·N``, so that a graph
says whether two open axes are equally long. Two lengths that compare equal are equal in every run; two that
compare different may still be. The model is taken to be one that runs: broadcasting never fails.
"""

from collections.abc import Sequence
from fractions import Fraction

import onnx_ir as ir

from onnxq.graph.length_algebra import Length, Partly, Shape
from onnxq.graph.length_rules import NUMBER_RULES, SHAPE_RULES
from onnxq.graph.match import constant
from onnxq.graph.scopes import scopes

__all__ = ["Lengths"]

_MAX_NUMBERS = 64


class Lengths:
    """The lengths of every axis of every value of a model, read once in graph order."""

    def __init__(self, model: ir.Model) -> None:
        self._shapes: dict[ir.Value, Shape] = {}
        self._numbers: dict[ir.Value, Shape] = {}
        for value in model.graph.inputs:
            self._know(value, None, named=True)
        for scope in scopes(model):
            for node in scope.graph:
                self._read(node)

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value; None where not even the number of axes is known."""
        if value is not None and value not in self._shapes:
            self._know(value, None)
        return None if value is None else self._shapes.get(value)

    def numbers(self, value: ir.Value | None) -> Shape | None:
        """The elements of a short list of integers, which is constant or made of shapes; else None."""
        array = constant(value)
        small = array is not None and array.ndim < 2 and array.size <= _MAX_NUMBERS
        if array is not None and small and array.dtype.kind in "iu":
            return tuple(Length(Fraction(int(n))) for n in array.reshape(-1))
        return None if value is None else self._numbers.get(value)

    def _read(self, node: ir.Node) -> None:
        standard = node.domain in ("", "ai.onnx")
        rule = SHAPE_RULES.get(node.op_type) if standard else None
        found = None if rule is None else rule(node, self)
        for i, value in enumerate(node.outputs):
            self._know(value, found if i == 0 or node.op_type == "Split" else None)
        if (count := NUMBER_RULES.get(node.op_type) if standard else None) is None:
            return
        numbers = count(node, self)
        if numbers is not None and len(numbers) <= _MAX_NUMBERS:
            self._numbers[node.outputs[0]] = tuple(numbers)

    def _know(self, value: ir.Value, found: Partly | None, *, named: bool = False) -> None:
        """What a rule found, filled up with declared numbers and with axes known by their place only."""
        if found is None and value.shape is None:
            return
        declared: Sequence[int | ir.SymbolicDim | None] = [None] * len(found or ())
        if value.shape is not None:
            declared = list(value.shape)
        fits = found is not None and len(found) == len(declared)
        lengths = []
        for i, dim in enumerate(declared):
            name = dim.value if named and isinstance(dim, ir.SymbolicDim) else None
            own = Length(Fraction(1), (name or f"{id(value)}[{i}]",))
            ruled = found[i] if fits and found is not None else None
            lengths.append(Length(Fraction(dim)) if isinstance(dim, int) else ruled or own)
        self._shapes[value] = tuple(lengths)
