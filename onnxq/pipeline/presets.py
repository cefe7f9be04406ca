"""Presets: names for pipeline texts. A preset may stand wherever a pass may, other presets included."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A pipeline text and one line on what it is for."""

    text: str
    description: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "import": Preset(
            "freeze-inputs, inline-functions, lift-constants, simplify, raise-opset, lift-constants, "
            "infer-shapes",
            "any model becomes one graph of opset 19 or newer with constants as initializers and known types",
        ),
        "clean": Preset(
            "eliminate-identity, eliminate-dropout, eliminate-noop-arithmetic, eliminate-noop-cast, "
            "eliminate-noop-pad, eliminate-noop-reshape, eliminate-noop-slice, eliminate-noop-transpose, "
            "eliminate-single-input, merge-transposes",
            "operators that do nothing vanish",
        ),
        "fold": Preset(
            "fuse-pad-into-conv, fold-bn-into-conv, fold-bn-into-conv-transpose, fold-bn-into-gemm, "
            "fold-mul-into-conv, fold-add-into-conv, fold-bn-before-conv, fold-bn-before-gemm",
            "per-channel arithmetic moves into the weights and biases beside it",
        ),
        "fuse": Preset(
            "fuse-layer-norm, fuse-rms-norm, fuse-hard-sigmoid, fuse-hard-swish, fuse-gelu, fuse-silu",
            "functions that an exporter took apart become one operator again",
        ),
        "finish": Preset(
            "deduplicate-initializers, eliminate-dead-nodes, infer-shapes",
            "equal constants become one, what nobody reads vanishes, types are complete",
        ),
        "prepare": Preset(
            "import, repeat(clean, fold){max=5}, fuse, expand-batch-norm, finish",
            "all that comes before quantization and keeps every value",
        ),
        "lower": Preset("fuse, lower-integer, finish", "Q/DQ becomes strict integers"),
    }
)
