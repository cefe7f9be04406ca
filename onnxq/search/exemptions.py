"""What may be exempted from 8 bits, as rules of a recipe: the moves of the search for mixed precision.

    a value           to 16 bits, where the target has them; or to float, with the nodes that make and read it
    a node's weights  to float, with the node
    a node's weights  to 4 bits (an exemption the other way, to make the model smaller)

Values of one scale group go together. A target of integer form has no float islands.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from onnxq.errors import UsageError
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import LINEAR
from onnxq.quant.plan import Plan, Role
from onnxq.quant.recipe import Recipe, Rule, Wish
from onnxq.targets.target import Target

__all__ = ["Exemption", "Kind", "exemptions", "recipe_of", "small_weights"]

_WIDE = 16


class Kind(StrEnum):
    """What an exempted value or node gets."""

    WIDE = "16 bits"
    FLOAT = "float"
    SMALL = "4-bit weights"


@dataclass(frozen=True)
class Exemption:
    """One move: ``where`` names the value or node, ``selector`` says which of the two it is."""

    kind: Kind
    selector: str
    where: tuple[str, ...]
    wish: Wish

    def __str__(self) -> str:
        more = f" and {len(self.where) - 1} of its scale group" if len(self.where) > 1 else ""
        return f"{self.selector} '{self.where[0]}'{more}: {self.kind}"

    def rules(self) -> Iterator[Rule]:
        """One rule for each name."""
        for name in self.where:
            if self.selector == "value":
                yield Rule(self.wish, value=re.escape(name))
            else:
                yield Rule(self.wish, node=re.escape(name))


def exemptions(plan: Plan, target: Target, prefer: Kind | None = None) -> list[Exemption]:
    """All that can be exempted from 8 bits under ``plan``; ``prefer`` allows values one kind only.

    Raises:
        UsageError: the target has neither 16 bits nor float islands, or not what is preferred.
    """
    wide, floats = _wide_format(target), target.form != "integer"
    allowed_kinds = {Kind.WIDE: wide is not None, Kind.FLOAT: floats}
    if not (any(allowed_kinds.values()) if prefer is None else allowed_kinds.get(prefer, False)):
        allowed = ", ".join(map(str, target.activations))
        raise UsageError(
            f"target {target.name} takes activations of {allowed}"
            + ("" if floats else " and has no float operators")
            + f": nothing can be exempted{f' to {prefer}' if prefer else ''}"
        )
    kinds = [kind for kind, there in allowed_kinds.items() if there and prefer in (None, kind)]
    found = [move for kind in kinds for move in _values(plan, kind, wide)]
    if floats and prefer is not Kind.WIDE:
        found += [_node(node, Kind.FLOAT, Wish(dtype="float")) for node in _weighted(plan)]
    return found


def small_weights(plan: Plan, bits: int = 4) -> list[Exemption]:
    """Every linear node's weights to fewer bits."""
    return [_node(node, Kind.SMALL, Wish(weight=f"int{bits}")) for node in _weighted(plan)]


def _wide_format(target: Target) -> IntFormat | None:
    """The 16-bit format of the target, of the sign of its usual one if there are two."""
    found = [fmt for fmt in target.activations if fmt.bits == _WIDE]
    return min(found, key=lambda fmt: fmt.signed != target.activation.signed, default=None)


def recipe_of(chosen: Iterable[Exemption], before: Recipe) -> Recipe:
    """The rules of ``chosen`` behind those of ``before``."""
    return Recipe((*before.rules, *(rule for move in chosen for rule in move.rules())))


def _values(plan: Plan, kind: Kind, wide: IntFormat | None) -> Iterator[Exemption]:
    wish = Wish(dtype=str(wide) if kind is Kind.WIDE else "float")
    for members in plan.groups.values():
        names = tuple(d.value for d in members if d.role is Role.ACTIVATION)
        if names and members[0].format.bits < _WIDE:
            yield Exemption(kind, "value", names if kind is Kind.FLOAT else names[:1], wish)


def _weighted(plan: Plan) -> Iterator[str]:
    """Linear nodes on integers whose weight is constant, by their first output."""
    readers = {name for d in plan.values if d.role is Role.WEIGHT for name in d.readers or ()}
    return (n.node for n in plan.nodes if n.quantized and n.op in LINEAR and n.node in readers)


def _node(name: str, kind: Kind, wish: Wish) -> Exemption:
    return Exemption(kind, "node", (name,), wish)
