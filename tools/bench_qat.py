"""Models that were trained with quantization in the loop: what of them is left in each form?

    python tools/bench_qat.py [--models kws_dscnn,digits_cnn_qat] [--forms qdq,integer] [--limit 100]

Each model is imported, its trained ranges are kept, and it is lowered to Q/DQ, QOperator and strict integers,
for which insert-qdq fills the gaps. Columns: the task's metric, all graphs computed as they are written; the
share of numbers in the output that are the original's, and of samples with the same decision; the size beside
that of the float twin; the weights that are still float.

"other kernels" is the original against itself, in the float kernels that ONNX Runtime fuses: they sum in
another order, which moves a code where a sum lies next to a tie, and a deep network spreads that. Where our
share is about as high, nothing was lost. Needs a folder of evaluation models with a ``zoo.py`` (``--zoo``).
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
from zoo_loader import add_zoo_option, load_zoo

from onnxq import api, model_io
from onnxq.data.codes import convert, read_codes
from onnxq.errors import OnnxqError
from onnxq.graph.match import constant, is_op
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import all_nodes
from onnxq.quant.operators import LINEAR, operands
from onnxq.quant.qdq import dequantized

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = "digits_cnn_qat"
ORIGINAL, NOISE = "original", "other kernels"

FORMS = {
    "qdq": "prepare, fold-fake-quant, expand-new-operators{opset=19}, finish",
    "qdq-float-bias": "prepare, fold-fake-quant{bias=float32}, expand-new-operators{opset=19}, finish",
    "qoperator": "prepare, fold-fake-quant, expand-new-operators{opset=19}, qoperator",
    "integer": "prepare, insert-qdq, fold-fake-quant{bias=float32}, lower",
}

EQUAL = 1e-4
"""Codes of 8 bits are further apart than this part of the largest number."""


@dataclass(frozen=True)
class Trained:
    """A trained model, the file that says what it computes, its float twin, and data."""

    name: str
    path: Path
    reference: Path
    twin: Path
    calibration: list[dict[str, Array]]
    images: list[dict[str, Array]]
    labels: Array | None = None
    entry: Any = None

    def score(self, path: Path, answers: list[Array], limit: int | None) -> float:
        """The task's metric; of the embedded model the answers are at hand."""
        if self.labels is not None:
            return float(np.mean(np.concatenate(answers).argmax(axis=1) == self.labels))
        found: float = self.entry.evaluate(path, limit=limit, threads=1, optimize=False)["metric"]
        return found


def embedded() -> Trained:
    """The CNN in ``models``, on all its test images."""
    folder = ROOT / "models"
    test, labels = (np.load(folder / "digits" / f"{name}.npy") for name in ("test", "test_labels"))
    given = [{"image": np.load(folder / "digits" / "calibration.npy")}]
    path = folder / f"{EMBEDDED}.onnx"
    return Trained(EMBEDDED, path, path, folder / "digits_cnn.onnx", given, [{"image": test}], labels)


def from_zoo(zoo: ModuleType, name: str, samples: int) -> Trained:
    """An evaluation model that has a trained file."""
    entry = zoo.load(name)
    path = Path(entry.qat_models[0])
    given, drawn = (list(entry.calibration(samples, seed=seed)) for seed in (0, 1))
    return Trained(
        name, path, Path(entry.reference or path), Path(entry.float_model), given, drawn, None, entry
    )


def fuse_floats(path: Path, made: Path) -> Path:
    """Let ONNX Runtime write the model with its own float operators in it, all Q/DQ kept."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(made)
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return made


def answers(path: Path, samples: list[dict[str, Array]]) -> list[Array]:
    """The first output for every sample in real numbers, the graph computed as it is written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    output = session.get_outputs()[0].name
    codes = read_codes(metadata, output)
    found = [session.run([output], _feeds(session, sample, metadata))[0] for sample in samples]
    return [np.asarray(y) if codes is None else codes.dequantize(y) for y in found]


