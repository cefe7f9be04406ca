"""Steps of sequences, for models that hand state from one step to the next.

    samples = carry_state(model, "recordings/", {"stateN": "state"})

The float model runs once through every sequence, and each step is given the state that it found. From then
on a step is a sample like any other: complete, so that it may be taken in any order and on any machine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxq.data.check import fit
from onnxq.data.iterables import SpooledSamples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import MAX_SAMPLE_BYTES, InputSpec, Sample, Samples, input_specs
from onnxq.data.source import Source, open_samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array
from onnxq.runtime import Session
from onnxq.suggest import did_you_mean

__all__ = ["carry_state", "parse_state"]


def parse_state(texts: Sequence[str]) -> dict[str, str]:
    """``["stateN=state"]`` as {output: input}.

    Raises:
        UsageError: a text has another form, or two name the same output or input.
    """
    state: dict[str, str] = {}
    for text in texts:
        output, equals, name = text.rpartition("=")
        if not output or not equals or not name:
            raise UsageError(f"'{text}' says no state; expected OUTPUT=INPUT, such as stateN=state")
        if output in state or name in state.values():
            raise UsageError(f"'{text}': this output or input has been given already")
        state[output] = name
    return state


def carry_state(
    model: ir.Model,
    source: Source,
    state: Mapping[str, str],
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Samples:
    """The steps of all sequences in ``source`` with the state inputs filled in; the first ``limit`` steps.

    ``state`` maps an output of the model to the input that takes it at the next step. Sequences are

    - the subfolders of a folder, each of them any source;
    - files and dicts in which every array that changes has time as an additional first axis [T, …];
    - any other source as a whole.

    A sequence starts with a state of zeros (free axes are 1), or with that which its first step brings along.
    A step that brings state in the middle of a sequence starts afresh with it.

    Raises:
        DataError: as :func:`onnxq.data.source.open_samples`, or a step does not fit the model.
        ModelError: the model does not run.
        UsageError: ``state`` names an output or input that the model does not have.
    """
    specs = input_specs(model)
    _require(state.keys(), [value.name or "" for value in model.graph.outputs], "output")
    _require(state.values(), [spec.name for spec in specs], "input")
    others = [spec for spec in specs if spec.name not in state.values()]
    parts = [open_samples(p, others, preprocessing=preprocessing, seed=seed) for p in _parts(source)]
    steps = _Steps(parts, {spec.name: len(spec.shape) for spec in specs}, frozenset(state.values()))
    zeros = {spec.name: _zeros(spec) for spec in specs if spec.name in state.values()}
    states = SpooledSamples(_walk(Session(model), steps, state, zeros, specs), limit)
    return _Carried(steps, states)


@dataclass(frozen=True)
class _Steps:
    """Every step with whether it starts a sequence; those that do not may lack the state."""

    parts: Sequence[Samples]
    ranks: Mapping[str, int]
    states: frozenset[str]

    def __iter__(self) -> Iterator[tuple[Sample, bool]]:
        for part in self.parts:
            first = True
            for sample in part:
                for step, starts in self._unrolled(sample):
                    yield step, first or starts
                    first = False

    def _unrolled(self, sample: Sample) -> Iterator[tuple[Sample, bool]]:
        """The steps of a sample whose arrays have a time axis; otherwise the sample itself."""
        timed = {
            name: array
            for name, array in sample.feeds.items()
            if name not in self.states and array.ndim == self.ranks.get(name, array.ndim) + 1
        }
        if not timed:
            yield sample, False
            return
        lengths = {name: len(array) for name, array in timed.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            raise DataError(f"sample '{sample.name}': its inputs have different numbers of steps: {told}")
        for t in range(next(iter(lengths.values()))):
            once = self.states if t else frozenset()
            fixed = {n: a for n, a in sample.feeds.items() if n not in timed and n not in once}
            now = {name: array[t] for name, array in timed.items()}
            yield Sample(f"{sample.name}[{t}]", fixed | now), t == 0


@dataclass(frozen=True)
class _Carried(Samples):
    steps: _Steps
    states: Samples

    def __iter__(self) -> Iterator[Sample]:
        for state, (step, _) in zip(self.states, self.steps, strict=False):  # a limit ends the states first
            yield Sample(step.name, {**step.feeds, **state.feeds})

    def __len__(self) -> int:
        return len(self.states)


def _walk(
    session: Session,
    steps: _Steps,
    state: Mapping[str, str],
    zeros: Mapping[str, Array],
    specs: Sequence[InputSpec],
) -> Iterator[Mapping[str, Array]]:
    """The state before each step."""
    now = dict(zeros)
    for step, starts in steps:
        now = {name: step.feeds.get(name, (zeros if starts else now)[name]) for name in zeros}
        whole = fit(Sample(step.name, {**step.feeds, **now}), specs)
        yield {name: whole.feeds[name] for name in zeros}
        made = session.run(whole.feeds, list(state))
        if bad := [name for name in state if not np.isfinite(made[name]).all()]:
            raise DataError(f"sample '{step.name}': after it the state '{bad[0]}' holds NaN or infinity")
        now = {name: made[output] for output, name in state.items()}


def _parts(source: Source) -> Sequence[Source]:
    """One source a sequence."""
    if isinstance(source, (str, PathLike)) and (path := Path(source)).is_dir():
        inside = sorted(p for p in path.iterdir() if p.name[0] != ".")
        folders: list[Source] = [p for p in inside if p.is_dir()]
        if folders and len(folders) < len(inside):
            raise DataError(f"'{path}' holds both folders and files: keep each sequence in its own folder")
        return folders or [path]
    return [source]


def _zeros(spec: InputSpec) -> Array:
    shape = tuple(1 if axis is None else axis for axis in spec.shape)
    if prod(shape) * spec.dtype.itemsize > MAX_SAMPLE_BYTES:
        raise DataError(f"state '{spec.name}' {spec} is larger than a sample may be")
    return np.zeros(shape, spec.dtype)


def _require(names: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"the model has no {what} '{name}' to carry state{did_you_mean(name, known)}")
