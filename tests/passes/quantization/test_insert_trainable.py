"""insert-qdq{trainable=true}: a trainer can have the graph; without one it is the plain result to the bit."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.errors import UsageError
from onnxq.graph.match import constant, consumers, is_op, producer
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import all_nodes
from onnxq.passes.quantization.insert_qdq import InsertQdq, Weights
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.operators import LINEAR
from onnxq.quant.qdq import dequantized
from onnxq.runtime import Session

MODELS = Path(__file__).resolve().parents[3] / "models"
IMAGES = np.load(MODELS / "digits" / "test.npy")[:60]
FOLDED = "trained, fold-fake-quant, finish"


def inserted(options: str) -> ir.Model:
    text = f"prepare, insert-qdq{{method=minmax {options}}}"
    return api.run(MODELS / "digits_cnn.onnx", text, MODELS / "digits" / "calibration.npy", limit=32).model


def run(model: ir.Model, text: str) -> ir.Model:
    return run_pipeline(model, parse(text), Context()).model


def logits(model: ir.Model) -> Array:
    return Session(model, optimize=False).run({"image": IMAGES})["logits"]


def integers(model: ir.Model) -> list[bytes]:
    """The codes of every weight and bias, in graph order."""
    pairs = [node for node in all_nodes(model) if is_op(node, "DequantizeLinear")]
    return [codes.tobytes() for node in pairs if (codes := constant(node.inputs[0])) is not None]


@pytest.mark.parametrize("options", ["weight=int4", "weight=int4 per_channel=false", ""])
def test_folded_it_is_the_plain_result_to_the_bit(options: str) -> None:
    """With the import on the way, as a trained file goes, and without it."""
    plain = run(inserted(options), FOLDED)
    trainable = inserted(f"{options} trainable=true")
    direct, imported = (run(trainable.clone(), text) for text in (FOLDED, f"import, {FOLDED}"))
    for model in (direct, imported):
        assert integers(model) == integers(plain)
        np.testing.assert_array_equal(logits(model), logits(plain))


def test_all_that_training_moves_is_an_initializer() -> None:
    """Float weights behind Q → Clip → DQ; the values of a scale group read one scale."""
    model = inserted("weight=int4 trainable=true")
    initializers = set(model.graph.initializers.values())
    quantizers = [node for node in all_nodes(model) if is_op(node, "QuantizeLinear", "DequantizeLinear")]
    assert all(value in initializers for node in quantizers for value in node.inputs[1:])
    for node in all_nodes(model):
        if is_op(node, *LINEAR):
            found = dequantized(node.inputs[1])
            assert found is not None
            clip = found[0].inputs[0].producer() if found[0].inputs[0] is not None else None
            assert clip is not None
            assert [constant(value) for value in clip.inputs[1:]] == [-7, 7]
    pool = next(node for node in all_nodes(model) if is_op(node, "MaxPool"))
    before, after = producer(pool), consumers(pool.outputs[0])[0]
    assert before is not None
    assert before.inputs[1] is after.inputs[1], "max pooling moves codes: both sides have one scale"


def test_weights_beyond_their_range_saturate_at_the_format() -> None:
    """What training does to weights and scales: the codes stay in 4 bits."""
    model = inserted("weight=int4 trainable=true")
    scales = [v for v in model.graph.initializers.values() if "weight" in (v.name or "") and v.uses()]
    for value in [v for v in scales if (v.name or "").endswith("_scale")]:
        array = constant(value)
        assert array is not None
        value.const_value = ir.tensor(array / 3, name=value.name)
    codes = [
        np.frombuffer(found, np.int8)
        for found in integers(run(model.clone(), "import, fold-fake-quant{bias=float32}"))
    ]
    assert min(c.min() for c in codes) == -7
    assert max(c.max() for c in codes) == 7
    np.testing.assert_array_equal(logits(run(model.clone(), "fold-fake-quant{bias=float32}")), logits(model))


def test_integer_weights_at_once() -> None:
    plain, at_once = inserted("weight=int4"), inserted("weight=int4 weights=integer")
    folded = run(plain, "fold-fake-quant{bias=float32}")
    assert integers(at_once) == integers(folded)
    np.testing.assert_array_equal(logits(at_once), logits(folded))


def test_integer_weights_cannot_be_trained() -> None:
    with pytest.raises(UsageError, match="cannot be trained"):
        inserted("weights=integer trainable=true")
    assert InsertQdq().weights is Weights.FAKE
