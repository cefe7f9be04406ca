"""Comparison of two models: numbers by their definitions, integer twins, taps, labels, refusals."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxq.data.check import check_samples
from onnxq.data.samples import Samples, input_specs
from onnxq.data.source import open_samples
from onnxq.errors import DataError, ModelError
from onnxq.evaluate.compare import compare
from onnxq.evaluate.metrics import CodeMatch, Cosine, MaxError, Sqnr, decisions, sqnr_db
from onnxq.graph.numeric import Array

Model = Callable[[str], ir.Model]

FLOAT = """g (float[N,4] x) => (float[N,4] y) <float[4] s = {2.0, -1.0, 0.5, 3.0}> {
    h = Mul (x, s)
    t = Tanh (h)
    y = Add (t, x)
}"""
ROUGH = """g (float[N,4] x) => (float[N,4] y) <float[4] s = {2.1, -1.0, 0.5, 2.9}> {
    h = Mul (x, s)
    t = Tanh (h)
    y = Add (t, x)
}"""
X = np.random.default_rng(0).normal(size=(6, 2, 4)).astype(np.float32)


@pytest.fixture
def samples() -> Samples:
    return open_samples([{"x": x} for x in X], [])


def by_hand(s: list[float]) -> tuple[Array, Array]:
    """h and y of the models above, in float64."""
    h = X.astype(np.float64) * s
    return h, np.tanh(h) + X


def db(r: Array, t: Array) -> float:
    return float(10 * np.log10((r**2).sum() / ((r - t) ** 2).sum()))


@given(
    st.lists(hnp.arrays(np.float32, (2, 7), elements=st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_metrics_over_many_updates_are_those_of_the_whole(parts: list[Array], seed: int) -> None:
    noisy = [p + np.random.default_rng(seed).normal(size=p.shape).astype(np.float32) for p in parts]
    sqnr, angle, error = Sqnr(), Cosine(), MaxError()
    for r, t in zip(parts, noisy, strict=True):
        for metric in (sqnr, angle, error):
            metric.update(r, t)
    r, t = (np.concatenate(side).astype(np.float64).ravel() for side in (parts, noisy))
    assert error.value() == np.abs(r - t).max()
    if (r @ r) > 1e-6:
        assert sqnr.value() == pytest.approx(db(r, t), abs=1e-9)
        assert angle.value() == pytest.approx(r @ t / np.linalg.norm(r) / np.linalg.norm(t), abs=1e-12)


def test_metrics_of_equal_zero_and_infinite_tensors() -> None:
    inf = np.array([1.0, np.inf, -np.inf, np.nan], np.float32)
    assert sqnr_db(inf, inf) == math.inf
    assert sqnr_db(np.ones(3), np.array([1, np.nan, 1])) == -math.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -math.inf
    assert sqnr_db(np.array([100, 0]), np.array([99, 0])) == pytest.approx(40)
    for pair, cosine in (((0, 0), 1.0), ((0, 1), 0.0), ((2, 5), 1.0), ((1, -1), -1.0)):
        metric = Cosine()
        metric.update(*(np.array([x], np.float32) for x in pair))
        assert metric.value() == cosine


def test_codes_far_apart_do_not_overflow() -> None:
    metric = CodeMatch()
    metric.update(np.array([1, 2, 3], np.int8), np.array([1, 2, -128], np.int8))
    assert (metric.value(), metric.largest()) == (2 / 3, 131)
    metric.update(np.array([2**63 - 1]), np.array([-(2**63)]))
    assert (metric.value(), metric.largest()) == (0.5, 2**64 - 1)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((3, 10), 3),
        ((3, 10, 1, 1), 3),
        ((1, 5, 85), 5),
        ((10,), 1),
        ((3, 1), None),
        ((0, 10), None),
        ((), None),
    ],
)
def test_decisions_are_taken_along_the_class_axis(shape: tuple[int, ...], count: int | None) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    chosen = decisions(scores)
    assert (None if chosen is None else chosen.size) == count
    if chosen is not None:
        rows = scores.reshape(chosen.size, -1)
        assert all(rows[i, c] == rows[i].max() for i, c in enumerate(chosen))


def test_outputs_and_tensors_are_measured_by_definition(onnx_text: Model, samples: Samples) -> None:
    result = compare(onnx_text(FLOAT), onnx_text(ROUGH), samples, per_tensor=True, threads=1)
    (h, y), (h_rough, y_rough) = by_hand([2.0, -1.0, 0.5, 3.0]), by_hand([2.1, -1.0, 0.5, 2.9])
    (output,) = result.outputs
    # The models compute in float32, by hand it is float64: about 1e-6 of the noise.
    assert output.sqnr_db == pytest.approx(db(y, y_rough), abs=1e-3)
    assert output.max_error == pytest.approx(np.abs(y - y_rough).max(), rel=1e-4)
    assert output.agreement == (y.argmax(-1) == y_rough.argmax(-1)).mean()
    assert (result.samples, output.samples, output.mismatched, output.codes_equal) == (6, 6, 0, None)
    assert [tensor.name for tensor in result.tensors] in (["h", "t"], ["t", "h"])
    assert result.tensors[0].sqnr_db <= result.tensors[1].sqnr_db
    assert {t.name: t.sqnr_db for t in result.tensors}["h"] == pytest.approx(db(h, h_rough), abs=1e-3)


def test_a_model_equals_itself_and_that_is_json(onnx_text: Model, samples: Samples, tmp_path: Path) -> None:
    ir.save(onnx_text(FLOAT), tmp_path / "m.onnx")
    result = compare(tmp_path / "m.onnx", str(tmp_path / "m.onnx"), samples, per_tensor=True, optimize=False)
    assert {t.sqnr_db for t in (*result.outputs, *result.tensors)} == {math.inf}
    loaded = json.loads(result.to_json(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert loaded["outputs"][0]["sqnr_db"] == "inf"
    assert loaded["samples"] == 6


INTEGER = """g (int8[N,4] x_q) => (uint8[N,4] y_q) <int32[1] two = {2}, int32[1] zp = {100}> {
    wide = Cast <to = 6> (x_q)
    twice = Mul (wide, two)
    moved = Add (twice, zp)
    y_q = Cast <to = 2> (moved)
}"""
TWICE = "g (float[N,4] x) => (float[N,4] y) <float[1] two = {2.0}> { y = Mul (x, two) }"


def integer_model(onnx_text: Model, y_zero_point: int = 94) -> ir.Model:
    """y = 2 x on codes: x = (x_q + 3) · 0.05, so y_q = 2 x_q + 100 = 2 x / 0.05 + 94."""
    model = onnx_text(INTEGER)
    model.metadata_props.update({
        "onnxq.scale.x_q": "0.05", "onnxq.zero_point.x_q": "-3",
        "onnxq.scale.y_q": "0.05", "onnxq.zero_point.y_q": str(y_zero_point),
    })  # fmt: skip
    return model


def test_an_integer_twin_is_fed_and_read_through_its_metadata(onnx_text: Model, samples: Samples) -> None:
    result = compare(onnx_text(TWICE), integer_model(onnx_text), samples)
    codes = np.clip(np.rint(X.astype(np.float64) / 0.05) - 3, -128, 127)
    y_test = (2 * codes + 100 - 94) * 0.05
    (output,) = result.outputs
    assert (output.name, output.test_name, output.codes_equal) == ("y", "y_q", None)
    assert output.sqnr_db == pytest.approx(db(2.0 * X, y_test), abs=1e-3)
    assert output.max_error <= 0.05 + 1e-6  # half a step of x, twice


def test_two_integer_models_are_compared_code_by_code(onnx_text: Model) -> None:
    model, other = integer_model(onnx_text), integer_model(onnx_text)
    other.graph.initializers["zp"].const_value = ir.tensor(np.array([101], np.int32))
    codes = np.arange(-40, 40, dtype=np.int8).reshape(-1, 1, 4)
    samples = check_samples(open_samples([{"x_q": x} for x in codes], []), input_specs(model))
    (output,) = compare(model, other, samples).outputs
    assert (output.codes_equal, output.codes_max_difference) == (0.0, 1)
    assert output.max_error == pytest.approx(0.05)
    (same,) = compare(model, integer_model(onnx_text), samples).outputs
    assert (same.codes_equal, same.codes_max_difference, same.sqnr_db) == (1.0, 0, math.inf)
    (scaled,) = compare(model, integer_model(onnx_text, 93), samples).outputs
    assert scaled.codes_equal is None
    (floats,) = compare(model, onnx_text(TWICE), samples).outputs
    assert floats.sqnr_db > 100


def test_integers_without_metadata_are_refused(onnx_text: Model, samples: Samples) -> None:
    model = integer_model(onnx_text)
    del model.metadata_props["onnxq.scale.x_q"]
    with pytest.raises(DataError, match=r"'sample\[0\]': input 'x_q' is int8 .* onnxq\.scale"):
        compare(onnx_text(TWICE), model, samples)
    model = integer_model(onnx_text)
    del model.metadata_props["onnxq.scale.y_q"]
    with pytest.raises(ModelError, match=r"output 'y_q' is integer without metadata onnxq\.scale\.y_q"):
        compare(onnx_text(TWICE), model, samples)
    model.metadata_props["onnxq.scale.y_q"] = "-1"
    with pytest.raises(ModelError, match=r"onnxq\.scale\.y_q is -1, expected a positive number"):
        compare(onnx_text(TWICE), model, samples)


def test_tensors_of_other_shapes_are_not_comparable(onnx_text: Model, samples: Samples) -> None:
    body = (
        "g (float[N,4] x) => (float[M,4] y) <float[1] k = {2.0}> { h = Mul (x, k) y = Concat <axis=0> (h) }"
    )
    longer = body.replace("(x, k)", "(d, k)").replace("{ h", "{ d = Concat <axis=0> (x, x) h")
    result = compare(onnx_text(body), onnx_text(longer), samples, per_tensor=True)
    for tensor in (*result.outputs, *result.tensors):
        assert (tensor.samples, tensor.mismatched) == (0, 6)
        assert math.isnan(tensor.sqnr_db)
    assert '"sqnr_db": "nan"' in result.to_json()


def test_axes_of_one_do_not_matter_but_their_order_does(onnx_text: Model) -> None:
    plain = onnx_text("g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }")
    wider = onnx_text("""g (float[2,3] x) => (float[2,3,1,1] y) <int64[2] axes = {2, 3}>
        { r = Relu (x) y = Unsqueeze (r, axes) }""")
    turned = onnx_text("g (float[2,3] x) => (float[3,2] y) { r = Relu (x) y = Transpose (r) }")
    samples = open_samples([{"x": X[0, :2, :3]}], [])
    assert compare(plain, wider, samples).outputs[0].sqnr_db == math.inf
    assert compare(plain, turned, samples).outputs[0].mismatched == 1


def test_labels_give_the_top_1_of_both(onnx_text: Model, samples: Samples, tmp_path: Path) -> None:
    y, y_rough = by_hand([2.0, -1.0, 0.5, 3.0])[1], by_hand([2.1, -1.0, 0.5, 2.9])[1]
    labels = y.argmax(-1).reshape(-1)
    labels[:3] = (labels[:3] + 1) % 4
    np.save(tmp_path / "labels.npy", labels - 1)
    models = onnx_text(FLOAT), onnx_text(ROUGH)
    top1 = compare(*models, samples, labels=tmp_path / "labels.npy", label_offset=1).top1
    assert top1 is not None
    assert top1.reference == 9 / 12
    assert top1.test == (y_rough.argmax(-1).reshape(-1) == labels).mean()
    for wrong, message in (
        (labels[:-1], r"sample\[5\]' has no label"),
        (np.append(labels, 0), "13 labels for 12"),
    ):
        with pytest.raises(DataError, match=message):
            compare(*models, samples, labels=wrong)
    with pytest.raises(DataError, match="expected integer class indices"):
        compare(*models, samples, labels=labels / 2)


def test_what_cannot_be_matched_is_told(onnx_text: Model, samples: Samples) -> None:
    one = onnx_text("g (float[N,4] x) => (float[N,4] y) { y = Relu (x) }")
    renamed = onnx_text("g (float[N,4] a) => (float[N,4] b) { b = Relu (a) }")
    two = onnx_text(
        "g (float[N,4] x, float[N,4] z) => (float[N,4] y, float[N,4] w) { y = Relu (x) w = Neg (z) }"
    )
    assert compare(one, renamed, samples).outputs[0].sqnr_db == math.inf
    with pytest.raises(ModelError, match="input 'z' of the model under test"):
        compare(one, two, samples)
    both = open_samples([{"x": x, "z": x} for x in X], [])
    assert compare(two, one, both).unmatched == ("w",)
    with pytest.raises(DataError, match=r"sample 'sample\[0\]': it has no input 'z'"):
        compare(two, two, samples)
    with pytest.raises(DataError, match="no samples"):
        compare(one, one, open_samples([], []))


def test_a_published_network_and_its_own_qdq_file(zoo: ModuleType) -> None:
    entry = zoo.load("resnet8_cifar10")
    feeds = list(entry.calibration(8))
    samples = check_samples(open_samples(feeds, []), input_specs(ir.load(entry.float_model)))
    qdq = entry.qat_models[0]
    (output,) = compare(entry.float_model, qdq, samples, threads=1, optimize=False).outputs
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    r, t = (
        np.concatenate([ort.InferenceSession(m, options).run(None, f)[0] for f in feeds]).astype(np.float64)
        for m in (str(entry.float_model), str(qdq))
    )
    assert output.sqnr_db == pytest.approx(db(r, t), abs=1e-3)
    assert output.agreement == (r.argmax(-1) == t.argmax(-1)).mean()
