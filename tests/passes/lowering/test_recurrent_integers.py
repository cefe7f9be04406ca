"""Recurrent networks as strict integers: exact codes, one cell for all steps, states go round as codes."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnxq import api
from onnxq.errors import CheckError, UsageError
from onnxq.evaluate.integer_only import float_tensors
from onnxq.evaluate.intervals.analysis import analyze
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.runtime import Session

from .conftest import check_lowering
from .exact import NEAR_TIE_WIDE
from .recurrent import Network

NETWORKS = {
    "LSTM": Network("LSTM", 3, given=["B", "initial_h", "initial_c"]),
    "LSTM, everything": Network(
        "LSTM",
        attributes={"direction": "bidirectional", "clip": 2.0, "input_forget": 1},
        given=["B", "initial_c", "P"],
    ),
    "LSTM, Y_c alone": Network("LSTM", attributes={"direction": "reverse"}, outputs=["", "", "Y_c"]),
    "GRU": Network("GRU", given=["B", "initial_h"], outputs=["Y", "Y_h"]),
    "GRU, reset behind": Network(
        "GRU", attributes={"linear_before_reset": 1}, given=["B"], outputs=["", "Y_h"]
    ),
    "GRU, constant state": Network("GRU", given=["initial_h"], outputs=["Y"], fixed_state=True),
    "LSTM, constant state": Network("LSTM", given=["initial_h", "initial_c"], fixed_state=True),
    "RNN": Network("RNN", attributes={"activations": ["Relu"]}, given=["initial_h"], outputs=["Y"]),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("case", NETWORKS)
def test_every_code_is_the_exact_one(case: str, bits: int) -> None:
    network = NETWORKS[case]
    data = [network.feeds(seed) for seed in range(8)]
    options = f"recurrent={bits} method=minmax"
    done = api.quantize(_model(network), data, target="integer", form="qdq", options=options)
    assert done.comparison is not None
    assert min(output.sqnr_db for output in done.comparison.outputs) > (24 if bits == 8 else 30)
    check_lowering(ir.to_proto(done.model), np.random.default_rng(0), LowerInteger(), NEAR_TIE_WIDE)


@pytest.mark.parametrize("case", ["LSTM", "GRU", "GRU, reset behind", "RNN"])
def test_cells_of_16_bits_become_integers_of_32(case: str) -> None:
    """Hidden states of 16 bits, which products read, get 8 like all others."""
    network = NETWORKS[case]
    data = [network.feeds(seed) for seed in range(8)]
    qdq = api.quantize(_model(network), data, target="integer", form="qdq", proof=0).model
    with pytest.warns(UserWarning, match="narrow-activations gives"):
        strict = api.run(qdq.clone(), "lower-int32").model
    assert float_tensors(strict) == []
    with pytest.warns(UserWarning, match="narrow-activations gives"):
        narrow = Session(api.run(qdq, "narrow-activations").model, optimize=False, threads=1)
    meta, session = strict.metadata_props, Session(strict, threads=1)
    for feeds in data[:2]:
        codes = {v.name or "": _codes_of(feeds[v.name or ""], meta, v) for v in strict.graph.inputs if v.name}
        expected = narrow.run(feeds)
        for name, found in session.run(codes).items():
            scale, zero = float(meta[f"onnxq.scale.{name}"]), int(meta[f"onnxq.zero_point.{name}"])
            off = (found.astype(float) - zero) * scale - expected[name]
            assert np.abs(off).max() < 1.5 * scale, "float32 may round a tie the other way"


def _codes_of(real: Array, meta: Mapping[str, str], value: ir.Value) -> Array:
    scale, zero = float(meta[f"onnxq.scale.{value.name}"]), int(meta[f"onnxq.zero_point.{value.name}"])
    assert value.dtype is not None
    dtype = value.dtype.numpy()
    ends = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(real / np.float32(scale)) + zero, ends.min, ends.max), dtype)


def test_all_steps_share_scales_and_tables() -> None:
    network = Network("LSTM", 5, given=["initial_h", "initial_c"], outputs=["Y"])
    data = [network.feeds(seed) for seed in range(8)]
    done = api.quantize(_model(network), data, target="integer", proof=0)
    formats = {d.value: d.format.bits for d in done.plan.values}
    assert formats["Y_mul_2"] == 8, "the hidden state is read by products"
    assert formats["Y_add"] == formats["Y_mul_1"] == formats["Y_sigmoid"] == 16
    groups = [{d.value for d in members} for members in done.plan.groups.values()]
    assert {f"Y_tanh{end}" for end in ("", "_2", "_4", "_6", "_8")} in groups, "the candidates of five steps"
    tables = {node.inputs[0] for node in done.model.graph if node.op_type == "Gather"}
    assert len([t for t in tables if t is not None and t.is_initializer()]) == 3


def test_a_recipe_wins_over_the_width_of_cells() -> None:
    network = Network("GRU", given=["initial_h"], outputs=["Y"])
    found = api.plan(_model(network), "integer", "recurrent=8")
    assert {d.format.bits for d in found.values} == {8}
    recipe = 'recipe=\'[[rule]]\nop = "Tanh"\ndtype = "int8"\''
    formats = {d.value: str(d.format) for d in api.plan(_model(network), "integer", recipe).values}
    assert formats["Y_tanh"] == "int8"
    assert formats["Y_sigmoid"] == "uint16"
    with pytest.raises(UsageError, match="recurrent is 4; target integer takes 8 or 16 bits"):
        api.plan(_model(network), "integer", "recurrent=4")


STREAM = Network("LSTM", 1, 1, 4, 8, {}, ["B", "initial_h", "initial_c"], ["Y", "Y_h", "Y_c"])
STATE = {"Y_h": "initial_h", "Y_c": "initial_c"}


def test_codes_of_a_state_go_round_as_they_are() -> None:
    """Fifty steps on its own codes, without a conversion, stay near the float model on its own floats."""
    sounds: Array = np.random.default_rng(1).normal(size=(90, 1, 1, 4)).astype(np.float32)
    done = api.quantize(_model(STREAM), [{"X": sounds[:40]}], target="integer", state=STATE, proof=0)
    meta = done.model.metadata_props
    for output, name in STATE.items():
        for key in ("scale", "zero_point"):
            assert meta[f"onnxq.{key}.{output}"] == meta[f"onnxq.{key}.{name}"]
    scales = {
        name: (float(meta[f"onnxq.scale.{name}"]), int(meta[f"onnxq.zero_point.{name}"]))
        for name in ("X", "Y")
    }
    strict, real = Session(done.model, threads=1), Session(_model(STREAM), threads=1)
    assert {value.dtype for value in done.model.graph.outputs} == {ir.DataType.UINT8, ir.DataType.UINT16}
    floats: dict[str, Array] = {name: np.zeros((1, 1, 8), np.float32) for name in STATE.values()}
    codes: dict[str, Array] = {
        value.name or "": np.full((1, 1, 8), int(meta[f"onnxq.zero_point.{value.name}"]), value.dtype.numpy())
        for value in done.model.graph.inputs
        if value.dtype is not None and value.name != "X"
    }
    errors, sizes = [], []
    for sound in sounds[40:]:
        quantized = np.clip(np.rint(sound / scales["X"][0]) + scales["X"][1], 0, 255).astype(np.uint8)
        expected, found = real.run({"X": sound, **floats}), strict.run({"X": quantized, **codes})
        floats = {name: expected[output] for output, name in STATE.items()}
        codes = {name: found[output] for output, name in STATE.items()}
        errors.append((found["Y"].astype(float) - scales["Y"][1]) * scales["Y"][0] - expected["Y"])
        sizes.append(expected["Y"])
    assert 10 * np.log10(np.mean(np.square(sizes)) / np.mean(np.square(errors))) > 30


def test_a_range_for_a_state_is_that_of_its_group() -> None:
    rule = '[[rule]]\nvalue = "initial_c"\nrange = [-4.0, 4.0]'
    data = [STREAM.feeds(seed) for seed in range(4)]
    done = api.quantize(_model(STREAM), data, target="integer", state=STATE, recipe=rule, proof=0)
    assert float(done.model.metadata_props["onnxq.scale.Y_c"]) == pytest.approx(8 / 65535, rel=1e-3)
    with pytest.raises(UsageError, match="state: the model has no output 'Yc'; did you mean 'Y_c'"):
        api.plan(_model(STREAM), "integer", "state='Yc=initial_c'")


def test_cells_say_why_they_are_wide_and_narrow_for_32_bits() -> None:
    data = [STREAM.feeds(seed) for seed in range(4)]
    qdq = api.quantize(_model(STREAM), data, target="integer", form="qdq", state=STATE, proof=0)
    wide = [d for d in qdq.plan.values if d.format.bits == 16]
    assert {d.why for d in wide} == {"in recurrent cells, which add up over time"}
    with pytest.warns(UserWarning, match=f"narrow-activations gives {len(wide)} values 8 bits"):
        strict = api.run(qdq.model, "lower-int32").model
    assert float_tensors(strict) == []


def test_open_axes_are_named_with_the_remedy_which_helps() -> None:
    proto = STREAM.model()
    proto.graph.node.append(onnx.helper.make_node("Relu", ["Y"], ["Z"]))
    proto.graph.output[0].name = "Z"
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "T"
    data = [STREAM.feeds(seed) for seed in range(4)]
    model = ir.from_proto(proto)
    reasons = [node.reason for node in api.plan(model, "integer").nodes if node.op == "LSTM"]
    assert [r.startswith("target integer takes LSTM in parts only") for r in reasons] == [True]
    with pytest.raises(CheckError, match=r"not written out: its sequence length is 'T'.*fix-shapes samples"):
        api.quantize(model, data, target="integer", proof=0)
    for shapes in ("samples", {"T": 1, "N": 1}):
        done = api.quantize(model, data, target="integer", proof=0, shapes=shapes)
        assert float_tensors(done.model) == []


@pytest.mark.parametrize(
    ("name", "state", "shapes", "decibel"),
    [
        ("dtln_1", {"tf_op_layer_stack_2": "input_3"}, None, 27),
        ("silero_vad_16k", {"stateN": "state"}, "samples", 20),
    ],
)
def test_speech_models_become_integers_only(
    zoo: ModuleType,
    tmp_path: Path,
    name: str,
    state: dict[str, str],
    shapes: Literal["samples"] | None,
    decibel: float,
) -> None:
    """Measured on all frames with 200 samples: 29.9 dB and 24.6 dB, as Q/DQ within 0.1 dB of that."""
    entry = zoo.load(name)
    data = list(entry.calibration(60))
    done = api.quantize(
        entry.float_model, data, target="integer", state=state, shapes=shapes, scales="as-is", proof=0
    )
    assert float_tensors(done.model) == []
    assert analyze(done.model).violations == []
    done.save(tmp_path / "int.onnx")
    assert entry.evaluate(tmp_path / "int.onnx", threads=1, limit=200)["sqnr_db"] > decibel
    proto = ir.to_proto(done.model)
    rng = np.random.default_rng(0)
    for _ in range(3):
        feeds = {info.name: _drawn(info, rng) for info in proto.graph.input}
        expected = ReferenceEvaluator(proto).run(None, feeds)
        for array, wanted in zip(Session(proto, threads=1).run(feeds).values(), expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


def _drawn(info: onnx.ValueInfoProto, rng: np.random.Generator) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    high = np.iinfo(dtype).max if dtype.itemsize < 4 else 16000
    return rng.integers(0, high, shape, endpoint=True).astype(dtype)


def _model(network: Network) -> ir.Model:
    return ir.from_proto(network.model(batch=network.batch))
