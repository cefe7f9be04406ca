"""The forms that quantize makes of one model: strict integers compute the codes of the Q/DQ form."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

import onnxq
from onnxq.data.codes import convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

MODELS = Path(__file__).parents[1] / "models"
IMAGES = [{"image": image[None]} for image in np.load(MODELS / "digits" / "calibration.npy")[:8]]
TEST = np.load(MODELS / "digits" / "test.npy")


def codes(model: ir.Model | Path, like: ir.Model) -> Array:
    """The output of a model for all images, in codes of the strict model ``like``."""
    session, strict = (Session(m, optimize=False, threads=1) for m in (model, like))
    (port,), (output,) = session.inputs, strict.outputs
    given = convert(TEST, port.dtype, read_codes(session.metadata, port.name), port.name)
    found = session.run({port.name: given})[output.name]
    return convert(found, output.dtype, read_codes(strict.metadata, output.name), output.name)


def test_the_strict_form_is_what_lowering_makes_of_the_qdq_form() -> None:
    qdq, strict = (
        onnxq.quantize(MODELS / "digits_cnn.onnx", IMAGES, target="integer", form=form, proof=0).model
        for form in ("qdq", "integer")
    )
    lowered = run_pipeline(qdq.clone(), parse("lower"), Context()).model
    np.testing.assert_array_equal(codes(strict, strict), codes(lowered, strict))
    # Not all: float32 decides near-ties by its own rounding; layer by layer, one code in a million.
    assert np.mean(codes(strict, strict) == codes(qdq, strict)) >= 0.995


def test_a_model_that_brings_fake_quant_keeps_its_float_biases() -> None:
    trained = MODELS / "digits_cnn_qat.onnx"
    strict = onnxq.quantize(trained, IMAGES, target="integer", proof=0).model
    # With int32 biases, which were not trained, it is 0.67.
    assert np.mean(codes(strict, strict) == codes(trained, strict)) >= 0.999
