"""Old and raised models agree in ONNX Runtime, which has kernels for both; schemas tell what is missing."""

from itertools import pairwise
from types import ModuleType

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.errors import ModelError, UsageError
from onnxq.graph.numeric import Array
from onnxq.passes.importing._opset_adapters import ADAPTERS, NEWEST
from onnxq.passes.importing.raise_opset import RaiseOpset
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

X = "float[2,3,4,6] x"
TF = "tf_half_pixel_for_nn"
CASES = {
    # name: opset, body of the graph
    "batch norm": (8, "y = BatchNormalization <epsilon=0.1, spatial=1> (x, c, c, c, c)"),
    "upsample attribute": (7, 'y = Upsample <mode="nearest", scales=[1.0,1.0,2.0,3.0]> (x)'),
    "upsample input": (9, 'y = Upsample <mode="linear"> (x, up)'),
    "resize larger": (10, 'y = Resize <mode="nearest"> (x, up)'),
    "resize smaller": (10, 'y = Resize <mode="nearest"> (x, down)'),
    "resize linear": (10, 'y = Resize <mode="linear"> (x, mixed)'),
    "slice": (9, "y = Slice <starts=[0,-3], ends=[1,9223372036854775807], axes=[1,3]> (x)"),
    "slice without axes": (9, "y = Slice <starts=[1,0], ends=[2,2]> (x)"),
    "topk": (9, "y, i = TopK <k=2, axis=-1> (x)"),
    "clip": (10, "y = Clip <min=-0.5, max=0.25> (x)"),
    "clip above": (6 + 1, "y = Clip <max=0.25> (x)"),
    "pad": (10, "y = Pad <pads=[0,0,1,0,0,0,0,2], value=1.5> (x)"),
    "pad reflect": (10, 'y = Pad <mode="reflect", pads=[0,0,1,0,0,0,0,2]> (x)'),
    "scatter": (9, "i = Constant <value = int64[1,1,1,2] {1,0}> () y = Scatter <axis=3> (x, i, s)"),
    "dropout": (7, "y = Dropout <ratio=0.3> (x)"),
    "dropout with mask": (10, "y, mask = Dropout <ratio=0.3> (x)"),
    "softmax default": (12, "y = Softmax (x)"),
    "softmax first": (11, "y = Softmax <axis=0> (x)"),
    "softmax last": (9, "y = Softmax <axis=3> (x)"),
    "softmax from the end": (11, "y = LogSoftmax <axis=-2> (x)"),
    "softmax of one long axis": (9, "t = GlobalAveragePool (x) y = Softmax (t)"),
    "hardmax": (11, "y = Hardmax <axis=2> (x)"),
    "squeeze": (12, "t = Unsqueeze <axes=[0,5]> (x) r = Relu (t) y = Squeeze <axes=[0,5]> (r)"),
    "squeeze all": (12, "t = Unsqueeze <axes=[0,5]> (x) y = Squeeze (t)"),
    "reduce": (8, "t = ReduceSum <axes=[1], keepdims=0> (x) y = ReduceMean <axes=[-1]> (t)"),
    "reduce all": (12, "t = ReduceSum (x) u = ReduceMax (x) v = ReduceL2 (x) y = Sum (t, u, v)"),
    "split sizes": (11, "a, y = Split <axis=3, split=[2,4]> (x) z = Relu(a)"),
    "split equal": (11, "a, y = Split <axis=3> (x) z = Relu(a)"),
    "roi align": (10, "y = RoiAlign <output_height=2, output_width=2> (x, rois, batch)"),
    "grid sample": (16, 'y = GridSample <mode="bilinear"> (x, grid)'),
    "lrn and pools": (7, "a = LRN <size=3> (x) b = MaxPool <kernel_shape=[2,2]> (a) y = GlobalMaxPool (b)"),
}
CONSTANTS: dict[str, Array] = {
    "c": np.array([0.5, 1, 2], np.float32),
    "up": np.array([1, 1, 2, 1.5], np.float32),
    "down": np.array([1, 1, 0.5, 0.4], np.float32),
    "mixed": np.array([1, 1, 0.5, 2.5], np.float32),
    "s": np.array([[[[7, 8]]]], np.float32),
    "rois": np.array([[0.2, 0.7, 3.1, 2.6]], np.float32),
    "batch": np.array([1]),
    "grid": np.random.default_rng(3).uniform(-1, 1, (2, 2, 2, 2)).astype(np.float32),
}


