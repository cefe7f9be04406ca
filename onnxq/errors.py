"""Every error onnxq raises on purpose.

    OnnxqError                 one clear message; the command line prints it and exits with 2
    ├── UsageError             an option, pipeline text or recipe that cannot be understood
    ├── ModelError             a model that cannot be read, written or is not valid ONNX
    ├── DataError              calibration samples that do not fit the model
    ├── TargetError            a target file that is wrong or a model that a target cannot take
    ├── PassError              a pass failed; names the pass and its place in the pipeline
    └── CheckError             a check that ran to its end and said no (exit code 1)
        └── ContractError      a pass broke its contract; names the first value that differs

A message says what was expected, what was found, where, and what to do next. Anything else that
escapes is a defect of onnxq.
"""

__all__ = [
    "CheckError",
    "ContractError",
    "DataError",
    "ModelError",
    "OnnxqError",
    "PassError",
    "TargetError",
    "UsageError",
]


class OnnxqError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 2


class UsageError(OnnxqError):
    """An option, pipeline text or recipe that cannot be understood."""


class ModelError(OnnxqError):
    """A model that cannot be read, written or is not valid ONNX."""


class DataError(OnnxqError):
    """Calibration samples that do not fit the model."""


class TargetError(OnnxqError):
    """A target file that is wrong, or a model that a target cannot take."""


class PassError(OnnxqError):
    """A pass failed; the message names the pass, its place in the pipeline and the node."""


class CheckError(OnnxqError):
    """A check that ran to its end and said no."""

    exit_code = 1


class ContractError(CheckError):
    """A pass broke the contract it declares."""
