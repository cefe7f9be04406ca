"""round-weights: on models, through the pipeline, with everything it promises measured from outside."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.api import load_samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.passes.rounding.round_weights import RoundWeights
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.qdq import qparams_of
from onnxq.rounding.schedule import FewSamplesWarning
from onnxq.runtime import Session
from onnxq.targets.target import load_target

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

NET = """g (float[1,4,9,9] x) => (float[1,5] y)
    <float[8,4,3,3] W1, float[8] b1, float[8,1,3,3] W2, float[8,8,1,1] W3, float[8] b3, float[8,5] W4> {
    c1 = Conv <pads = [1,1,1,1]> (x, W1, b1)
    r1 = Relu (c1)
    c2 = Conv <group = 8, pads = [1,1,1,1]> (r1, W2)
    r2 = Relu (c2)
    c3 = Conv (r2, W3, b3)
    s = Add (c3, r1)
    p = GlobalAveragePool (s)
    f = Flatten (p)
    y = MatMul (f, W4)
}"""
LEARNED = ("gptq", "adaround", "adaquant", "reconstruct")


def _data(count: int = 12) -> list[dict[str, Array]]:
    """Channels that go together, as those of real activations do."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((4, 2))
    draw = (np.einsum("cm,mhw->chw", mix, rng.standard_normal((2, 9, 9))) for _ in range(count))
    return [{"x": (part + 0.5)[None].astype(np.float32)} for part in draw]


def _context(model: ir.Model, samples: Sequence[dict[str, Array]]) -> Context:
    return Context(load_target("generic-int8"), load_samples(model, samples))


def _quantized(text: Text, *steps: str, net: str = NET) -> tuple[ir.Model, ir.Model, Context]:
    """The float model and the one with fake-quant after some passes."""
    model = text(net)
    context = _context(model, _data())
    pipeline = ", ".join(("infer-shapes", "insert-qdq{weight=int4}", *steps))
    return model, run_pipeline(model.clone(), parse(pipeline), context).model, context


def _distance(model: ir.Model, other: ir.Model) -> float:
    one, two = (Session(m, optimize=False) for m in (model, other))
    return sum(float(np.sum((one.run(f)["y"] - two.run(f)["y"]) ** 2)) for f in _data(24)[12:])


def _weights(model: ir.Model) -> dict[str, tuple[FloatArray, IntArray, FloatArray]]:
    """The constants in front of QuantizeLinear, their codes, and what comes out of the pair."""
    found = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and (real := constant(node.inputs[0])) is not None:
            qparams = qparams_of(node)
            assert qparams is not None
            codes = qparams.quantize(real)
            found[node.outputs[0].name or ""] = real, codes, qparams.dequantize(codes)
    return found


@pytest.mark.parametrize("method", LEARNED)
def test_the_model_comes_closer_to_the_float_one_and_weights_lie_on_their_grid(
    method: str, onnx_text: Text
) -> None:
    model, nearest, _ = _quantized(onnx_text)
    _, made, _ = _quantized(onnx_text, f"round-weights{{method={method}}}")
    assert _distance(model, made) < 0.5 * _distance(model, nearest)
    weights = _weights(made)
    assert len(weights) == 4
    for real, codes, rounded in weights.values():
        np.testing.assert_array_equal(real, rounded)
        assert np.abs(codes).max() <= 7


def test_a_second_run_changes_nothing_and_says_why(onnx_text: Text) -> None:
    for method in ("nearest", "gptq"):
        _, made, context = _quantized(onnx_text, f"round-weights{{method={method}}}")
        before = ir.to_proto(made).SerializeToString(deterministic=True)
        again = RoundWeights(method="gptq").run(made, context)
        assert again.edits == 0
        assert "round-weights has changed the weights" in again.skips[0].reason
        assert ir.to_proto(again.model).SerializeToString(deterministic=True) == before


