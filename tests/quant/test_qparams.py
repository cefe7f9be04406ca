"""Quantization parameters: what every range must satisfy, and codes equal to what runtimes give."""

from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxq.quant.formats import INT8, INT16, UINT8, UINT16, IntFormat
from onnxq.quant.qparams import QParams, qparams_from_range

FORMATS = st.sampled_from([INT8, UINT8, INT16, UINT16, IntFormat(8, True, narrow=True), IntFormat(4, True)])
NUMBERS = st.floats(-(2.0**99), 2.0**99, width=32)


@given(a=NUMBERS, b=NUMBERS, fmt=FORMATS, symmetric=st.booleans(), pow2=st.booleans())
def test_every_range_gives_sound_parameters(
    a: float, b: float, fmt: IntFormat, symmetric: bool, pow2: bool
) -> None:
    low, high = min(a, b), max(a, b)
    q = qparams_from_range(low, high, fmt, symmetric=symmetric, power_of_two=pow2)
    scale, zero = float(q.scale), int(q.zero_point)
    assert q.scale.dtype == np.float32
    assert np.isfinite(scale)
    assert scale >= np.finfo(np.float32).tiny
    assert fmt.qmin <= zero <= fmt.qmax
    assert float(q.dequantize(q.quantize(np.zeros((), np.float32)))) == 0.0, "zero is exact"
    if pow2:
        assert np.frexp(scale)[0] == 0.5
    if scale != 1.0:  # not degenerate: both ends are held to within one step
        slack = scale * 1.001
        assert (fmt.qmin - zero) * scale <= min(low, 0.0) + slack
        assert (fmt.qmax - zero) * scale >= max(high, 0.0) - slack


@pytest.mark.parametrize("span", [(0.0, 0.0), (1e-42, 1e-41), (-1e-45, 0.0)])
def test_degenerate_ranges_keep_zero_and_a_normal_scale(span: tuple[float, float]) -> None:
    q = qparams_from_range(*span, UINT8)
    assert (float(q.scale), int(q.zero_point)) == (1.0, 0)


def test_one_sided_ranges_start_at_the_end_of_the_codes() -> None:
    assert int(qparams_from_range(0.5, 6.0, INT8).zero_point) == -128
    assert int(qparams_from_range(-3.0, -1.0, UINT8).zero_point) == 255


def test_symmetric_and_per_channel() -> None:
    q = qparams_from_range(np.array([-1.0, 0.0]), np.array([0.5, 2.54]), INT8, symmetric=True, axis=0)
    np.testing.assert_array_equal(q.scale, np.array([1 / 127, 2.54 / 127], np.float32))
    np.testing.assert_array_equal(q.zero_point, np.zeros(2, np.int8))


@given(
    x=hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)),
    scales=hnp.arrays(np.float32, 3, elements=st.floats(2**-10, 8, width=32)),
    zero=st.integers(-128, 127),
    per_channel=st.booleans(),
)
def test_codes_equal_onnx_runtime_and_the_reference(
    x: np.ndarray, scales: np.ndarray, zero: int, per_channel: bool
) -> None:
    scale = scales if per_channel else scales[:1].reshape(())
    q = QParams(scale, np.full(scale.shape, zero, np.int8), INT8, 0 if per_channel else None)
    codes = q.quantize(x)
    for expected_codes, expected_real in _runtimes(x, q):
        np.testing.assert_array_equal(codes, expected_codes)
        np.testing.assert_array_equal(q.dequantize(codes), expected_real)


def _runtimes(x: np.ndarray, q: QParams) -> list[list[np.ndarray]]:
    axis: dict[str, Any] = {} if q.axis is None else {"axis": q.axis}
    shape = list(q.scale.shape)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **axis),
            onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **axis),
        ],
        "pair",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape),
            onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, shape),
            onnx.helper.make_tensor_value_info("z", onnx.TensorProto.INT8, shape),
        ],
        [
            onnx.helper.make_tensor_value_info("q", onnx.TensorProto.INT8, x.shape),
            onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, x.shape),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    feeds = {"x": x, "s": q.scale, "z": q.zero_point}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, feeds), onnx.reference.ReferenceEvaluator(model).run(None, feeds)]
