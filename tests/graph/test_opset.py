"""Opset numbers: which changes of number are harmless, and what the IR version becomes."""

from collections.abc import Callable

import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.errors import ModelError
from onnxq.graph.opset import can_relabel, exists, opset, relabel
from onnxq.graph.opset_changes import changed_meaning

OnnxText = Callable[..., ir.Model]

X = "float[1,3,6,6] x"
SYMMETRIC = 'coordinate_transformation_mode = "half_pixel_symmetric"'
CASES = [
    # node, opset, to, the reason (None: no objection)
    ("y = Relu (x)", 13, 26, None),
    ("y = Gelu (x)", 20, 26, None),
    ("y = Gelu (x)", 20, 19, "does not exist at opset 19"),
    ("y = ReduceMean <axes = [2]> (x)", 17, 18, "has no attribute 'axes'"),
    ("y = ReduceMean <keepdims = 1> (x)", 17, 18, None),
    ("y = ReduceMean (x, ints)", 18, 17, "cannot have 2 inputs"),
    ("y = ReduceMean <noop_with_empty_axes = 0> (x)", 18, 17, None),
    ("y = ReduceMean <noop_with_empty_axes = 1> (x)", 18, 17, "has no attribute 'noop_with_empty_axes'"),
    ("y, z = Split <axis = 2> (x)", 17, 18, "needs the input 'split' or the attribute 'num_outputs'"),
    ("y, z = Split <axis = 2> (x, ints)", 17, 24, None),
    ("y, z = Split <axis = 2, num_outputs = 2> (x)", 18, 17, "has no attribute 'num_outputs'"),
    ('y = Pad <mode = "wrap"> (x, pads)', 19, 18, "mode='wrap'"),
    ('y = Pad <mode = "edge"> (x, pads)', 19, 13, None),
    ('y = ScatterND <reduction = "max"> (x, places, x)', 18, 16, "reduction='max'"),
    ('y = ScatterND <reduction = "add"> (x, places, x)', 18, 16, None),
    ('y = GridSample <mode = "bilinear"> (x, grid)', 19, 20, "mode='bilinear'"),
    ('y = GridSample <mode = "linear"> (x, grid)', 20, 19, "mode='linear'"),
    ("y = GridSample (x, grid)", 19, 20, None),
    ('y = GridSample <mode = "nearest"> (x, grid)', 22, 16, None),
    ("y = DFT (x)", 19, 20, "axis became an input"),
    ("y = GroupNormalization <num_groups = 1> (x, s, s)", 21, 20, "does not exist"),
    (
        'y = Resize <coordinate_transformation_mode = "half_pixel_symmetric"> (x, , scales)',
        19,
        18,
        "symmetric",
    ),
    ('y = Resize <mode = "linear"> (x, , scales)', 19, 13, None),
    ("y = Resize <antialias = 1> (x, , scales)", 18, 17, "has no attribute 'antialias'"),
    ("y = Resize <antialias = 0> (x, , scales)", 18, 17, None),
    ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", 21, 24, None),
    ("y = MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (x)", 21, 24, "into the padding"),
    ("y = RoiAlign (x, rois, batch)", 15, 16, "its default coordinate_transformation_mode"),
    ("y = QuantizeLinear (x, s, z8)", 24, 13, None),
    ("y = QuantizeLinear (x, s, z16)", 24, 21, None),
    ("y = QuantizeLinear (x, s, z16)", 24, 20, "does not take tensor(int16)"),
    ("y = QuantizeLinear <output_dtype = 5> (x, s)", 21, 19, "has no attribute 'output_dtype'"),
    ("y = QuantizeLinear <block_size = 0, saturate = 1> (x, s, z8)", 21, 13, None),
    ("y = LayerNormalization (x, s)", 17, 16, "does not exist"),
    (
        "y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)",
        19,
        18,
        "has no attribute 'dilations'",
    ),
]


