"""write_golden: what is in the folder computes to itself; it appears whole; sizes are bounded."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnxq.errors import CheckError, DataError, UsageError
from onnxq.evaluate.golden import write_golden
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context

Text = Callable[..., ir.Model]

NET = """
    g (float[N,2,5,5] x) => (float[N,3] y) <float s = {0.02}, uint8 z = {100}, float w = {0.01}, int8 o = {0},
      int8[3,2,3,3] W, int32[3] B, float b = {0.0002}, int32 p = {0}, float t = {0.05}, int64[2] a = {2, 3}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        v = DequantizeLinear (W, w, o)
        c = DequantizeLinear (B, b, p)
        e = Conv (d, v, c)
        f = Relu (e)
        g = QuantizeLinear (f, t, z)
        h = DequantizeLinear (g, t, z)
        i = ReduceMean <keepdims = 0> (h, a)
        j = QuantizeLinear (i, t, z)
        y = DequantizeLinear (j, t, z)
    }"""


@pytest.fixture
def model(onnx_text: Text) -> ir.Model:
    """An integer Conv with a mean behind it."""
    return LowerInteger().run(onnx_text(NET), Context()).model


def samples(count: int, batch: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((batch, 2, 5, 5)).astype(np.float32)} for _ in range(count)]


def test_the_reference_computes_the_same_tensors(model: ir.Model, tmp_path: Path) -> None:
    made = write_golden(model, samples(5), tmp_path / "golden", limit=2)
    index = json.loads((tmp_path / "golden/index.json").read_bytes())
    assert (made.samples, made.tensors, made.constants) == (
        2,
        len(index["tensors"]),
        len(index["constants"]),
    )
    names = [entry["tensor"] for entry in index["tensors"] if entry["role"] != "input"]
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    proto.graph.output.extend(ir.to_proto(model).graph.output[:0])
    proto.graph.output.extend(type(ir.to_proto(model).graph.output[0])(name=name) for name in names)
    for place in index["samples"]:
        arrays = {
            e["tensor"]: np.load(tmp_path / "golden" / place["folder"] / e["file"]) for e in index["tensors"]
        }
        assert arrays["x"].dtype == np.uint8
        for name, array in zip(names, ReferenceEvaluator(proto).run(names, {"x": arrays["x"]}), strict=True):
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    roles = {entry["tensor"]: (entry["role"], entry.get("scale")) for entry in index["tensors"]}
    assert roles["x"] == ("input", 0.02)
    assert roles["y"] == ("output", 0.05)
    assert roles["g"] == ("intermediate", 0.05)
    assert sorted({scale for _, scale in roles.values() if scale is not None}) == [0.02, 0.05]
    constants = {
        entry["tensor"]: np.load(tmp_path / "golden" / entry["file"]) for entry in index["constants"]
    }
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        np.testing.assert_array_equal(constants[name], value.const_value.numpy())


def test_the_same_bytes_each_time_and_codes_are_taken_as_they_are(model: ir.Model, tmp_path: Path) -> None:
    write_golden(model, samples(2), tmp_path / "a")
    index = json.loads((tmp_path / "a/index.json").read_bytes())
    x = next(entry["file"] for entry in index["tensors"] if entry["tensor"] == "x")
    codes = [{"x": np.load(tmp_path / "a" / place["folder"] / x)} for place in index["samples"]]
    write_golden(model, codes, tmp_path / "b")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 2 + len(index["constants"]) + 2 * len(index["tensors"])
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_the_header_compiles_with_weights_and_without(model: ir.Model, tmp_path: Path) -> None:
    for weights in (False, True):
        write_golden(model, samples(1), tmp_path / f"{weights}", weights=weights)
        header = tmp_path / f"{weights}" / "constants.h"
        flags = ["-std=c99", "-Wall", "-Werror", "-Wno-unused", "-pedantic", "-fsyntax-only", "-x", "c"]
        subprocess.run(["gcc", *flags, header], check=True)
        assert "static const uint64_t" in header.read_text()


def test_axes_that_differ_between_samples_are_open(model: ir.Model, tmp_path: Path) -> None:
    write_golden(model, samples(1) + samples(1, batch=3), tmp_path / "golden")
    index = json.loads((tmp_path / "golden/index.json").read_bytes())
    assert index["tensors"][0]["shape"] == [None, 2, 5, 5]


def test_float_models_are_refused(onnx_text: Text, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=r"integer-only models, but \d+ tensors here are float, such as 'x'"):
        write_golden(onnx_text(NET), samples(1), tmp_path / "golden")


def test_nothing_is_left_behind_where_something_fails(model: ir.Model, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    broken = [*samples(1), {"x": np.full((1, 2, 5, 5), np.nan, np.float32)}]
    wrong = [*samples(1), {"x": np.zeros((1, 2, 4, 5), np.float32)}]
    for data, name, size, error, message in (
        (samples(1), "there", 1 << 20, UsageError, "is there already"),
        (samples(1), "none/golden", 1 << 20, UsageError, "does not exist"),
        (broken, "golden", 1 << 20, DataError, "holds NaN"),
        (wrong, "golden", 1 << 20, DataError, "takes uint8"),
        (samples(9), "golden", 4000, UsageError, "fewer samples with --limit"),
        (samples(1), "golden", 20, UsageError, "one sample went beyond"),
        ([{"z": np.zeros(1)}], "golden", 1 << 20, DataError, "has no input 'x'"),
        ([], "golden", 1 << 20, DataError, "no samples"),
    ):
        with pytest.raises(error, match=message):
            write_golden(model, data, tmp_path / name, limit=9, most_bytes=size)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
