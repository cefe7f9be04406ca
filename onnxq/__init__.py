"""onnxq: float ONNX models to Q/DQ and to strict integer-only graphs, pass by pass, with proof.

    import onnxq

    result = onnxq.quantize("model.onnx", "calib/", target="generic-int8")
    result.save("model.int8.onnx")

Names are loaded when they are first used: ``import onnxq`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from onnxq._version import __version__

if TYPE_CHECKING:
    from onnxq.api import Result, calibrate, compare, load_samples, plan, quantize, run, sensitivity
    from onnxq.errors import OnnxqError
    from onnxq.model_io import load, save

__all__ = [
    "OnnxqError",
    "Result",
    "__version__",
    "calibrate",
    "compare",
    "load",
    "load_samples",
    "plan",
    "quantize",
    "run",
    "save",
    "sensitivity",
]

_HOMES = {
    "OnnxqError": "onnxq.errors",
    "Result": "onnxq.api",
    "calibrate": "onnxq.api",
    "compare": "onnxq.api",
    "load": "onnxq.model_io",
    "load_samples": "onnxq.api",
    "plan": "onnxq.api",
    "quantize": "onnxq.api",
    "run": "onnxq.api",
    "save": "onnxq.model_io",
    "sensitivity": "onnxq.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxq' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