def graph(body: str) -> str:
    return f"""g ({X}, float[1,6,6,2] grid, int64[1,3,6,6,4] places, float[1,4] rois, int64[1] batch) => (y)
        <float s = {{1.0}}, int8 z8 = {{0}}, int16 z16 = {{0}}, int64[2] ints = {{3, 3}},
        float[4] scales = {{1, 1, 2, 2}}, int64[8] pads = {{0, 0, 1, 1, 0, 0, 1, 1}}> {{ {body} }}"""


def model_of(body: str, version: int) -> ir.Model:
    proto = onnx.helper.make_model(onnx.parser.parse_graph(graph(body)), ir_version=8)
    proto.opset_import[0].version = version
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.mark.parametrize(("body", "now", "to", "reason"), CASES)
def test_reasons(body: str, now: int, to: int, reason: str | None) -> None:
    reasons = can_relabel(model_of(body, now), to)
    assert len(reasons) == (reason is not None)
    assert (reason or "") in "".join(reasons)


@pytest.mark.parametrize(("body", "now", "to"), [case[:3] for case in CASES if case[3] is None])
def test_what_is_relabelled_is_valid(body: str, now: int, to: int) -> None:
    model = model_of(body, now)
    relabel(model, to)
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    proto = onnx.shape_inference.infer_shapes(proto)
    proto.graph.output.extend(info for info in proto.graph.value_info if info.name == "y")
    onnx.checker.check_model(proto, full_check=True)
    assert (opset(model), model.opset_imports[""]) == (to, to)


@pytest.mark.parametrize(
    ("to", "ir_version"), [(17, 8), (19, 9), (20, 9), (21, 10), (23, 11), (24, 12), (26, 13)]
)
def test_ir_version(to: int, ir_version: int) -> None:
    model = model_of("y = Relu (x)", 22)
    relabel(model, to)
    assert model.ir_version == ir_version
    ort.InferenceSession(_typed(model), providers=["CPUExecutionProvider"])


def _typed(model: ir.Model) -> bytes:
    proto = ir.to_proto(model)
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, [1, 3, 6, 6]))
    return bytes(proto.SerializeToString())


def test_functions_and_bodies_count() -> None:
    text = """<ir_version: 8, opset_import: ["": 19, "local": 1]>
        g (float[2] x, bool b) => (float[2] y) {
            a = local.f (x)
            y = If (b) <then_branch = t () => (float[2] u) { u = Gelu (a) },
                        else_branch = e () => (float[2] v) { v = Neg (a) }>
        }
        <domain: "local", opset_import: ["": 19]> f (x) => (y) { y = Swish (x) }"""
    model = ir.from_proto(onnx.parser.parse_model(text.replace("19", "24")))
    assert [reason.split()[0] for reason in can_relabel(model, 19)] == ["Gelu", "Swish"]
    relabel(model, 22)
    assert [f.opset_imports[""] for f in model.functions.values()] == [22]


def test_opsets_out_of_reach_and_absent() -> None:
    assert "13 to 26" in can_relabel(model_of("y = Relu (x)", 12), 19)[0]
    assert "13 to 26" in can_relabel(model_of("y = Relu (x)", 19), 27)[0]
    model = model_of("y = Relu (x)", 19)
    model.opset_imports.clear()
    with pytest.raises(ModelError, match="names no opset"):
        opset(model)


def test_a_deprecated_operator_does_not_exist() -> None:
    assert (exists("GroupNormalization", 20), exists("GroupNormalization", 21)) == (False, True)


@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_windows_in_the_padding(
    size: int, kernel: int, dilation: int, stride: int, before: int, after: int
) -> None:
    """Wherever rounding up makes a window start behind the data, the change of opset is refused."""
    node = ir.node(
        "MaxPool",
        [ir.Value(name="x")],
        {
            "kernel_shape": [kernel],
            "dilations": [dilation],
            "strides": [stride],
            "pads": [before, after],
            "ceil_mode": 1,
        },
    )
    room = size + before + after - ((kernel - 1) * dilation + 1)
    starts = range(0, -(-room // stride) * stride + 1, stride) if room >= 0 else []
    if any(start >= size + before for start in starts):
        assert changed_meaning(node, 21, 22) is not None
    assert changed_meaning(node, 22, 24) is None
