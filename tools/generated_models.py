"""Networks with random weights as evaluation models: their samples, and their score.

They show what integers cost and save at the sizes that people deploy; what they compute means nothing, so
their score is how close the outputs stay to the float model's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from networks import SEQUENCE, VOCABULARY, bert_base, bert_layer, resnet18, resnet50
from zoo_loader import Entry, Feeds, load_zoo

from onnxq.graph.numeric import FloatArray

__all__ = ["load", "require"]


@dataclass(frozen=True)
class Generated:
    """A generated model as an evaluation model: random samples, and the outputs' fidelity as score."""

    name: str
    float_model: Path
    sample: Callable[[np.random.Generator], Feeds]

    @classmethod
    def write(cls, name: str, folder: Path) -> "Generated":
        """Write the model's file, unless the folder holds it."""
        make, sample = GENERATED[name]
        path = folder / f"{name}.onnx"
        if not path.is_file():
            onnx.save(make(), path)
        return cls(name, path, sample)

    def calibration(self, n: int, seed: int = 0) -> Iterator[Feeds]:
        """``n`` samples; the seed of :meth:`evaluate` is another."""
        random = np.random.default_rng(seed)
        return (self.sample(random) for _ in range(n))

    def evaluate(
        self, model_path: Path, *, threads: int = 2, limit: int | None = None, optimize: bool = True
    ) -> dict[str, Any]:
        """The mean cosine of the outputs with the float model's, at most 8 samples."""
        samples = list(self.calibration(min(limit or 8, 8), seed=1))
        exact = _outputs(self.float_model, samples, threads, optimize=True)
        found = _outputs(model_path, samples, threads, optimize=optimize)
        cosines = [
            float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in zip(exact, found, strict=True)
        ]
        return {"metric_name": "cosine", "metric": float(np.mean(cosines)), "float_metric": 1.0}


def _outputs(path: Path, samples: Sequence[Feeds], threads: int, *, optimize: bool) -> list[FloatArray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(sample))[0].ravel().astype(np.float64) for sample in samples]


def _image(random: np.random.Generator) -> Feeds:
    """Random squares of 8 x 8 with noise on them: neighbours are alike, as in photographs."""
    coarse = random.normal(size=(1, 3, 28, 28)).repeat(8, axis=2).repeat(8, axis=3)
    fine = random.normal(size=(1, 3, 224, 224))
    return {"image": (coarse + 0.3 * fine).astype(np.float32)}


def _words(random: np.random.Generator) -> Feeds:
    length = int(random.integers(SEQUENCE // 2, SEQUENCE + 1))
    mask = (np.arange(SEQUENCE) < length).astype(np.int64)[None]
    return {"input_ids": random.integers(0, VOCABULARY, (1, SEQUENCE)) * mask, "attention_mask": mask}


def _vectors(random: np.random.Generator) -> Feeds:
    return {"words": random.normal(size=(1, SEQUENCE, 768)).astype(np.float32)}


GENERATED: Mapping[str, tuple[Callable[[], onnx.ModelProto], Callable[[np.random.Generator], Feeds]]] = {
    "resnet18_shape": (resnet18, _image),
    "resnet50_shape": (resnet50, _image),
    "bert_layer_shape": (bert_layer, _vectors),
    "bert_base_shape": (bert_base, _words),
}
"""How to write each model, and how to draw a sample for it."""


def require(names: Iterable[str], zoo: Path) -> None:
    """End the program if one of ``names`` is not generated and there is no ``zoo``: before long work."""
    if any(name not in GENERATED for name in names):
        load_zoo(zoo)


def load(name: str, zoo: Path, folder: Path) -> Entry:
    """An evaluation model of the folder ``zoo``, or a generated one, which is written to ``folder``."""
    if name in GENERATED:
        return Generated.write(name, folder)
    entry: Entry = load_zoo(zoo).load(name)
    return entry
