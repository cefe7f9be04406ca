"""Changes of ONNX operators that their schemas do not show, between the opsets 13 and 26.

Most new versions of an operator only allow more dtypes or add an attribute with a neutral default; comparing
the schemas finds whether a node uses that. The rest is listed here by hand, from the documentation of the
operators: what a node means, or whether it is valid, changes while its signature stays the same.

| operator | at | what changed |
|---|---|---|
| RoiAlign | 16 | the default coordinates were ``output_half_pixel``, are ``half_pixel`` |
| Split | 18 | without the input ``split`` it needs ``num_outputs`` |
| ScatterElements, ScatterND | 18 | ``reduction`` may be ``max``, ``min`` |
| Pad | 19 | ``mode`` may be ``wrap`` |
| Resize | 19 | ``coordinate_transformation_mode`` may be ``half_pixel_symmetric`` |
| DFT | 20 | the default axis was 1, is -2 |
| GridSample | 20 | ``bilinear`` and ``bicubic`` are now called ``linear`` and ``cubic`` |
| GroupNormalization | 21 | ``scale`` and ``bias`` were one number a group, are one a channel |
| AveragePool, MaxPool | 22 | with ``ceil_mode``, windows that start in the padding at the end are dropped |

Source: https://onnx.ai/onnx/operators (the versions of each operator) and the repository's Changelog.md.
"""

from collections.abc import Callable, Mapping
from itertools import repeat

import onnx_ir as ir

from onnxq.graph.match import get_input

__all__ = ["KNOWN_OPSETS", "changed_meaning"]

KNOWN_OPSETS = range(13, 27)
"""The opsets whose differences are known here: 26 is the highest that ONNX Runtime loads today."""


def changed_meaning(node: ir.Node, one: int, other: int) -> str | None:
    """Why a node does not mean the same at two opsets although its signature fits both; None if it does."""
    low, high = sorted((one, other))
    for at, check in _CHANGES.get(node.op_type, ()):
        if low < at <= high and (reason := check(node)) is not None:
            return reason
    return None


def _always(reason: str) -> Callable[[ir.Node], str | None]:
    return lambda node: reason


def _uses(name: str, *values: str) -> Callable[[ir.Node], str | None]:
    """Objects to nodes whose attribute ``name`` has one of ``values`` (or is not known)."""

    def check(node: ir.Node) -> str | None:
        attribute = node.attributes.get(name)
        if attribute is None:
            return None
        text = "unknown" if attribute.is_ref() else attribute.as_string()
        return f"{name}='{text}' exists in one of the two only" if text in (*values, "unknown") else None

    return check


def _roi_align(node: ir.Node) -> str | None:
    mode = node.attributes.get_string("coordinate_transformation_mode")
    return None if mode == "output_half_pixel" else "its default coordinate_transformation_mode changed"


def _split(node: ir.Node) -> str | None:
    given = get_input(node, 1) is not None or "num_outputs" in node.attributes
    return None if given else "from opset 18 on it needs the input 'split' or the attribute 'num_outputs'"


def _window_in_padding(node: ir.Node) -> str | None:
    """Rounding up makes a window start in the padding behind the data only where stride + pad > kernel."""
    if not node.attributes.get_int("ceil_mode", 0):
        return None
    kernel = list(node.attributes.get_ints("kernel_shape") or ())
    dilations = node.attributes.get_ints("dilations") or repeat(1)
    strides = node.attributes.get_ints("strides") or repeat(1)
    pads = list(node.attributes.get_ints("pads") or (0,) * 2 * len(kernel))[len(kernel) :]
    extents = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=False)]
    if all(step + pad <= extent for step, pad, extent in zip(strides, pads, extents, strict=False)):
        return None
    return "ceil_mode may put a window into the padding, which newer opsets drop"


_CHANGES: Mapping[str, tuple[tuple[int, Callable[[ir.Node], str | None]], ...]] = {
    "AveragePool": ((22, _window_in_padding),),
    "DFT": ((20, _always("its axis became an input with another default")),),
    "GridSample": ((20, _uses("mode", "bilinear", "bicubic", "linear", "cubic")),),
    "GroupNormalization": ((21, _always("its scale and bias became one number a channel")),),
    "MaxPool": ((22, _window_in_padding),),
    "Pad": ((19, _uses("mode", "wrap")),),
    "Resize": ((19, _uses("coordinate_transformation_mode", "half_pixel_symmetric")),),
    "RoiAlign": ((16, _roi_align),),
    "ScatterElements": ((18, _uses("reduction", "max", "min")),),
    "ScatterND": ((18, _uses("reduction", "max", "min")),),
    "Split": ((18, _split),),
}
