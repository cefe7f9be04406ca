"""Which layers a pass may tune, and in which order."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.errors import DataError
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.context import Context
from onnxq.rounding.sites import Site, depths, find_site, levels, linear_nodes
from onnxq.rounding.twin import tuned_by
from onnxq.words import plural

__all__ = ["FewSamplesWarning", "Schedule", "find_sites", "need_samples", "plan_schedule"]

FEW = 8

_ROUND_BYTES = 2**28
"""Sums over the rows of the layers that are measured together."""


class FewSamplesWarning(UserWarning):
    """There are so few samples that what is learned from them may not hold for others."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """Layers in an order in which each follows those it depends on.

    ``rounds`` are ranges of positions in it that are measured together: layers that do not depend on each
    other. More at a time would learn to make up for errors that the layers before them lose meanwhile.
    A round whose matrices of products would not fit into memory together is cut. ``depth`` says how many
    layers lie before a value.
    """

    layers: tuple[Site, ...]
    rounds: tuple[range, ...]
    depth: Mapping[ir.Value, int]


def find_sites(rw: Rewriter) -> list[Site]:
    """The layers to tune; those left alone are skipped with their reason.

    None at all where a pass has tuned the model before: the float values to learn from are gone.
    """
    if (before := tuned_by(rw.model)) is not None:
        rw.skip("the model", f"{before} has changed the weights or biases that this pass would learn from")
        return []
    sites: list[Site] = []
    for node in linear_nodes(rw.model):
        found = find_site(node, rw.model)
        if isinstance(found, str):
            rw.skip(node, found)
        else:
            sites.append(found)
    return sites


def plan_schedule(model: ir.Model, sites: list[Site]) -> Schedule:
    """The order for some layers of a model."""
    depth = depths(model, sites)
    layers: list[Site] = []
    rounds: list[range] = []
    for group in (part for level in levels(sites, depth) for part in _fitting(level)):
        rounds.append(range(len(layers), len(layers) + len(group)))
        layers += group
    return Schedule(tuple(layers), tuple(rounds), depth)


def _fitting(level: list[Site]) -> Iterator[list[Site]]:
    """The sites of a level in parts of bounded memory; one site at least."""
    part: list[Site] = []
    room = _ROUND_BYTES
    for site in level:
        groups, outputs, inputs = site.matrices(site.weight).shape
        need = 2 * 8 * groups * inputs * (inputs + outputs)
        if part and need > room:
            yield part
            part, room = [], _ROUND_BYTES
        part, room = [*part, site], room - need
    yield part


def need_samples(context: Context, what: str) -> Samples:
    """The calibration samples, with a warning where there are few.

    Raises:
        DataError: there are none.
    """
    if context.samples is None or not len(context.samples):
        raise DataError(f"{what} learns from calibration samples, but none were given: pass --data FOLDER")
    if (count := len(context.samples)) < FEW:
        warnings.warn(
            f"{what} learns from {plural(count, 'calibration sample')} only: what fits them may not fit "
            "others, and what the few held back do not confirm is not changed; 32 or more are better",
            FewSamplesWarning,
            stacklevel=2,
        )
    return context.samples
