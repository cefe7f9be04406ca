"""How a model was made, written into the model: the same inputs give the same stamp, so the same bytes."""

import onnx_ir as ir

__all__ = ["stamp"]


def stamp(model: ir.Model, pipeline: str, version: str, input_sha256: str) -> None:
    """Set ``onnxq.pipeline``, ``onnxq.version`` and ``onnxq.input_sha256`` in the model's metadata.

    A model that already bears a stamp was made in two runs: the pipelines are joined in their order, and the
    hash stays that of the first input.
    """
    properties = model.metadata_props
    earlier = properties.get("onnxq.pipeline")
    properties["onnxq.pipeline"] = f"{earlier}, {pipeline}" if earlier else pipeline
    properties["onnxq.version"] = version
    properties.setdefault("onnxq.input_sha256", input_sha256)
