"""The gain and bias of a normalization, which may stand anywhere in its formula."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, static_shape
from onnxq.graph.numeric import Array
from onnxq.graph.polynomial import Monomial, Polynomial

__all__ = ["Weights", "as_weight", "weights"]

_MAX_WEIGHT = 1 << 22
"""Elements of a weight that is made up for an operator that needs one."""


@dataclass(frozen=True)
class Weights:
    """A result read as ``gain · (varying part) + bias``, both polynomials in constants."""

    gain: Polynomial
    bias: Polynomial


def weights(result: Polynomial, direction: Polynomial) -> Weights | None:
    """The gain and bias that make ``result`` of ``direction``, whose coefficients are ±1."""
    constants: dict[Monomial, Polynomial] = {}
    atoms = {atom for term in direction.terms for atom, _ in term}
    for term, coefficient in result.terms.items():
        varying = frozenset(factor for factor in term if factor[0] in atoms)
        part = Polynomial({term - varying: coefficient})
        constants[varying] = constants.get(varying, Polynomial({})) + part
    bias = constants.pop(frozenset(), Polynomial({}))
    if constants.keys() != direction.terms.keys():
        return None
    gains = [constants[term] * sign for term, sign in direction.terms.items()]
    return Weights(gains[0], bias) if all(gain.is_close(gains[0]) for gain in gains) else None


def as_weight(
    formula: Polynomial, x: ir.Value, axes: int, perm: Sequence[int] | None = None
) -> ir.Value | Array | None:
    """A polynomial in constants as one float32 weight of the shape of the last ``axes`` of ``x``.

    With ``perm`` those of x transposed, and the weight is, too. A constant that is just that is kept. None if
    the shape is not known, large beyond reason or does not fit.
    """
    order = range(len(x.shape or ())) if perm is None else perm
    dims = None if x.shape is None else ir.Shape([x.shape[axis] for axis in order][-axes:])
    if dims is None or not dims.is_static() or math.prod(dims.numpy()) > _MAX_WEIGHT:
        return None
    whole = _lone_constant(formula)
    if perm is None and whole is not None and static_shape(whole) == dims.numpy():
        return whole
    with np.errstate(all="ignore"):
        total = np.asarray(sum(_evaluate(*item) for item in formula.terms.items()), np.float32)
    if perm is not None and total.ndim > 0:
        total = total.reshape((1,) * (len(order) - total.ndim) + total.shape).transpose(perm)
    try:
        fitted = np.broadcast_to(total, (1,) * max(0, total.ndim - axes) + dims.numpy()).reshape(dims.numpy())
    except ValueError:
        return None
    return np.ascontiguousarray(fitted) if np.isfinite(fitted).all() else None


def _lone_constant(formula: Polynomial) -> ir.Value | None:
    """The atom of a formula that is nothing but one atom."""
    term = next(iter(formula.terms), frozenset())
    atom = next((atom for atom, _ in term), None)
    return atom if atom is not None and formula.terms == Polynomial.of(atom).terms else None


def _evaluate(term: Monomial, coefficient: float) -> Array:
    product = np.asarray(coefficient, np.float64)
    for atom, power in sorted(term, key=lambda factor: str(factor[0].name)):
        array = constant(atom)
        if array is None:
            raise ValueError(f"'{atom.name}' is not constant")
        product = product * array.astype(np.float64) ** power
    return product