def build(opset: int, body: str, graph: str = f"g ({X}) => (float[] y)") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 7, opset_import: ["": {opset}]> {graph} {{ {body} }}')
    if graph.endswith("(float[] y)"):
        proto.graph.output[0].type.tensor_type.ClearField("shape")
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in used
    )
    return proto


def outputs(model: ir.Model | onnx.ModelProto) -> dict[str, Array]:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
    return Session(model, optimize=False, threads=1).run({"x": x})


@pytest.mark.parametrize("target", [13, 19, 22])
@pytest.mark.parametrize("case", CASES)
def test_same_outputs_in_the_newer_opset(case: str, target: int) -> None:
    proto = build(*CASES[case])
    if proto.opset_import[0].version >= target:
        pytest.skip("nothing to raise")
    if (case, target) == ("roi align", 22):
        pytest.skip("ONNX Runtime has no RoiAlign of opset 22")
    model = model_io.from_proto(proto)
    assert RaiseOpset(target).run(model, Context()).modified
    assert model.opset_imports[""] == target
    model_io.check(model)
    for name, expected in outputs(proto).items():
        np.testing.assert_allclose(outputs(model)[name], expected, rtol=1e-6, atol=1e-6)
    assert not RaiseOpset(target).run(model, Context()).modified


def test_softmax_over_one_axis_needs_no_flatten() -> None:
    for case in ("softmax last", "softmax of one long axis"):
        model = model_io.from_proto(build(*CASES[case]))
        RaiseOpset().run(model, Context())
        assert "Flatten" not in {node.op_type for node in model.graph}


def test_bodies_are_raised_with_their_graph() -> None:
    body = """yes = Constant <value = bool {1}> ()
        y = If (yes) <then_branch = t () => (float[] a) { a = Softmax <axis=2> (x) },
                    else_branch = e () => (float[] b) { b = Clip <min=0.0> (x) }>"""
    proto = build(10, body)
    model = model_io.from_proto(proto)
    RaiseOpset().run(model, Context())
    model_io.check(model)
    np.testing.assert_allclose(outputs(model)["y"], outputs(proto)["y"], rtol=1e-6)


def test_functions_are_raised_too() -> None:
    text = """<ir_version: 8, opset_import: ["": 12, "f": 1]>
        g (float[2,3,4,6] x) => (float[2,4,6] y) { y = f.Total (x) }
        <domain: "f", opset_import: ["": 11]>
        Total (a) => (b) { t = Softmax (a) b = ReduceSum <axes=[1], keepdims=0> (t) }"""
    proto = onnx.parser.parse_model(text)
    model = model_io.from_proto(proto)
    RaiseOpset().run(model, Context())
    assert {f.opset_imports[""] for f in model.functions.values()} == {19}
    model_io.check(model)
    np.testing.assert_allclose(outputs(model)["y"], outputs(proto)["y"], rtol=1e-6)


def test_functions_follow_a_newer_model() -> None:
    text = """<ir_version: 8, opset_import: ["": 21, "f": 1]>
        g (float[2,4] x) => (float[2] y) { y = f.Total (x) }
        <domain: "f", opset_import: ["": 11]> Total (a) => (b) { b = ReduceSum <axes=[1], keepdims=0> (a) }"""
    model = model_io.from_proto(onnx.parser.parse_model(text))
    assert RaiseOpset(19).run(model, Context()).modified
    assert model.opset_imports[""] == 21
    assert {function.opset_imports[""] for function in model.functions.values()} == {21}


