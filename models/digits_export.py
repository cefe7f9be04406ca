"""Export to ONNX, load a float model back, and measure what was exported."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from digits_data import Images, Labels
from torch import nn

OPSET = 17


def _strip(model: onnx.ModelProto) -> None:
    """Drop the doc strings and metadata: they hold the source paths of the exporting machine."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")


def export(model: nn.Module, path: Path) -> None:
    """Write `model` as a checked ONNX file with a symbolic batch axis.

    The TorchScript exporter is the one that turns fake quantizers into Q/DQ pairs,
    and PRESERVE keeps it from folding the batch normalizations.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PRESERVE on a model in eval mode, and the exporter's age
        torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 1, 8, 8),),
            path,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    exported = onnx.load(path)
    _strip(exported)
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from the initializers of its exported file, which keep PyTorch's names."""
    stored = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
    }
    wanted = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    model.load_state_dict({name: stored[name] for name in wanted}, strict=False)


def top1(path: Path, images: Images, labels: Labels) -> float:
    """Share of the images that ONNX Runtime classifies correctly with the file."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return float(np.mean(np.asarray(logits).argmax(axis=1) == labels))
