"""What an ONNX file must say about itself before anything of it is used."""

import onnx

from onnxq.errors import ModelError

__all__ = ["check_header"]

_FIRST_WITH_OPSETS = 3


def check_header(proto: onnx.ModelProto) -> None:
    """Refuse what is no model, too new for the onnx that is installed, or would be lost without a word.

    Raises:
        ModelError: names what is missing or not known.
    """
    if not proto.ir_version or not proto.HasField("graph"):
        raise ModelError("it is not an ONNX model (no graph, or no IR version)")
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"its IR version {proto.ir_version} is newer than {onnx.IR_VERSION}, the newest that onnx "
            f"{onnx.__version__} knows; update onnx or export it for an older one"
        )
    if not proto.graph.output:
        raise ModelError("its graph has no output")
    if not proto.opset_import and proto.ir_version >= _FIRST_WITH_OPSETS:
        raise ModelError("it does not say of which opset its operators are (no opset_import)")
    known = onnx.defs.onnx_opset_version()
    opsets = [(entry.domain, entry.version) for entry in proto.opset_import]
    for domain, version in opsets + [(e.domain, e.version) for f in proto.functions for e in f.opset_import]:
        if domain in ("", "ai.onnx") and not 1 <= version <= known:
            raise ModelError(
                f"its opset {version} is not known: onnx {onnx.__version__} knows 1 to {known}; "
                f"update onnx or export it for an older opset"
            )
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise ModelError(f"initializer '{name}' is sparse, which is not supported; make it dense")
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_reference(tensor)


def _check_reference(tensor: onnx.TensorProto) -> None:
    """Offsets that are no numbers: onnx-ir would stumble over them without a word on which tensor it is."""
    for entry in tensor.external_data:
        if entry.key in ("offset", "length") and not (entry.value.isdecimal() and entry.value.isascii()):
            raise ModelError(f"tensor '{tensor.name}': its {entry.key} '{entry.value}' is no number of bytes")
