"""The certificate of an integer model as tables."""

import numpy as np

from onnxq.evaluate.certificate import Certificate, Rescaling
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import describe
from onnxq.report.table import Table
from onnxq.words import listed, plural

__all__ = ["certificate_tables"]


def certificate_tables(certificate: Certificate) -> list[Table]:
    """Floats, accumulators, rescalings, and words that are too narrow or have no proof."""
    floats = [(found.name, found.where, found.reason) for found in certificate.floats]
    sums = [
        (found.tensor, found.op, str(found.bits), f"{found.low} … {found.high}")
        for found in certificate.accumulators
    ]
    title = f"{plural(len(sums), 'accumulator')}, the widest of {plural(certificate.widest, 'bit')}"
    tables = [
        Table(plural(len(floats), "float tensor"), ["name", "scope", "what"], floats),
        Table(title, ["tensor", "made by", ">bits", "least and greatest"], sums),
        Table(
            plural(len(certificate.rescalings), "rescaling"),
            ["tensor", "of", "multipliers", "shifts", ">widest word"],
            [_rescaling(found) for found in certificate.rescalings],
        ),
    ]
    for name, findings in (
        ("words too narrow", certificate.violations),
        ("words without a proof", certificate.open),
    ):
        rows = [(describe(f.node), f.reason, str(f.bits), f.dtype) for f in findings]
        tables.append(Table(f"{name}: {len(rows)}", ["node", "what", ">bits needed", "type"], rows))
    return tables


def _rescaling(found: Rescaling) -> tuple[str, str, str, str, str]:
    multipliers = " + ".join(_bits(array) for array in found.multipliers)
    shifts = ", ".join(_range(array) for array in found.shifts)
    shifts = ", ".join([shifts] * bool(shifts) + [f"/ {_range(array)}" for array in found.divisors])
    return found.output, listed(found.sources), multipliers, shifts, str(found.word)


def _bits(array: IntArray) -> str:
    """``64 of 22–29 bits``, or the number itself."""
    if array.size == 1:
        number = int(array.reshape(-1)[0])
        return f"{number} ({plural(abs(number).bit_length(), 'bit')})"
    bits = np.asarray([abs(int(number)).bit_length() for number in array.reshape(-1)])
    return f"{array.size} of {_range(bits)} bits"


def _range(array: IntArray) -> str:
    low, high = int(array.min()), int(array.max())
    return str(low) if low == high else f"{low}–{high}"
