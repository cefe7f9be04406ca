"""Targets: what a backend accepts, as data. One TOML file a target, next to this module.

    extends = "generic-int8"      # optional: take all facts of another target, this file says what differs
    name = "my-npu"
    summary = "one line for the table of targets"
    form = "qdq"                  # what it reads: Q/DQ or strict integers ("integer")
    opset = 19                    # of the Q/DQ model that is written, unless 16-bit values need 21
    ir_version = 9

    [activation]                  # every value that is computed at run time
    dtype = "uint8"
    also = ["uint16"]             # dtypes that a recipe or option may choose instead
    symmetric = false             # zero point 0 (of unsigned dtypes: the middle)
    power_of_two = false
    recurrent_bits = 16           # optional: of the values in a recurrent cell that is written out

    [weight]
    dtype = "int8"                # zero point 0, codes −127 … 127; "int7" leaves a bit for slow hardware
    per_channel = ["Conv", …]     # operators whose weights have one scale per output channel
    power_of_two = false

    [bias]
    dtype = "int32"               # at scale s_x·s_w; or "float32": biases get no Q/DQ

    [arithmetic]
    rounding = "half-even"        # how sums become codes: half-even, half-up or half-away

    [operators]                   # each operator has one kind; what no list names stays float
    compute = ["Conv", …]         # inputs and outputs each have a scale of their own
    move = ["MaxPool", …]         # codes pass through unchanged: inputs and output share one scale
    float = ["Tanh", …]           # with extends: not on integers here
    fuse_activation = ["Conv", …] # a Relu or Clip behind these only narrows their output's range
    fuse_mask = ["Softmax"]       # a mask of huge numbers in front of these is part of the operator
    neighbours = ["Add", …]       # on integers only where more of the nodes around are than are not
    float_output = ["MatMul", …]  # its sums may leave as float: no Q/DQ where only float nodes read them
    fuse_sum = ["Conv", …]        # an Add that alone reads their sums takes one as float: no Q/DQ between
    split = ["Swish"]             # written as older operators before Q/DQ is placed

    [fixed_range]                 # functions whose output range needs no measuring: [low, high),
    Softmax = [0.0, 1.0]          # scale = (high − low) / 2^bits; the code of high itself is left out

    [layout]
    float_tail = true             # layout operators in front of an output stay float
    wide_tail = false             # box decoding in front of an output gets 16 bits, where it is not float
    static_shapes = false         # every axis of every input must be a number

    [runtime]
    engine = "none"               # whose fusions ``onnxq explain`` predicts: none or onnxruntime-cpu
    slow = ["int8*int8"]          # activation*weight dtypes whose kernels are slower than float
    saturates = false             # pairs of u8·s8 products are added in int16 (x86 before VNNI)

    [facts]                       # where a fact comes from: key = "verified: source" or "assumed"
    activation = "verified: …"

Lists of ``[operators]`` in a file that extends another add to the inherited ones: an operator that is named
changes its kind. Every other key replaces the inherited one. Facts are not inherited.
A user's own file is given by path wherever a name is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeAlias

from onnxq.errors import TargetError
from onnxq.quant.formats import IntFormat
from onnxq.suggest import did_you_mean

__all__ = ["KINDS", "Range", "Target", "load_target", "parse_target", "target_names"]

Range: TypeAlias = tuple[float, float]

KINDS = ("compute", "move", "float")
"""The lists of operators that exclude each other."""


@dataclass(frozen=True)
class Target:
    """What a backend accepts; see the module for the meaning of each field."""

    name: str
    summary: str
    form: str
    opset: int
    ir_version: int
    activation: IntFormat
    weight: IntFormat
    compute: frozenset[str]
    move: frozenset[str]
    per_channel: frozenset[str]
    fuse_activation: frozenset[str]
    fixed_range: Mapping[str, Range] = field(default_factory=dict)
    symmetric: bool = False
    activation_power_of_two: bool = False
    weight_power_of_two: bool = False
    float_tail: bool = False
    wide_tail: bool = False
    also: frozenset[IntFormat] = frozenset()
    recurrent_bits: int = 8
    bias: str = "int32"
    rounding: str = "half-even"
    neighbours: frozenset[str] = frozenset()
    float_output: frozenset[str] = frozenset()
    fuse_sum: frozenset[str] = frozenset()
    split: frozenset[str] = frozenset()
    fuse_mask: frozenset[str] = frozenset()
    static_shapes: bool = False
    engine: str = "none"
    slow: frozenset[str] = frozenset()
    saturates: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def activations(self) -> tuple[IntFormat, ...]:
        """The formats that activations may have, the usual one first."""
        return (self.activation, *sorted(self.also - {self.activation}, key=str))

    @property
    def wide(self) -> IntFormat | None:
        """The format of 16 bits for values that need more than the usual 8, if possible of the same sign."""
        if self.activation.bits > 8:
            return None
        formats = [fmt for fmt in self.activations if fmt.bits > 8]
        return next((f for f in formats if f.signed == self.activation.signed), next(iter(formats), None))

    def lowered_to(self, form: str | None) -> "Target":
        """The target for a form of its own or another: only Q/DQ can leave sums of an Add unrounded."""
        wanted = replace(self, form=form or self.form)
        return wanted if wanted.form == "qdq" else replace(wanted, fuse_sum=frozenset())


def target_names() -> list[str]:
    """The targets that ship with onnxq, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml")
    )


@cache
def load_target(name: str) -> Target:
    """The target of that name, or in the TOML file at that path.

    Raises:
        TargetError: there is no such target, or the file is wrong; says what is allowed.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"target file '{name}' {'is no file' if path.exists() else 'does not exist'}")
        try:
            return parse_target(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", error)
            raise TargetError(f"cannot read target file '{name}': {why}") from error
    return _shipped(name)


def parse_target(text: str, source: str) -> Target:
    """Read a target from TOML text; ``source`` names it in messages.

    Raises:
        TargetError: see :func:`onnxq.targets.schema.parse_target`.
    """
    from onnxq.targets import schema

    return schema.parse_target(text, source, _shipped)


def _shipped(name: str) -> Target:
    if name not in target_names():
        hint = did_you_mean(name, target_names()) or "."
        raise TargetError(
            f"no target '{name}'{hint} Known: {', '.join(target_names())}, or a path to a .toml file"
        )
    return parse_target((_folder() / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def _folder() -> Traversable:
    return files("onnxq.targets")
