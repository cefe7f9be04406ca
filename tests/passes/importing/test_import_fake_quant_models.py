"""import-fake-quant on trained models: the same numbers, no float weight left, nothing to do again."""

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api, model_io
from onnxq.data.codes import read_codes
from onnxq.evaluate.integer_only import float_tensors
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


def equal_codes(path: Path, fold: str, images: Array) -> float:
    """The share of codes that strict integers have in common with the original, computed as it is written."""
    strict = run(model_io.load(path), f"prepare, {fold}, lower").model
    assert not float_tensors(strict)
    session = Session(strict, optimize=False)
    given, taken = (read_codes(strict.metadata_props, name) for name in ("image", "logits"))
    assert given is not None
    assert taken is not None
    found = session.run({"image": given.quantize(images, session.inputs[0].dtype)})["logits"]
    expected = Session(path, optimize=False).run({"image": images})["logits"]
    return float(np.mean(np.isclose(taken.dequantize(found), expected, atol=taken.scale / 2)))


def test_four_bits_trained_beat_four_bits_rounded() -> None:
    """One scale for each weight: 10 % of the images are right when rounded, 98 % when trained."""
    images = np.load(MODELS / "digits" / "test.npy")
    labels = np.load(MODELS / "digits" / "test_labels.npy")
    rounded = api.run(
        MODELS / "digits_cnn.onnx",
        "prepare, insert-qdq{weight=int4 per_channel=false}, fold-fake-quant, finish",
        MODELS / "digits" / "calibration.npy",
    ).model
    assert accuracy(Session(rounded, optimize=False).run({"image": images})["logits"], labels) < 0.2
    path = MODELS / "digits_cnn_int4.onnx"
    trained = Session(path, optimize=False).run({"image": images})["logits"]
    assert accuracy(trained, labels) >= 0.98
    assert equal_codes(path, "fold-fake-quant{bias=float32}", images) >= 0.999


def test_the_biases_of_a_trained_model_reach_the_integers_whole() -> None:
    """At least 99.9 % of the codes are the original's; with int32 biases it is two thirds."""
    path, images = MODELS / "digits_cnn_qat.onnx", np.load(MODELS / "digits" / "test.npy")
    assert equal_codes(path, "fold-fake-quant{bias=float32}", images) >= 0.999
    assert equal_codes(path, "fold-fake-quant{bias=int32}", images) < 0.9


PUBLISHED = ["resnet8_cifar10", "kws_dscnn", "mobilenet_v1_0.25_128_qat", "qonnx_tfc_2w2a"]


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("options", ["", "{bias=float32}", "{pack=int4}"])
@pytest.mark.filterwarnings("ignore::onnxq.passes.quantization._packing.PackingWarning")
def test_our_own_output_is_imported_and_folded_as_it_is(zoo: ModuleType, name: str, options: str) -> None:
    """The second time nothing is edited, or the bytes of the packed codes are the same again."""
    text = f"prepare, fold-fake-quant{options}, finish"
    once = run(model_io.load(Path(zoo.load(name).qat_models[0])), text).model
    assert float_weights(run(once.clone(), "import-fake-quant").model) == []
    again = run(once.clone(), text)
    if "pack" not in options:
        assert again.edits == 0
    twice = [tensor.tobytes() for tensor in tensors(again.model)]
    assert twice == [tensor.tobytes() for tensor in tensors(once)]


def tensors(model: ir.Model) -> list[Array]:
    """All constants of the main graph, by content."""
    arrays = [constant(value) for value in model.graph.initializers.values()]
    return sorted((a for a in arrays if a is not None), key=lambda a: (str(a.dtype), a.shape, a.tobytes()))


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