def test_nearest_needs_no_samples_and_changes_no_code(onnx_text: Text) -> None:
    _, plain, _ = _quantized(onnx_text)
    before = _weights(plain)
    done = RoundWeights(method="nearest").run(plain, Context())
    assert done.edits == 4
    for name, (real, codes, _) in _weights(done.model).items():
        np.testing.assert_array_equal(codes, before[name][1])
        np.testing.assert_array_equal(real, before[name][2])


def test_the_same_seed_gives_the_same_bytes(onnx_text: Text) -> None:
    runs = [_quantized(onnx_text, "round-weights{rows=200}")[1] for _ in range(2)]
    assert len({ir.to_proto(m).SerializeToString(deterministic=True) for m in runs}) == 1


def test_a_killed_run_goes_on_to_the_same_bytes(onnx_text: Text, tmp_path: Path) -> None:
    """Killed behind the second layer: it and the first are on the disk then."""
    model, _, _ = _quantized(onnx_text)
    model_io.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", *(feeds["x"] for feeds in _data()))
    script = tmp_path / "run.py"
    script.write_text(f"""
import os, signal, sys
import numpy as np
from onnxq import api
feeds = [{{"x": array}} for array in np.load({str(tmp_path / "data.npz")!r}).values()]
def progress(what, done, total):
    if what == "rounding weights" and done == 2 and sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "rounding weights":
        print(done)
folder = {str(tmp_path / "kept")!r} if sys.argv[2] == "keep" else None
steps = "infer-shapes, insert-qdq{{weight=int4}}, round-weights"
report = api.run({str(tmp_path / "m.onnx")!r}, steps, feeds, checkpoints=folder, progress=progress)
api.model_io.save(report.model, api.Path(sys.argv[3]))
""")

    def run(*words: str) -> int:
        return subprocess.run(
            [sys.executable, str(script), *words], check=False, capture_output=True
        ).returncode

    whole, resumed = tmp_path / "whole.onnx", tmp_path / "resumed.onnx"
    assert run("live", "forget", str(whole)) == 0
    assert run("die", "keep", str(resumed)) == -signal.SIGKILL
    assert [file.name for file in (tmp_path / "kept").glob("*/*")] == ["00000.layer", "00001.layer"]
    assert run("live", "keep", str(resumed)) == 0
    assert resumed.read_bytes() == whole.read_bytes()


def test_structure_stays_and_only_constants_change(rewrite: Rewrite, onnx_text: Text) -> None:
    text = """g (float[8,4] x) => (float[8,3] y)
        <float[4,3] W, float[3] b, float sx = {0.05}, int8 zx = {0},
         float[3] sw = {0.5, 0.4, 0.6}, int8[3] zw = {0, 0, 0}> {
        xq = QuantizeLinear (x, sx, zx)
        xd = DequantizeLinear (xq, sx, zx)
        wq = QuantizeLinear <axis = 1> (W, sw, zw)
        wd = DequantizeLinear <axis = 1> (wq, sw, zw)
        y = Gemm (xd, wd, b)
    }"""
    samples = [{"x": np.random.default_rng(i).normal(0.3, 1, (8, 4)).astype(np.float32)} for i in range(8)]
    rewrite("round-weights", before=text, after=text, rtol=None, context=_context(onnx_text(text), samples))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        ("a = MatMul (d, wd) y = Add (a, a)", ""),
        ("a = MatMul (d, wd) c = MatMul (d, wd) y = Add (a, c)", "shared by several nodes"),
        ("y = Gemm <alpha = 2.0> (d, wd)", "alpha and beta"),
        ("t = Transpose (d) y = Gemm <transA = 1> (t, wd)", "no matrix on the right"),
    ],
)
def test_layers_that_cannot_be_sampled_are_left_to_nearest(net: str, reason: str, onnx_text: Text) -> None:
    parts = net.replace(") ", ")\n").splitlines()
    body = "\n".join(sorted(parts, key=lambda line: line.startswith("y")))
    model = onnx_text(f"""g (float[4,4] x) => (float[4,3] y)
        <float[4,3] W, float s = {{0.05}}, int8 z = {{0}}, float sw = {{0.3}}> {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        wq = QuantizeLinear (W, sw, z)
        wd = DequantizeLinear (wq, sw, z)
        {body}
    }}""")
    done = RoundWeights(method="nearest").run(model, Context())
    assert (done.edits == 0) == bool(reason)
    assert not reason or reason in done.skips[0].reason


