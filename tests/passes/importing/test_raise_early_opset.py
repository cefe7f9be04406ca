"""Opsets before 7: against numpy, and against the outputs that ship with the models inside onnx.

ONNX Runtime has no kernels for most of these operators.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.graph.numeric import Array, FloatArray
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.importing.raise_opset import RaiseOpset
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

X = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
C = np.array([0.5, 1, 2], np.float32)
D = np.array([[0.5, 1, 2, -1], [0.25, 3, 4, 1], [1, 2, 3, 4]], np.float32)
W = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
CONSTANTS: dict[str, Array] = {
    "c": C,
    "d": D,
    "w": W,
    "two": np.array([2, -1], np.float32),
    "five": np.arange(5, dtype=np.float32),
    "one": np.array([[0.5]], np.float32),
    "axis": np.array(1, np.float32),
    "tiles": np.array(2, np.float32),
    "sizes": np.array([2, 4], np.float32),
}
PER_CHANNEL = C[:, None, None]

CASES: dict[str, tuple[int, str, Callable[[FloatArray], FloatArray]]] = {
    "broadcast from an axis": (6, "y = Add <broadcast=1, axis=1> (x, c)", lambda x: x + PER_CHANNEL),
    "broadcast a run of axes": (6, "y = Div <broadcast=1, axis=1> (x, d)", lambda x: x / D[..., None]),
    "broadcast from the front": (6, "y = Sub <broadcast=1, axis=0> (x, two)", lambda x: x - _first(2, -1)),
    "broadcast one number": (6, "y = Mul <broadcast=1, axis=0> (x, one)", lambda x: x * 0.5),
    "broadcast the last axis": (6, "y = Pow <broadcast=1> (e, six)", lambda x: np.exp(x) ** np.arange(6)),
    "broadcast what is computed": (
        6,
        "t = Neg (c) y = Mul <broadcast=1, axis=1> (x, t)",
        lambda x: x * -PER_CHANNEL,
    ),
    "broadcast what opset 1 has no types for": (
        1,
        "t = Neg <consumed_inputs=[0]> (x) y = Add <broadcast=1, axis=1, consumed_inputs=[0,0]> (t, c)",
        lambda x: PER_CHANNEL - x,
    ),
    "compare": (
        6,
        "t = Less <broadcast=1, axis=1> (x, c) y = Cast <to=1> (t)",
        lambda x: (x < PER_CHANNEL).astype(np.float32),
    ),
    "gemm": (6, "f = Flatten <axis=3> (x) y = Gemm <broadcast=1, transB=1> (f, w, five)", lambda x: _gemm(x)),
    "prelu": (6, "y = PRelu (x, c)", lambda x: np.where(x < 0, x * PER_CHANNEL, x)),
    "prelu with one slope": (6, "y = PRelu (x, one)", lambda x: np.where(x < 0, x / 2, x)),
    "batch norm": (
        5,
        "y = BatchNormalization <is_test=1, consumed_inputs=[0,0,0,1,1], epsilon=0.1> (x, c, c, c, c)",
        lambda x: (x - PER_CHANNEL) / np.sqrt(PER_CHANNEL + 0.1) * PER_CHANNEL + PER_CHANNEL,
    ),
    "dropout": (5, "y = Dropout <is_test=1, ratio=0.3> (x)", lambda x: x),
    "concat": (3, "y = Concat (x, x)", lambda x: np.concatenate([x, x], 1)),
    "reshape": (4, "y = Reshape <shape=[0,-1], consumed_inputs=[0,0]> (x)", lambda x: x.reshape(2, -1)),
    "cast": (5, 'i = Cast <to="INT32"> (x) y = Cast <to="FLOAT"> (i)', np.trunc),
    "tile": (5, "y = Tile (x, tiles, axis)", lambda x: np.tile(x, (1, 2, 1, 1))),
    "pad": (
        1,
        "y = Pad <paddings=[0,0,1,0,0,0,0,2], value=1.5> (x)",
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=1.5),
    ),
    "split by an input": (1, "a, y = Split <axis=3> (x, sizes)", lambda x: x[..., 2:]),
    "split by an attribute": (1, "a, y = Split <axis=3, split=[1,5]> (x)", lambda x: x[..., 1:]),
    "upsample": (
        6,
        'y = Upsample <height_scale=2.0, width_scale=3.0, mode="nearest"> (x)',
        lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    "selu": (
        5,
        "y = Selu (x)",
        lambda x: np.float32(1.0507) * np.where(x > 0, x, np.float32(1.6732) * np.expm1(x)),
    ),
    "norm": (1, "y = GlobalLpPool <p=1.0> (x)", lambda x: abs(x).sum((2, 3), keepdims=True)),
}


def _first(*numbers: float) -> FloatArray:
    return np.array(numbers, np.float32).reshape(-1, 1, 1, 1)


def _gemm(x: FloatArray) -> FloatArray:
    product: FloatArray = x.reshape(24, 6) @ W.T + np.arange(5, dtype=np.float32)
    return product


def build(opset: int, body: str) -> ir.Model:
    body = body.replace("(e, six)", "(e, s)").replace("y = Pow", "e = Exp (x) y = Pow")
    head = f'<ir_version: 3, opset_import: ["": {opset}]> g (float[2,3,4,6] x) => (float[] y)'
    proto = onnx.parser.parse_model(f"{head} {{ {body} }}")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    used = {name for node in proto.graph.node for name in node.input}
    constants = CONSTANTS | {"s": np.arange(6, dtype=np.float32)}
    for name in sorted(used & constants.keys()):
        array = constants[name]
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, array.shape))
    return model_io.from_proto(proto)


@pytest.mark.parametrize("case", CASES)
def test_same_values_as_documented(case: str) -> None:
    opset, body, expected = CASES[case]
    model = build(opset, body)
    assert RaiseOpset().run(model, Context()).modified
    InferShapes().run(model, Context())
    model_io.check(model)
    found = Session(model, optimize=False, threads=1).run({"x": X})["y"]
    np.testing.assert_allclose(found, expected(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_recurrent_operators_are_those_of_opset_7(kind: str) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    text = f"""<ir_version: 3, opset_import: ["": OPSET]>
        g (float[5,2,3] x, float[1,{4 * gates},3] w, float[1,{4 * gates},4] r) => (float[5,1,2,4] y)
        {{ y, h = {kind} <hidden_size=4 MORE> (x, w, r) }}"""
    rng = np.random.default_rng(0)
    shapes = {"x": (5, 2, 3), "w": (1, 4 * gates, 3), "r": (1, 4 * gates, 4)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    early = onnx.parser.parse_model(text.replace("OPSET", "1").replace("MORE", ", output_sequence=1"))
    model = model_io.from_proto(early)
    RaiseOpset().run(model, Context())
    model_io.check(model)
    known = onnx.parser.parse_model(text.replace("OPSET", "7").replace("MORE", ""))
    np.testing.assert_array_equal(Session(model).run(feeds)["y"], Session(known).run(feeds)["y"])


@pytest.mark.parametrize(
    ("opset", "body", "says"),
    [
        (1, "a, y = Split (x)", "does not say its axis"),
        (1, "n = Neg (sizes) a, y = Split <axis=3> (x, n)", "its sizes are not constant"),
        (1, "y = GlobalLpPool <p=1.5> (x)", "p=1.5 is no integer"),
        (5, "n = Neg (tiles) y = Tile (x, n, axis)", "tiles and axis are not constant"),
        (5, 'y = Cast <to="FLOAT99"> (x)', "'FLOAT99' is no type"),
        (6, "y = Add <broadcast=1, axis=3> (x, d)", "axis=3 does not fit a second input of rank 2"),
        (6, "y = Add <broadcast=1, axis=-1> (x, c)", "axis=-1 does not fit"),
        (6, "y = Dropout <is_test=0> (x)", "training mode"),
        (6, "y, m, v, a, b = BatchNormalization (x, c, c, c, c) z = Neg (m)", "training outputs are read"),
        (1, "y = Affine (x)", "opset 6 has no Affine"),
        (1, "y = LpPool (x)", "needs the attribute 'kernel_shape'"),
    ],
)
def test_what_has_no_equivalent_is_named(opset: int, body: str, says: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){says}.*re-export it at opset 13"):
        RaiseOpset().run(build(opset, body), Context())


def test_outputs_that_ship_with_the_models_inside_onnx() -> None:
    """Exports of 2017 and 2018, opset 6, with what the framework computed."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    paths = [path for path in sorted(folder.glob("pytorch-*/*/model.onnx")) if _opset(path) < 7]
    if not paths:
        pytest.skip(f"this onnx has no test models in {folder}")
    for path in paths:
        model = model_io.load(path)
        RaiseOpset().run(model, Context())
        model_io.check(model)
        feeds = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
        data = path.parent / "test_data_set_0"
        found = Session(model, optimize=False, threads=1).run(
            {str(value.name): _tensor(data / f"input_{i}.pb") for i, value in enumerate(feeds)}
        )
        for i, array in enumerate(found.values()):
            expected = _tensor(data / f"output_{i}.pb")
            assert array.shape == expected.shape, path
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5, err_msg=str(path))


def _opset(path: Path) -> int:
    return onnx.load(path).opset_import[0].version


def _tensor(path: Path) -> Array:
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
