"""The table of strict integers: its witnesses tell right from wrong, a model that fails is one row."""

from collections.abc import Sequence
from pathlib import Path

import bench_strict
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from strict_codes import (
    Agreement,
    by_layer,
    counterparts,
    equals_reference,
    feeds_for,
    outputs,
    retyped,
)

import onnxq
from onnxq import model_io
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

MODELS = Path(__file__).resolve().parents[2] / "models"
ZOO = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import onnxruntime as ort

IMAGES = [{{"image": image[None]}} for image in np.load("{models}/digits/calibration.npy")]

class Task:
    state = None
    def evaluation(self): return IMAGES[:8]
    def encode(self, item): return item
    def meter(self): return type("Meter", (), {{"name": "top1"}})()

@dataclass
class Entry:
    name: str
    float_model: Path
    task = Task()
    def calibration(self, n, seed=0): return iter(IMAGES[-n:])
    def evaluate(self, path, *, threads, limit, optimize):
        ort.InferenceSession(path)
        return {{"metric_name": "top1", "float_metric": 0.75, "metric": 0.5, "sqnr_db": 20.0}}

def names(): return ["digits_cnn", "sums", "missing"]
def load(name): return Entry(name, Path("{here}" if name != "digits_cnn" else "{models}") / f"{{name}}.onnx")
"""
SUMS = """
    <ir_version: 9, opset_import: ["" : 19]>
    g (float[1,1,8,8] image) => (float[1,1,8,8] y) <int64 axis = {3}> {
        x = Relu (image)
        y = CumSum (x, axis)
    }
"""
Forms = tuple[onnx.ModelProto, onnx.ModelProto]


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Array]]:
    return [{"image": image[None]} for image in np.load(MODELS / "digits" / "calibration.npy")[:8]]


@pytest.fixture(scope="module")
def forms(samples: list[dict[str, Array]]) -> Forms:
    made = onnxq.quantize(MODELS / "digits_cnn.onnx", samples, target="integer", form="qdq", proof=0).model
    strict = run_pipeline(made.clone(), parse("lower"), Context()).model
    return model_io.to_proto(made), model_io.to_proto(strict)


def broken(strict: onnx.ModelProto, code: str, wrong: int) -> onnx.ModelProto:
    """The model with a tensor three higher wherever it is ``wrong``."""
    made = onnx.ModelProto()
    made.CopyFrom(strict)
    (at,) = (i for i, node in enumerate(made.graph.node) if code in node.output)
    dtype = Session(strict, extra_outputs=[code]).outputs[-1].dtype
    for name, number in (("wrong", wrong), ("higher", wrong + 3)):
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(number, dtype), name))
    made.graph.node[at].output[:] = ["right"]
    made.graph.node.insert(at + 1, onnx.helper.make_node("Equal", ["right", "wrong"], ["is_wrong"]))
    made.graph.node.insert(at + 2, onnx.helper.make_node("Where", ["is_wrong", "higher", "right"], [code]))
    return made


def test_every_layer_but_the_input_has_its_counterpart(forms: Forms) -> None:
    pairs = counterparts(*forms)
    quantizers = [node for node in forms[0].graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == len(quantizers) - 1
    assert pairs["logits_quantized"] == "logits"


def test_equal_arithmetic_is_equal_layer_by_layer(forms: Forms, samples: list[dict[str, Array]]) -> None:
    found, layers = by_layer(*forms, samples)
    assert layers == 20
    assert found.largest <= 1
    assert found.share > 0.9999


def test_a_layer_that_is_wrong_is_seen_in_that_layer_alone(
    forms: Forms, samples: list[dict[str, Array]]
) -> None:
    qdq, strict = forms
    pairs = counterparts(qdq, strict)
    session = Session(strict, extra_outputs=list(pairs.values()))
    runs = [session.run(feeds_for(session, sample)) for sample in samples]
    total = sum(run[name].size for run in runs for name in pairs.values())
    code = list(pairs)[5]
    sevens = sum(np.count_nonzero(run[code] == 7) for run in runs)
    right, wrong = (by_layer(qdq, model, samples)[0] for model in (strict, broken(strict, code, 7)))
    assert sevens > 0
    assert wrong.largest == 3
    assert (right.share - wrong.share) * total == pytest.approx(sevens)


def test_outputs_are_compared_as_codes(forms: Forms, samples: list[dict[str, Array]]) -> None:
    qdq, strict = (Session(model, optimize=False) for model in forms)
    assert outputs(qdq, strict, qdq, samples) == Agreement(1.0, 0)
    codes = np.concatenate([strict.run(feeds_for(strict, sample))["logits"] for sample in samples])
    wrong = Session(broken(forms[1], "logits", int(codes[0, 0])))
    assert outputs(strict, strict, wrong, samples) == Agreement(float(np.mean(codes != codes[0, 0])), 3)


@pytest.mark.parametrize("shift", [0, 1])
def test_the_reference_is_asked(
    forms: Forms, samples: list[dict[str, Array]], monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    class Other:
        def __init__(self, model: onnx.ModelProto, new_ops: list[type]) -> None:
            self.real = ReferenceEvaluator(model, new_ops=new_ops)

        def run(self, names: Sequence[str], feeds: dict[str, Array]) -> list[Array]:
            arrays = [np.asarray(array) for array in self.real.run(names, feeds)]
            return [array + np.asarray(shift, array.dtype) for array in arrays]

    monkeypatch.setattr("strict_codes.ReferenceEvaluator", Other)
    assert list(equals_reference(forms[1], samples[:2])) == [shift == 0] * 2


def test_the_reference_pads_integers_too() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 19]>
        g (uint8[1,1,4,4] x) => (uint8[1,1,4,4] y) {
            y = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x)
        }""")
    codes = np.random.default_rng(0).integers(0, 4, (1, 1, 4, 4), dtype=np.uint8)
    assert list(equals_reference(model, [{"x": codes}])) == [True]


def test_codes_change_their_sign_with_their_zero_point() -> None:
    codes = np.asarray([0, 127, 128, 255], np.uint8)
    moved = retyped(codes, np.dtype(np.int8))
    assert moved.tolist() == [-128, -1, 0, 127]
    assert np.array_equal(retyped(moved, np.dtype(np.uint8)), codes)


def test_what_is_not_all_equal_never_reads_as_all() -> None:
    assert str(Agreement(1 - 1e-9, 1)) == "99.9999 %, 1"
    assert str(Agreement(1.0, 0)) == "100.0000 %, 0"


def test_each_model_is_a_row_whatever_happens_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(onnx.parser.parse_model(SUMS), tmp_path / "sums.onnx")
    (tmp_path / "zoo.py").write_text(ZOO.format(models=MODELS, here=tmp_path))
    words = ["--zoo", str(tmp_path), "--samples", "8", "--compared", "2", "--rounds", "1"]
    assert bench_strict.main(words) == 1
    _, _, good, refused, missing = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in good.strip("|").split("|")]
    assert cells[:7] == ["digits_cnn", "top1", "0.7500", "0.5000", "0.5000", "0.5000", "20.0, 20.0, 20.0"]
    assert cells[7] == "0"
    assert cells[11:13] == ["100.0000 %, 0 of 20", "1/1"]
    assert refused.startswith("| sums | lower-integer leaves")
    assert "CumSum" in refused
    assert missing.startswith("| missing | ")
    assert bench_strict.main([*words, "--models", "digits_cnn"]) == 0
