"""The rules by which outputs are compared, at their limits."""

import numpy as np
import pytest

from onnxq.data.codes import Codes
from onnxq.graph.numeric import Array
from onnxq.pipeline.base import Contract
from onnxq.pipeline.contracts import Limits, Scales, complaint

EXACT, APPROXIMATE, INTEGER = Contract.EXACT, Contract.APPROXIMATE, Contract.INTEGER_EXACT
RAMP = np.linspace(-10, 10, 1000, dtype=np.float32)
CODES = np.arange(1000).astype(np.int16)


def _moved(array: Array, amount: float, count: int = 1) -> Array:
    moved = array.copy()
    moved[:count] += np.asarray(amount, array.dtype)
    return moved


def _complaint(contract: Contract, was: Array, now: Array, **known: object) -> str:
    scales = Scales(known.get("codes"), known.get("step"), bool(known.get("quantized")))  # type: ignore[arg-type]
    return complaint(contract, was, now, scales, Limits(rtol=1e-3, lsb=1, share=0.01))


@pytest.mark.parametrize(
    ("contract", "was", "now", "known", "expected"),
    [
        # the largest value is 10, so 0.01 is allowed
        (EXACT, RAMP, _moved(RAMP, 0.0099), {}, ""),
        (EXACT, RAMP, _moved(RAMP, 0.0101), {}, "differs by up to 0.0101"),
        (EXACT, CODES, _moved(CODES, 1), {}, "differs by up to 1"),
        # a code of 0.1 that moved is no breach where the graph quantizes, for up to 1 % of 1000 elements
        (EXACT, RAMP, _moved(RAMP, 0.1, 10), {"quantized": True, "step": 0.1}, ""),
        (EXACT, RAMP, _moved(RAMP, 0.1, 11), {"quantized": True, "step": 0.1}, "differs by up to 0.1"),
        (APPROXIMATE, RAMP, _moved(RAMP, 5.0), {}, ""),
        (INTEGER, RAMP, _moved(RAMP, 0.1, 10), {"step": 0.1}, ""),
        (
            INTEGER,
            RAMP,
            _moved(RAMP, 0.1, 11),
            {"step": 0.1},
            "has other codes for more than 1.00% (11 of 1000",
        ),
        (INTEGER, RAMP, _moved(RAMP, 0.2), {"step": 0.1}, "is up to 2 codes apart (allowed 1; 1 of 1000"),
        # without a scale a step is 10 / 255, and only the share counts
        (INTEGER, RAMP, _moved(RAMP, 0.2), {}, ""),
        (INTEGER, RAMP, _moved(RAMP, 0.2, 11), {}, "has other codes"),
        (INTEGER, CODES, _moved(CODES, 1, 10), {"codes": Codes(0.5, 3)}, ""),
        (INTEGER, CODES, _moved(CODES, 2), {"codes": Codes(0.5, 3)}, "is up to 2 codes apart"),
        (INTEGER, CODES, _moved(CODES, 2), {}, ""),
        # 10 / 0.1 + 3 = 103 and -10 / 0.1 + 3 = -97 fit int8: floats become codes
        (INTEGER, RAMP, np.rint(RAMP * 10 + 3).astype(np.int8), {"codes": Codes(0.1, 3)}, ""),
        (
            INTEGER,
            RAMP,
            np.rint(RAMP * 10).astype(np.int8),
            {"codes": Codes(0.1, 3)},
            "is up to 3 codes apart",
        ),
        (INTEGER, RAMP, CODES.astype(np.int8), {}, "is int8, before it was float32"),
        (EXACT, RAMP, RAMP.reshape(10, 100), {}, "has the shape [10, 100], before it was [1000]"),
        (EXACT, RAMP, RAMP.astype(np.float64), {}, "is float64, before it was float32"),
        (APPROXIMATE, RAMP, _moved(RAMP, np.nan), {}, "is NaN or infinite at other places"),
        (EXACT, _moved(RAMP, np.inf), _moved(RAMP, np.inf), {}, ""),
        (EXACT, np.zeros(0, np.float32), np.zeros(0, np.float32), {}, ""),
        (EXACT, np.array(["a"], object), np.array(["b"], object), {}, "has other texts"),
    ],
)
def test_rules(contract: Contract, was: Array, now: Array, known: dict[str, object], expected: str) -> None:
    found = _complaint(contract, was, now, **known)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)
