"""A model taken apart into pieces between the values that quantization rounds, each an ONNX model of its own.

    pieces = split(model, cuts=["conv1_out", "add3_out"])

Pieces are runs of neighbouring nodes in graph order, so that they never wait for each other in a circle. A
piece ends behind every node that makes a cut value, and before a node that reads a cut value which another
node of the piece has read: so each piece reads a cut value for one node, and may be given it rounded or not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.graph.numeric import Array

__all__ = ["Piece", "split"]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some nodes, the values that flow into them, the constants they hold, and the values they give.

    ``nodes`` are the names of the nodes' first outputs.
    """

    index: int
    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    constants: Mapping[str, onnx.TensorProto]
    makes: tuple[str, ...]
    readers: Mapping[str, frozenset[str]]
    """For each value or constant the nodes, by first output, that read it."""
    _protos: Sequence[onnx.NodeProto] = field(repr=False)
    _whole: "_Whole" = field(repr=False)

    def model(self, ranks: Mapping[str, int], replaced: Mapping[str, Array]) -> onnx.ModelProto:
        """The piece as a model: ``ranks`` of what flows in, ``replaced`` constants by their names."""
        graph = onnx.GraphProto(name=f"piece{self.index}", node=self._protos)
        graph.input.extend(self._whole.info(name, ranks[name]) for name in self.reads)
        graph.output.extend(self._whole.info(name, None) for name in self.makes)
        for name, tensor in self.constants.items():
            new = replaced.get(name)
            graph.initializer.append(tensor if new is None else onnx.numpy_helper.from_array(new, name))
        made = onnx.ModelProto()
        made.CopyFrom(self._whole.shell)
        made.graph.CopyFrom(graph)
        return made


@dataclass(frozen=True, eq=False)
class _Whole:
    """What the pieces need of the model: opsets and functions, types and shapes of values."""

    shell: onnx.ModelProto
    values: Mapping[str, ir.Value]

    def info(self, name: str, rank: int | None) -> onnx.ValueInfoProto:
        value = self.values[name]
        if value.dtype is None or not isinstance(value.type, ir.TensorType):
            raise ModelError(f"the type of '{name}' is {value.type}: run the prepare preset first")
        shape: list[int | None] | None = None if rank is None else [None] * rank
        if rank is not None and value.shape is not None and len(value.shape) == rank:
            shape = [dim if isinstance(dim, int) else None for dim in value.shape]
        return onnx.helper.make_tensor_value_info(name, int(value.dtype), shape)


def split(model: ir.Model, cuts: Collection[str]) -> list[Piece]:
    """The pieces of the main graph in its order; together they compute what the model does.

    Raises:
        ModelError: the type of a value between two pieces is not known, or the model exceeds 2 GB.
    """
    proto = model_io.to_proto(model)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    protos = list(proto.graph.node)
    outputs = {output.name for output in proto.graph.output}
    reads = [list(dict.fromkeys(_reads(node))) for node in protos]
    runs = list(_runs(protos, reads, frozenset(cuts)))
    whole = _Whole(_shell(proto), _values(model))
    wanted = [{name for i in run for name in reads[i]} for run in runs]
    later: list[set[str]] = [set(outputs)]
    for names in reversed(wanted):
        later.append(later[-1] | names)
    later.reverse()
    return [
        _piece(index, [protos[i] for i in run], [reads[i] for i in run], later[index + 1], constants, whole)
        for index, run in enumerate(runs)
    ]


def _runs(
    protos: Sequence[onnx.NodeProto], reads: Sequence[Sequence[str]], cuts: frozenset[str]
) -> Iterator[list[int]]:
    run: list[int] = []
    seen: set[str] = set()
    for i, node in enumerate(protos):
        cut_reads = cuts.intersection(reads[i])
        if run and seen & cut_reads:
            yield run
            run, seen = [], set()
        run.append(i)
        seen |= cut_reads
        if cuts.intersection(node.output):
            yield run
            run, seen = [], set()
    if run:
        yield run


def _piece(
    index: int,
    protos: Sequence[onnx.NodeProto],
    reads: Sequence[Sequence[str]],
    later: set[str],
    constants: Mapping[str, onnx.TensorProto],
    whole: _Whole,
) -> Piece:
    made = {name for node in protos for name in node.output if name}
    names = list(dict.fromkeys(name for each in reads for name in each if name not in made))
    readers: dict[str, set[str]] = {}
    for node, each in zip(protos, reads, strict=True):
        first = next((name for name in node.output if name), node.name)
        for name in each:
            readers.setdefault(name, set()).add(first)
    return Piece(
        index,
        tuple(next((name for name in node.output if name), node.name) for node in protos),
        tuple(name for name in names if name not in constants),
        {name: constants[name] for name in names if name in constants},
        tuple(name for node in protos for name in node.output if name in later and name),
        {name: frozenset(nodes) for name, nodes in readers.items()},
        protos,
        whole,
    )


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node and its bodies read from outside; ONNX forbids bodies to shadow names."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            own = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
            own |= {name for inner in graph.node for name in inner.output}
            inner_reads = [name for inner in graph.node for name in _reads(inner)]
            yield from (name for name in [*inner_reads, *(o.name for o in graph.output)] if name not in own)


def _shell(proto: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions
    )


def _values(model: ir.Model) -> dict[str, ir.Value]:
    """Values of the main graph by name."""
    graph = model.graph
    made = (output for node in graph for output in node.outputs)
    return {v.name: v for v in (*graph.inputs, *graph.initializers.values(), *made) if v.name}