def _feeds(session: Any, sample: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, Array]:
    kinds = {"tensor(int8)": np.dtype(np.int8), "tensor(uint8)": np.dtype(np.uint8)}
    ports = {port.name: kinds.get(port.type, sample[port.name].dtype) for port in session.get_inputs()}
    return {
        name: convert(sample[name], dtype, read_codes(metadata, name), name) for name, dtype in ports.items()
    }


def equal(ours: list[Array], theirs: list[Array]) -> float:
    """The share of numbers that are the same code."""
    same = [
        np.abs(a.reshape(-1) - b.reshape(-1).astype(np.float64)) <= EQUAL * np.abs(b).max()
        for a, b in zip(ours, theirs, strict=True)
    ]
    return float(np.mean(np.concatenate(same)))


def decided(ours: list[Array], theirs: list[Array]) -> float:
    """The share of samples whose largest number is at the same place."""
    classes = theirs[0].shape[-1]
    a, b = (
        np.concatenate([y.reshape(-1, classes) for y in group]).argmax(axis=1) for group in (ours, theirs)
    )
    return float(np.mean(a == b))


def float_weights(path: Path) -> int:
    """Linear operators whose constant weight is no code behind a DequantizeLinear."""
    count = 0
    for node in all_nodes(model_io.load(path)):
        index = operands(node).weight if is_op(node, *LINEAR) else None
        found = None if index is None else dequantized(node.inputs[index])
        count += index is not None and (found is None or constant(found[0].inputs[0]) is None)
    return count


def rows(model: Trained, forms: list[str], limit: int | None, folder: Path) -> None:
    """Print the original and every form of one model."""
    theirs = answers(model.reference, model.images)
    size = model.twin.stat().st_size

    def show(form: str, path: Path, floats: str) -> None:
        ours = answers(path, model.images)
        score = model.score(path, ours, limit)
        shares = f"{100 * equal(ours, theirs):9.3f}% {100 * decided(ours, theirs):9.2f}%"
        ratio = 100 * path.stat().st_size / size
        print(f"{model.name:26} {form:15} {score:8.4f} {shares} {ratio:7.1f}% {floats:>7}", flush=True)

    show(ORIGINAL, model.reference, "")
    show(NOISE, fuse_floats(model.reference, folder / f"{model.name}.onnx"), "")
    for form in forms:
        path = folder / f"{model.name}.{form}.onnx"
        try:
            model_io.save(api.run(model.path, FORMS[form], model.calibration).model, path)
        except OnnxqError as error:
            print(f"{model.name:26} {form:15} {str(error).splitlines()[0]}", flush=True)
            continue
        show(form, path, str(float_weights(path)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Trained models in each form.")
    add_zoo_option(parser)
    parser.add_argument("--models", default="", help="names, separated by commas; default all")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"default {','.join(FORMS)}")
    parser.add_argument("--samples", type=int, default=50, help="samples whose outputs are compared")
    parser.add_argument("--limit", type=int, help="evaluation samples of the metric; default all")
    args = parser.parse_args()
    zoo = load_zoo(args.zoo) if args.models != EMBEDDED else None
    trained = [n for n in zoo.names() if zoo.load(n).qat_models] if zoo is not None else []
    names = args.models.split(",") if args.models else [EMBEDDED, *trained]
    if unknown := [name for name in names if name not in (EMBEDDED, *trained)]:
        parser.error(f"no trained model {unknown[0]!r}; there are {', '.join((EMBEDDED, *trained))}")
    print(f"{'model':26} {'form':15} {'metric':>8} {'equal':>10} {'decisions':>10} {'size':>8} {'floats':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model = embedded() if name == EMBEDDED else from_zoo(zoo, name, args.samples)  # type: ignore[arg-type]
            rows(model, args.forms.split(","), args.limit, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
