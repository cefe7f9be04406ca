"""Sensitivity: the planted layer comes first, and every number is that of a model that rounds just that."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.data.samples import Samples
from onnxq.data.source import open_samples
from onnxq.errors import DataError
from onnxq.evaluate.compare import compare
from onnxq.evaluate.sensitivity import sensitivity
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import named_values
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.context import Context
from onnxq.quant.formats import UINT8
from onnxq.quant.qdq import insert_pair
from onnxq.quant.qparams import qparams_from_range
from onnxq.report.sensitivity import as_dict, picture, tables

Text = Callable[..., ir.Model]

PLANTED = """g (float[N,8] x) => (float[N,8] y)
    <float[8,8] A, float[8,8] B,
     float[8] up = {3000, 1, 1, 1, 1, 1, 1, 1}, float[8] down = {0.001, 1, 1, 1, 1, 1, 1, 1}> {
    a = MatMul (x, A)
    ruin = Mul (a, up)
    back = Mul (ruin, down)
    r = Relu (back)
    y = MatMul (r, B)
}"""


@pytest.fixture
def samples() -> Samples:
    rng = np.random.default_rng(0)
    return open_samples([{"x": rng.normal(size=(4, 8)).astype(np.float32)} for _ in range(6)], [])


@pytest.fixture
def model(onnx_text: Text) -> ir.Model:
    return InferShapes().run(onnx_text(PLANTED), Context()).model


def test_the_planted_layer_and_value_come_first(model: ir.Model, samples: Samples) -> None:
    found = sensitivity(model, Context(samples=samples), InsertQdq(method="minmax"))
    assert found.values[0].value == "ruin"
    assert found.values[0].effect.worst < 15 < 30 < found.values[1].effect.worst
    assert found.layers[0].node == "back", "the layer that reads it"
    assert found.everything.worst <= found.values[0].effect.worst + 1
    assert {layer.node for layer in found.layers} <= {"a", "ruin", "back", "r", "y"}


def test_a_value_alone_is_the_model_with_that_pair_alone(model: ir.Model, samples: Samples) -> None:
    found = sensitivity(model, Context(samples=samples), InsertQdq(method="minmax"))
    for value in found.values:
        low, high = _range(model, value.value, samples)
        alone = model.clone()
        rw = Rewriter(alone)
        insert_pair(rw, named_values(alone)[value.value], qparams_from_range(low, high, UINT8))
        rw.finish()
        expected = compare(model, alone, samples, optimize=False).outputs[0].sqnr_db
        assert value.effect.worst == pytest.approx(expected, abs=0.05), value.value


def test_tables_json_and_picture_show_the_same(model: ir.Model, samples: Samples) -> None:
    found = sensitivity(model, Context(samples=samples), InsertQdq())
    text = "\n".join(part if isinstance(part, str) else part.text() for part in tables(found, 2))
    assert text.count("MatMul") + text.count("Mul ") >= 2
    assert "values alone, SQNR in dB, the worst 2 of 5" in text
    assert [entry["node"] for entry in _list(as_dict(found)["layers"])] == [x.node for x in found.layers]
    drawn = ET.fromstring(picture(found, 3))
    labels = [element.text or "" for element in drawn if element.get("text-anchor") == "end"]
    assert [label.split(" · ")[0] for label in labels] == [layer.node for layer in found.layers[:3]]
    bars = [
        float(bar.get("x", 0)) + float(bar.get("width", 0)) for bar in list(drawn)[1:] if bar.get("height")
    ]
    assert max(bars) == pytest.approx(float(drawn.get("width", 0)) - 60, abs=6), "the worst fills it"
    assert drawn[0].get("fill") == "#fff", "it can be read on a dark page"


def test_without_samples_it_says_so(model: ir.Model) -> None:
    with pytest.raises(DataError, match="pass --data"):
        sensitivity(model, Context(), InsertQdq())


def _list(entries: object) -> list[dict[str, object]]:
    assert isinstance(entries, list)
    return entries


def _range(model: ir.Model, name: str, samples: Samples) -> tuple[float, float]:
    from onnxq.runtime import Session

    inner = [name] if name not in ("x", "y") else []
    session = Session(model, optimize=False, extra_outputs=inner)
    arrays = [{**s.feeds, **session.run(s.feeds)}[name] for s in samples]
    return float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays))
