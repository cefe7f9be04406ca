"""Measuring what a plan wants measured: one statistic a value, from which its range follows by the method.

A value that a Softmax reads and an output of the model keep their full range whatever the method: the
largest values decide there, and clipping them costs more than it saves (squeezenet11's last pool alone
takes the mse method from 23 to 16 dB).
"""

import onnx_ir as ir

from onnxq.calibration.ranges import Eq, Method, get_method
from onnxq.data.samples import Samples
from onnxq.errors import DataError
from onnxq.graph.match import consumers, is_op
from onnxq.graph.scopes import named_values
from onnxq.pipeline.context import Context
from onnxq.quant.output_search import Search, search_ranges
from onnxq.quant.plan import Plan
from onnxq.quant.resolve import Range

__all__ = ["measured_ranges"]


def measured_ranges(
    model: ir.Model, plan: Plan, method: Method, context: Context, search: Search | None = None
) -> dict[str, Range]:
    """Low and high of every value that ``plan`` wants measured, in float64.

    ``search`` shrinks full ranges by running the model, in place of :func:`search_ranges` for the method eq.

    Raises:
        DataError: samples are missing or do not fit, or statistics lack a value.
        ModelError: the model does not run.
        UsageError: the statistics at hand are not of the kind that the method reads.
    """
    if not plan.measured:
        return {}
    observed = context.observe(model, {name: method.wants() for name in plan.measured})
    values, whole = named_values(model), get_method("minmax")
    ranges: dict[str, Range] = {}
    for decision in plan.values:
        if decision.value in observed:
            chosen = whole if _unclipped(values[decision.value]) else method
            statistic = observed[decision.value]
            ranges[decision.value] = chosen.range(statistic, decision.format, symmetric=decision.symmetric)
    if search is None and isinstance(method, Eq):
        search = search_ranges
    if search is not None:
        clipped = {name: ends for name, ends in ranges.items() if not _unclipped(values[name])}
        ranges |= search(model, plan, clipped, _samples(context))
    return ranges


def _samples(context: Context) -> Samples:
    if context.samples is None:
        raise DataError("the method 'eq' runs the model on calibration samples: pass --data as well")
    return context.samples


def _unclipped(value: ir.Value) -> bool:
    return value.is_graph_output() or any(is_op(node, "Softmax", "LogSoftmax") for node in consumers(value))
