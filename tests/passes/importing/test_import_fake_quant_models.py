"""import-fake-quant on trained models: the same numbers, no float weight left, nothing to do again."""

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir

from onnxq import model_io
from onnxq.graph.match import constant, is_op
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import RunReport, run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.operators import LINEAR
from onnxq.quant.qdq import dequantized
from onnxq.runtime import Session

MODELS = Path(__file__).resolve().parents[3] / "models"
IMPORT = "freeze-inputs, raise-opset, lift-constants, import-fake-quant, infer-shapes"
FOLD = "fold-layout-into-fake-quant, fold-bn-into-fake-quant, push-fake-quant, fold-fake-quant, finish"


def run(model: ir.Model, text: str) -> RunReport:
    """The report of a pipeline; go on with its model."""
    return run_pipeline(model, parse(text), Context())


def float_weights(model: ir.Model) -> list[str]:
    """Weights of linear operators that are not codes behind a DequantizeLinear."""
    nodes = [node for node in all_nodes(model) if is_op(node, *LINEAR)]
    found = [(node, dequantized(node.inputs[1])) for node in nodes]
    return [n.name or "" for n, pair in found if pair is None or constant(pair[0].inputs[0]) is None]


def test_the_cnn_trained_with_fake_quant() -> None:
    path = MODELS / "digits_cnn_qat.onnx"
    images = np.load(MODELS / "digits" / "test.npy")[:100]
    labels = np.load(MODELS / "digits" / "test_labels.npy")[:100]
    model = run(model_io.load(path), IMPORT).model
    expected = Session(path, optimize=False).run({"image": images})["logits"]
    np.testing.assert_array_equal(Session(model, optimize=False).run({"image": images})["logits"], expected)
    model = run(model, FOLD).model
    assert float_weights(model) == []
    assert run(model, f"import-fake-quant, {FOLD}").edits == 0
    folded = Session(model, optimize=False).run({"image": images})["logits"]
    assert accuracy(folded, labels) >= accuracy(expected, labels) - 0.002


def accuracy(logits: Array, labels: Array) -> float:
    return float(np.mean(logits.argmax(1) == labels))


def test_two_bit_weights_and_activations_of_brevitas(zoo: ModuleType, tmp_path: Path) -> None:
    """The reference is the same model in plain arithmetic: equal to the bit when imported, in every decision
    when folded.
    """
    entry = zoo.load("qonnx_tfc_2w2a")
    model = run(model_io.load(Path(entry.float_model).with_name("model.onnx")), IMPORT).model
    model_io.save(model, tmp_path / "imported.onnx")
    found = entry.evaluate(str(tmp_path / "imported.onnx"), threads=1, optimize=False, limit=300)
    assert found["agreement"] == 1.0
    assert found["sqnr_db"] == np.inf
    model = run(model, f"simplify, {FOLD}").model
    assert float_weights(model) == []
    assert run(model, f"import-fake-quant, {FOLD}").edits == 0
    model_io.save(model, tmp_path / "folded.onnx")
    found = entry.evaluate(str(tmp_path / "folded.onnx"), threads=1, optimize=False, limit=300)
    assert found["agreement"] == 1.0
