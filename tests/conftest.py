"""Fixtures of all tests: ``rewrite`` proves one rewriting, ``zoo`` gives the evaluation models."""

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import settings
from zoo_loader import load_zoo

from onnxq.graph.numeric import Array
from onnxq.graph.outline import outline
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import RunReport, run_pipeline
from onnxq.pipeline.spec import parse

settings.register_profile("onnxq", deadline=None)  # a busy machine is no defect
settings.load_profile("onnxq")

OPSET, IR_VERSION, SYMBOLIC_DIM = 21, 10, 2


def pytest_addoption(parser: pytest.Parser) -> None:
    default = Path(__file__).resolve().parents[2] / "shared" / "zoo"
    parser.addoption("--zoo", type=Path, default=default, help="folder of evaluation models")


@pytest.fixture(scope="session")
def zoo(request: pytest.FixtureRequest) -> ModuleType:
    """The module ``zoo`` of the evaluation models; tests skip where they are absent."""
    file = request.config.getoption("--zoo") / "zoo.py"
    if not file.is_file():
        pytest.skip(f"no evaluation models: {file} does not exist (see --zoo)")
    return load_zoo(file.parent)


@pytest.fixture
def onnx_text() -> Callable[..., ir.Model]:
    """``onnx_text(text, opset=None)``: the model that ONNX text describes, as ``rewrite`` builds it."""
    return lambda text, opset=None: ir.from_proto(_model(text, opset))


@pytest.fixture
def rewrite() -> Callable[..., Outcome]:
    """``rewrite(pipeline, before=, after=)`` runs a textual pipeline on ONNX text and checks the result.

    ``before`` and ``after`` are a graph (opset 21) or a whole model with its functions. Weights that are
    declared without a value, as in ``<float[4,3] W>``, get seeded ones: positive for ``var`` and ``scale``.
    Passes see the types that the text declares, or inferred ones too with ``types=True``.
    ``after=None`` says that nothing may change.

    Checked: onnx.checker in full; the structure is that of ``after``; ``modified`` is honest; a second run
    changes nothing; ONNX Runtime, optimizations off, agrees before and after on seeded feeds (or ``feeds``)
    within ``rtol`` and ``atol``. ``rtol=None`` leaves out that comparison, for passes that change values.
    """
    return _rewrite


def _rewrite(
    pipeline: str,
    before: str,
    after: str | None,
    *,
    rtol: float | None = 1e-5,
    atol: float = 1e-5,
    opset: int | None = None,
    feeds: Mapping[str, Array] | None = None,
    types: bool = False,
    context: Context | None = None,
) -> Outcome:
    proto = _model(before, opset)
    onnx.checker.check_model(proto, full_check=True)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto) if types else proto)
    was_bytes, was = _bytes(model), _canonical(model)
    result = _run(pipeline, model, context)
    made = ir.to_proto(result.model)
    onnx.checker.check_model(made, full_check=True)
    now = _canonical(result.model)
    if after is None:
        assert now == was, "the pipeline must leave this graph alone"
        assert _bytes(result.model) == was_bytes, "the structure is the same but the bytes are not"
        assert result.edits == 0, "nothing changed, yet the pass counts edits"
    else:
        assert now == _canonical(ir.from_proto(_model(after, opset)))
        assert result.edits > 0, "the graph changed, yet the pass counts no edit"
    if rtol is not None:
        _assert_same_values(proto, made, feeds or {}, rtol, atol)
    again = _run(pipeline, result.model, context)
    assert again.edits == 0, f"a second run edits again:\n{now}=>\n{_canonical(again.model)}"
    return Outcome(result.model, result.edits, result.skips)


def _run(pipeline: str, model: ir.Model, context: Context | None) -> RunReport:
    return run_pipeline(model, parse(pipeline), context or Context())


def _canonical(model: ir.Model) -> str:
    return outline(model, canonical=True)


def _bytes(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def _model(text: str, opset: int | None) -> onnx.ModelProto:
    if text.lstrip().startswith("<"):
        model = onnx.parser.parse_model(text)
    else:
        model = onnx.helper.make_model(onnx.parser.parse_graph(text), ir_version=IR_VERSION)
        del model.opset_import[:]
        others = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
        imports = [("", opset or OPSET), *((domain, 1) for domain in sorted(others))]
        model.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in imports)
    _fill_weights(model.graph)
    return model


def _fill_weights(graph: onnx.GraphProto) -> None:
    made = {name for node in graph.node for name in node.output} | {
        tensor.name for tensor in graph.initializer
    }
    for info in [info for info in graph.value_info if info.name not in made]:
        graph.initializer.append(onnx.numpy_helper.from_array(_array(info), info.name))
        graph.value_info.remove(info)


def _array(info: onnx.ValueInfoProto) -> Array:
    """Seeded by the name alone, so that it is the same in every graph."""
    rng = np.random.default_rng(zlib.crc32(info.name.encode()))
    kind = info.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else SYMBOLIC_DIM for dim in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind in "bui":
        high = 100 if dtype.itemsize == 1 and dtype.kind != "b" else 2
        return rng.integers(0, high, shape).astype(dtype)
    positive = re.search("var|scale", info.name) is not None
    return (rng.uniform(0.5, 1.5, shape) if positive else rng.standard_normal(shape)).astype(dtype)


def _assert_same_values(
    before: onnx.ModelProto, after: onnx.ModelProto, feeds: Mapping[str, Array], rtol: float, atol: float
) -> None:
    optional = {tensor.name for tensor in before.graph.initializer}
    drawn = {info.name: _array(info) for info in before.graph.input if info.name not in optional}
    was, now = (_outputs(model, drawn | dict(feeds)) for model in (before, after))
    assert list(now) == list(was), "the outputs of the model are not the same or in another order"
    for name, expected in was.items():
        assert not (expected.dtype.kind == "f" and np.isnan(expected).any()), (
            f"'{name}' is NaN: proves nothing"
        )
        assert now[name].dtype == expected.dtype, name
        np.testing.assert_allclose(now[name], expected, rtol=rtol, atol=atol, err_msg=f"output '{name}'")


def _outputs(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))
