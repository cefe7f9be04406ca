"""How far a changed model is from the float one at its outputs, on the held-back samples."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.graph.numeric import Array
from onnxq.rounding.observed import HELD_BACK
from onnxq.runtime import Session

__all__ = ["OutputError"]


class OutputError:
    """Σ (q − f)² / Σ f² over all elements of an output, added up over the float outputs.

    The float model runs once; its outputs for the held-back samples (a quarter of all) stay in memory.
    """

    def __init__(self, twin: ir.Model, samples: Samples) -> None:
        self._samples = samples
        self._wanted = list(self._run(twin))

    def of(self, model: ir.Model) -> float:
        """The error of a model with the same inputs and outputs; infinite where an output is not finite."""
        noise: dict[str, float] = {}
        signal: dict[str, float] = {}
        for wanted, made in zip(self._wanted, self._run(model), strict=True):
            for name, array in wanted.items():
                real = array.astype(np.float64)
                noise[name] = noise.get(name, 0.0) + float(np.sum((made[name] - real) ** 2))
                signal[name] = signal.get(name, 0.0) + float(np.sum(real**2))
        found = sum(noise[name] / max(signal[name], np.finfo(np.float64).tiny) for name in noise)
        return found if np.isfinite(found) else float("inf")

    def _run(self, model: ir.Model) -> Iterator[dict[str, Array]]:
        session = Session(model)
        every = HELD_BACK if len(self._samples) >= HELD_BACK else 1
        for index, sample in enumerate(self._samples):
            if index % every == every - 1:
                outputs = session.run(sample.feeds)
                yield {n: a for n, a in outputs.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