def test_few_samples_are_warned_of(onnx_text: Text) -> None:
    _, model, context = _quantized(onnx_text)
    assert context.samples is not None
    few = Context(samples=load_samples(model, [dict(s.feeds) for s in list(context.samples)[:3]]))
    with pytest.warns(FewSamplesWarning, match="round-weights learns from 3 calibration samples only"):
        RoundWeights().run(model, few)


def test_bad_options_and_missing_samples_are_named(onnx_text: Text) -> None:
    _, model, context = _quantized(onnx_text)
    with pytest.raises(UsageError, match=r"bits is 2 … 8, not 9"):
        RoundWeights(bits=9).run(model, context)
    with pytest.raises(DataError, match=r"round-weights learns from calibration samples.*--data"):
        RoundWeights().run(model, Context())


def test_fewer_bits_than_the_grid_has_can_be_asked_for(onnx_text: Text) -> None:
    _, made, _ = _quantized(onnx_text, "round-weights{method=nearest bits=2}")
    assert all(np.abs(codes).max() == 1 for _, codes, _ in _weights(made).values())


GROUPED = """g (float[8,32] x) => (float[8,6] y) <float[32,6] A, float[6,6] B, float[6] c> {
    m = MatMul (x, A)
    r = Relu (m)
    y = Gemm <transB = 1> (r, B, c)
}"""


@pytest.mark.parametrize("method", ["nearest", "gptq"])
def test_blocks_of_inputs_get_scales_of_their_own(method: str, onnx_text: Text) -> None:
    """ONNX Runtime computes what numpy makes of the codes and the block scales; others are told why not."""
    model = onnx_text(GROUPED)
    A = np.array(constant(model.graph.initializers["A"]))
    A[:8] *= 30
    model.graph.initializers["A"].const_value = ir.tensor(A, name="A")
    x = [np.random.default_rng(i).standard_normal((8, 32)).astype(np.float32) for i in range(32)]
    context = _context(model, [{"x": array} for array in x])
    steps = f"infer-shapes, insert-qdq{{weight=int4}}, round-weights{{bits=4 group=8 method={method}}}"
    report = run_pipeline(model.clone(), parse(f"{steps}, fold-fake-quant, finish"), context)
    assert [
        skip.reason for step in report.steps if step.pass_.name == "round-weights" for skip in step.skips
    ] == ["its 6 inputs are no multiple of 8"]
    blocked = [node for node in report.model.graph if node.attributes.get_int("block_size", 0)]
    (node,) = blocked
    codes, scale = (constant(value) for value in node.inputs[:2])
    assert codes is not None
    assert scale is not None
    assert (codes.shape, scale.shape, codes.dtype.name) == ((32, 6), (4, 6), "int4")
    assert np.abs(codes.astype(int)).max() == 7
    weight = codes.astype(np.float32) * np.repeat(scale, 8, axis=0)
    if method == "nearest":
        np.testing.assert_allclose(np.abs(weight - A).max(axis=1), 0, atol=30 * 0.51 * scale[1:].max())
        assert np.all(np.abs(weight - A) <= 0.5001 * np.repeat(scale, 8, axis=0))
    tapped = Session(report.model, optimize=False, extra_outputs=["A_dequantized", "m"])
    made = tapped.run({"x": x[0]})
    np.testing.assert_array_equal(made["A_dequantized"], weight.astype(np.float32))
    plain = run_pipeline(
        model.clone(), parse(steps.replace(" group=8", "") + ", fold-fake-quant"), context
    ).model
    assert _off(model, report.model, x) < 0.85 * _off(model, plain, x)


def _off(model: ir.Model, other: ir.Model, x: Sequence[FloatArray]) -> float:
    one, two = (Session(m, optimize=False) for m in (model, other))
    return sum(float(np.sum((one.run({"x": a})["y"] - two.run({"x": a})["y"]) ** 2)) for a in x)
