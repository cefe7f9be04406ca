"""Scales are moved where that measurably helps, and nowhere else."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.data.synthetic import RandomDataWarning
from onnxq.doors import techniques
from onnxq.errors import UsageError
from onnxq.evaluate.rivals import FAR_DB, GAIN_DB, NEAR_DB, choose
from onnxq.pipeline.context import Context
from onnxq.pipeline.spec import parse
from onnxq.report.quantization import summary

Text = Callable[..., ir.Model]

PAIR = """g (float[1,8,12,12] x) => (float[1,4,12,12] y) <float[8,8,1,1] V, float[4,8,1,1] W> {
    h = Conv (x, V)
    r = Relu (h)
    y = Conv (r, W)
}"""


def _pair(onnx_text: Text, spread: float) -> ir.Model:
    """Two convolutions; the channels between them differ by up to ``spread`` in size and matter alike."""
    rng = np.random.default_rng(0)
    size = np.geomspace(1, spread, 8, dtype=np.float32)
    v = rng.normal(size=(8, 8, 1, 1)).astype(np.float32) * size[:, None, None, None]
    w = rng.normal(size=(4, 8, 1, 1)).astype(np.float32) / size[None, :, None, None]
    model = onnx_text(PAIR)
    for name, array in (("V", v), ("W", w)):
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return model


def _samples(count: int = 16) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(count)]


def test_auto_equalizes_what_wins_by_it(onnx_text: Text) -> None:
    model, samples = _pair(onnx_text, 300.0), _samples()
    made = api.quantize(model, samples, proof=0)
    assert made.scales is not None
    assert made.scales.name == "equalize"
    assert set(made.scales.measured) == {"as-is", "equalize"}, "smooth has nothing to do: it is not tried"
    won = made.scales.measured["equalize"] - made.scales.measured["as-is"]
    assert won > 10.0, "of channels that differ 300 times, 8 bits for all leave most with 0 … 3 bits"
    assert ", equalize, expand-for-target, insert-qdq" in made.pipeline


@pytest.mark.parametrize("scales", ["as-is", "equalize"])
def test_rivals_are_judged_on_samples_they_have_not_seen(
    scales: Literal["as-is", "equalize"], onnx_text: Text
) -> None:
    model, samples = _pair(onnx_text, 300.0), _samples()
    learned = [sample for i, sample in enumerate(samples) if i % 4 != 3]
    made = api.quantize(model, learned, scales=scales, rounding="nearest", proof=0)
    assert made.scales is None
    found = api.compare(model, made.model, samples[3::4], optimize=False).outputs[0].sqnr_db
    chosen = api.quantize(model, samples, proof=0).scales
    assert chosen is not None
    assert chosen.measured[scales] == pytest.approx(found, abs=0.1), "but for the rounding of biases"


@pytest.mark.parametrize("spread", [1.0, 8.0])
def test_auto_leaves_alone_what_is_close_already(spread: float, onnx_text: Text) -> None:
    made = api.quantize(_pair(onnx_text, spread), _samples(), proof=0)
    assert made.scales is not None
    assert made.scales.name == "as-is"
    assert set(made.scales.measured) == {"as-is"}, "nothing else is tried"
    assert made.scales.measured["as-is"] >= NEAR_DB
    assert "equalize" not in made.pipeline


@pytest.mark.parametrize(("method", "wins"), [("percentile:99.9", False), ("percentile:99", True)])
def test_a_small_gain_is_refused(method: str, wins: bool, onnx_text: Text) -> None:
    model = _pair(onnx_text, 300.0)
    ways = {name: parse(f"prepare, insert-qdq{{method={name}}}") for name in ("minmax", method)}
    found = choose(model, ways, Context(samples=api.load_samples(model, _samples())), ("insert-qdq",))
    gain = found.measured[method] - found.measured["minmax"]
    assert gain > 0
    assert (gain > GAIN_DB) == wins
    assert found.name == (method if wins else "minmax")


def test_auto_moves_nothing_where_values_are_spoken_of(onnx_text: Text) -> None:
    model = _pair(onnx_text, 300.0)
    rule = '[[rule]]\nvalue = "r"\nrange = [0.0, 100.0]'
    with pytest.warns(RandomDataWarning):
        smoke = api.quantize(model, "random:4", proof=0)
    for made in (
        smoke,
        api.quantize(model, _samples(), recipe=rule, proof=0),
        api.quantize(model, statistics=api.calibrate(model, _samples()), proof=0),
    ):
        assert made.scales is None
        assert "equalize" not in made.pipeline


def test_rounding_by_the_outputs_comes_closer(onnx_text: Text) -> None:
    model, samples = _pair(onnx_text, 1.0), _samples(32)
    near, fitted = (
        api.quantize(model, samples, options="weight=int4", scales="as-is", rounding=rounding)
        for rounding in ("nearest", "auto")
    )
    assert "round-weights, fold-fake-quant" in fitted.pipeline
    assert "round-weights" not in near.pipeline + api.quantize(model, samples[:31], proof=0).pipeline
    assert near.comparison is not None
    assert fitted.comparison is not None
    assert fitted.comparison.outputs[0].sqnr_db > near.comparison.outputs[0].sqnr_db
    with pytest.raises(UsageError, match="'up' is none of nearest, gptq"):
        api.quantize(model, _samples(), rounding="up")  # type: ignore[arg-type]


STREAM = """g (float[1,6,8] x) => (float[1,6,8] y)
    <float[8] gain, float[8] offset, float[8,8] A, float[8,8] B, float[8] unit> {
    n = LayerNormalization (x, gain, offset)
    m = MatMul (n, A)
    r = Relu (m)
    v = MatMul (r, B)
    s = Add (v, x)
    y = Mul (s, unit)
}"""


@pytest.fixture
def stream(onnx_text: Text) -> tuple[ir.Model, list[dict[str, np.ndarray]]]:
    """A residual stream with one channel 2000 times as large as the others, which matter no less."""
    rng = np.random.default_rng(2)
    size = np.array([2000.0] + [1.0] * 7, np.float32)
    model = onnx_text(STREAM)
    model.graph.initializers["unit"].const_value = ir.tensor(1 / size, name="unit")
    samples = [{"x": (rng.normal(size=(1, 6, 8)) * size).astype(np.float32)} for _ in range(16)]
    return model, samples


@pytest.mark.parametrize(("target", "others"), [("generic-int8", "float"), ("integer", "uint16")])
def test_where_scales_do_not_help_the_stream_leaves_8_bits(
    target: str, others: str, stream: tuple[ir.Model, list[dict[str, np.ndarray]]]
) -> None:
    made = api.quantize(*stream, target=target)
    assert made.scales is not None
    found = made.scales.measured
    assert made.scales.name == max(found, key=lambda name: found[name])
    assert made.scales.name in techniques.RESORTS
    assert f"insert-qdq{{others={others}}}" in made.pipeline
    assert max(found[name] for name in found.keys() & set(techniques.RIVALS)) < FAR_DB
    assert found[made.scales.name] > FAR_DB
    assert made.comparison is not None
    assert made.comparison.outputs[0].sqnr_db > FAR_DB
    assert next(summary(made, None, (1, 1))).startswith(f"{made.plan.quantized_nodes} of")
    assert any("8 bits for products alone" in line for line in summary(made, None, (1, 1)))


@pytest.mark.parametrize("target", ["xint8", "openvino"])
def test_no_resort_where_the_target_has_none_or_it_is_spoken_of(
    target: str, stream: tuple[ir.Model, list[dict[str, np.ndarray]]]
) -> None:
    options = "" if target == "xint8" else "others=float"
    made = api.quantize(*stream, target=target, options=options, proof=0)
    assert made.scales is not None
    assert made.scales.measured.keys() <= set(techniques.RIVALS)
