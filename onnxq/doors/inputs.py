"""What every door takes: a model with its hash, and samples that fit it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from onnxq import model_io
from onnxq.data.check import check_samples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import Samples, input_specs
from onnxq.data.sequences import carry_state
from onnxq.data.source import Source, open_samples
from onnxq.errors import UsageError
from onnxq.model_io import ModelSource
from onnxq.tensors import tensor_slots

__all__ = ["load_samples", "open_model"]


def load_samples(
    model: ir.Model,
    data: Source,
    *,
    state: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Samples:
    """Open calibration or evaluation data for a model and check all of it.

    With ``state``, a map from outputs to the inputs that take them at the next step, the samples are steps of
    sequences, see :func:`onnxq.data.sequences.carry_state`.

    Raises:
        DataError: nothing is there, or a sample does not fit; names the sample.
        UsageError: the limit or the seed is none.
    """
    if seed < 0:
        raise UsageError(f"the seed is {seed}, expected 0 or more")
    specs = input_specs(model)
    if state:
        opened = carry_state(model, data, state, preprocessing=preprocessing, limit=limit, seed=seed)
    else:
        opened = open_samples(data, specs, preprocessing=preprocessing, limit=limit, seed=seed)
    return check_samples(opened, specs)


def open_model(model: ModelSource) -> tuple[ir.Model, str]:
    """The model and the hash that goes into the stamp of what is made of it."""
    if not isinstance(model, ir.Model):
        return model_io.load(Path(model)), model_io.sha256_of(Path(model))
    digest = hashlib.sha256(model_io.skeleton(model).SerializeToString(deterministic=True))
    for slot in tensor_slots(model):
        digest.update(slot.tensor.tobytes())
    return model, digest.hexdigest()
