"""The range found is the one whose quantized product is most like the float one, by brute force in numpy."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.calibration.ranges import Eq, get_method
from onnxq.data.iterables import iterable_samples
from onnxq.evaluate.bench import Bench
from onnxq.evaluate.compare import compare
from onnxq.graph.numeric import Array
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.measured import measured_ranges
from onnxq.quant.output_search import SHRINKINGS, search_ranges
from onnxq.quant.placement import plan
from onnxq.quant.qparams import qparams_from_range
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]

MODEL = """
g (float[N,8] x) => (float[N,4] y) <float[8,8] V, float[8,4] W, float[8,4] U> {
    h = MatMul (x, V)
    a = MatMul (h, W)
    b = MatMul (h, U)
    y = Add (a, b)
}"""
FINE = '[[rule]]\nvalue = "x"\ndtype = "uint16"'
CONTEXT = Context(load_target("generic-int8"))


def _samples(count: int = 3) -> list[dict[str, Array]]:
    """Few large values in channel 0, for which the weights have little use."""
    rng = np.random.default_rng(0)
    feeds = rng.standard_normal((count, 16, 8)).astype(np.float32)
    feeds[:, :2, 0] *= 30
    return [{"x": x} for x in feeds]


def _model(onnx_text: Text) -> ir.Model:
    rng, model = np.random.default_rng(1), onnx_text(MODEL)
    small = np.where(np.arange(8) == 0, 1e-3, 1.0)[:, None]
    factors = {"V": np.eye(8)} | {name: small * rng.standard_normal((8, 4)) for name in "WU"}
    for name, array in factors.items():
        model.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    return run_pipeline(model, parse("infer-shapes"), CONTEXT).model


def test_the_best_of_the_shrinkings_is_found(onnx_text: Text) -> None:
    model = _model(onnx_text)
    decisions = plan(model, CONTEXT.target)
    x = np.concatenate([feeds["x"] for feeds in _samples()])
    full = (float(x.min()), float(x.max()))
    found = search_ranges(model, decisions, {"h": full, "y": full}, iterable_samples(_samples(), None))
    factor = np.concatenate(
        [model.graph.initializers[n].const_value.numpy() for n in "WU"],  # type: ignore[union-attr]
        axis=1,
    ).astype(np.float64)
    decision = next(d for d in decisions.values if d.value == "h")

    def cosine(share: float) -> float:
        qparams = qparams_from_range(share * full[0], share * full[1], decision.format)
        a = (x.astype(np.float64) @ factor).ravel()
        b = (qparams.dequantize(qparams.quantize(x)).astype(np.float64) @ factor).ravel()
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    cosines = [cosine(share) for share in SHRINKINGS]
    share = SHRINKINGS[int(np.argmax(cosines))]
    assert share < 1
    assert found == {"h": (share * full[0], share * full[1])}


def test_outputs_keep_their_full_range(onnx_text: Text) -> None:
    model = _model(onnx_text)
    decisions = plan(model, CONTEXT.target)
    samples = iterable_samples(_samples(), None)
    full = measured_ranges(model, decisions, get_method("minmax"), Context(CONTEXT.target, samples))
    found = measured_ranges(model, decisions, Eq(), Context(CONTEXT.target, samples))
    assert found["y"] == full["y"]
    assert found["h"][1] < full["h"][1]


def test_a_bench_tries_the_ranges_that_insert_qdq_makes(onnx_text: Text) -> None:
    """The search of the method eq included, which runs once for all plans that do not change its value."""
    model = _model(onnx_text)
    where, inserter = (
        Context(CONTEXT.target, iterable_samples(_samples(), None)),
        InsertQdq(method="eq", recipe=FINE),
    )
    every = inserter.plan(model, where)
    bench = Bench.of(model, where, inserter, [every])
    tried = [effect.worst for effect in bench.measure([bench.setting(every), bench.setting(every)])]
    made = inserter.run(model.clone(), where).model
    assert where.samples is not None
    found = compare(model, made, where.samples, optimize=False).outputs[0].sqnr_db
    assert tried == pytest.approx([found, found], abs=0.02)
    whole = compare(
        model, InsertQdq(method="minmax", recipe=FINE).run(model.clone(), where).model, where.samples
    )
    assert whole.outputs[0].sqnr_db < found - 0.5, (whole.outputs[0].sqnr_db, found)