def test_group_norm_gets_one_scale_a_channel() -> None:
    """Against the definition: ONNX Runtime has no kernel for the old form."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 3)).astype(np.float32)
    scale, bias = rng.standard_normal((2, 2)).astype(np.float32)
    graph = "g (float[1,4,3] x) => (float[1,4,3] y)"
    proto = build(20, "y = GroupNormalization <num_groups=2> (x, scale, bias)", graph)
    pairs = {"scale": scale, "bias": bias}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in pairs.items())
    model = model_io.from_proto(proto)
    RaiseOpset(21).run(model, Context())
    groups = x.reshape(1, 2, -1)
    mean, var = groups.mean(-1, keepdims=True), groups.var(-1, keepdims=True)
    expected = (groups - mean) / np.sqrt(var + 1e-5) * scale[:, None] + bias[:, None]
    found = Session(model, optimize=False).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("opset", "body", "says"),
    [
        (8, "y = BatchNormalization <spatial=0> (x, c, c, c, c)", "spatial=0"),
        (10, 'y = Resize <mode="nearest"> (x, mixed)', "enlarges one axis and shrinks another"),
        (
            11,
            'y = Resize <coordinate_transformation_mode="tf_half_pixel_for_nn"> (x, c, up)',
            "tf_half_pixel",
        ),
        (12, "y, m, v, a, b = BatchNormalization (x, c, c, c, c)", "training outputs"),
        (8, "y, mask = Dropout (x) z = Relu (mask)", "mask is read"),
    ],
)
def test_what_has_no_equivalent_is_named(opset: int, body: str, says: str) -> None:
    model = model_io.from_proto(build(opset, body))
    with pytest.raises(ModelError, match=f"(?s){says}.*re-export it at opset 13") as caught:
        RaiseOpset().run(model, Context())
    assert "(output 'y')" in str(caught.value)


def test_the_target_is_limited() -> None:
    for opset in (12, NEWEST + 1):
        with pytest.raises(UsageError, match=f"must be 13 to {NEWEST}, but {opset} was given"):
            RaiseOpset(opset)


def test_newer_models_and_large_weights_are_not_touched() -> None:
    proto = build(21, "y = BatchNormalization (x, c, c, c, c)")
    model = model_io.from_proto(proto)
    before = model_io.to_proto(model).SerializeToString()
    assert not RaiseOpset(19).run(model, Context()).modified
    assert model_io.to_proto(model).SerializeToString() == before
    model = model_io.from_proto(build(8, "y = BatchNormalization (x, c, c, c, c)"))
    tensor = model.graph.initializers["c"].const_value
    RaiseOpset().run(model, Context())
    assert model.graph.initializers["c"].const_value is tensor


def test_every_change_that_a_schema_shows_has_an_adapter() -> None:
    """An attribute or input that vanished, moved or changed its default, or an operator that was retired."""
    history: dict[str, list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= NEWEST:
            history.setdefault(schema.name, []).append(schema)
    for name, schemas in history.items():
        schemas.sort(key=lambda schema: schema.since_version)
        for old, new in pairwise(schemas):
            if _differs(old, new):
                assert name in ADAPTERS.get(new.since_version, {}), f"{name} {new.since_version}"


def _differs(old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> bool:
    defaults = [_defaults(schema) for schema in (old, new)]
    places = [{parameter.name: i for i, parameter in enumerate(schema.inputs)} for schema in (old, new)]
    kept = all(defaults[1].get(name, b"?") == default for name, default in defaults[0].items())
    moved = any(places[1].get(name, i) != i for name, i in places[0].items())
    kinds = [{name: a.type for name, a in schema.attributes.items()} for schema in (old, new)]
    retyped = any(kinds[1].get(name, kind) != kind for name, kind in kinds[0].items())
    return new.deprecated or not kept or moved or retyped


def _defaults(schema: onnx.defs.OpSchema) -> dict[str, bytes]:
    attributes = schema.attributes.items()
    return {name: a.default_value.SerializeToString() for name, a in attributes if not a.required}


def test_evaluation_models_agree(zoo: ModuleType) -> None:
    """One of each kind of export, opset 8 to 17, on real data."""
    for name in ("mnist_conv_cntk", "ultraface_rfb_320", "dtln_1", "silero_vad_16k", "magika_v3_3"):
        entry = zoo.load(name)
        model = model_io.load(entry.float_model)
        RaiseOpset().run(model, Context())
        model_io.check(model)
        before, after = (Session(m, optimize=False, threads=1) for m in (entry.float_model, model))
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
        feeds = next(iter(entry.calibration(1)))
        expected, found = before.run(feeds), after.run(feeds)
        for output, array in expected.items():
            np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-6)
