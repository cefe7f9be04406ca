"""The ladder: what is tried, rung by rung. Each rung starts from the best of the rungs below.

    1 calibration method   percentile:99.999 (the default), minmax, percentile:99.99, mse, entropy
    2 channel scales       none, equalize, smooth, both               before insert-qdq
    3 rounding             nearest, round-weights, correct-bias                behind insert-qdq
    4 mixed precision      98, 95 and 90 % of the nodes stay on 8 bits (onnxq.search.precision)

A rung tries what its passes can do: answers whose passes are not there are left out. So at most thirteen
models are made, not the hundreds of all combinations. Each rung ends when its part of the time is over, so
that the ones above it get theirs; what was begun then is given up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace

from onnxq.errors import UsageError
from onnxq.evaluate.bench import Inserter
from onnxq.pipeline import registry
from onnxq.pipeline.base import Pass
from onnxq.pipeline.spec import Pipeline, Step, parse

__all__ = ["COVERAGES", "RUNGS", "Choice", "Rung", "compose", "cut", "inserter_of"]

COVERAGES = (0.98, 0.95, 0.9)

_METHODS = ("minmax", "percentile:99.99", "mse", "entropy")
_SCALES = (("equalize",), ("smooth",), ("equalize", "smooth"))
_ROUNDING = (("round-weights",), ("correct-bias",))
_BEFORE, _BEHIND = frozenset({"equalize", "smooth"}), frozenset({"correct-bias", "round-weights"})


@dataclass(frozen=True)
class Choice:
    """What one candidate does otherwise than the pipeline it starts from; None leaves that as it is."""

    method: str | None = None
    scales: tuple[str, ...] | None = None
    rounding: tuple[str, ...] | None = None
    recipe: str | None = None
    mixed: str = ""
    """How the title calls the recipe."""

    @property
    def title(self) -> str:
        parts = [self.method or "as it is", *(self.scales or ()), *(self.rounding or ())]
        return " + ".join([*parts, *([self.mixed] if self.mixed else [])])


@dataclass(frozen=True)
class Rung:
    """One question, and the answers that are tried on the best so far."""

    name: str
    until: float
    """The part of the time budget after which no further candidate is tried on this rung."""
    field: str
    answers: tuple[str | tuple[str, ...], ...]

    def choices(self, best: Choice) -> Iterator[Choice]:
        """The candidates, without those whose passes are not there."""
        known = registry.all_passes()
        for answer in self.answers:
            if isinstance(answer, str) or all(name in known for name in answer):
                yield replace(best, **{self.field: answer})  # type: ignore[arg-type]


RUNGS = (
    Rung("calibration method", 0.4, "method", _METHODS),
    Rung("channel scales", 0.55, "scales", _SCALES),
    Rung("rounding", 0.75, "rounding", _ROUNDING),
)


def compose(start: Pipeline, choice: Choice) -> Pipeline:
    """The pipeline of a choice: that of ``start`` with passes put in, and options of insert-qdq set.

    Raises:
        UsageError: ``start`` inserts no Q/DQ.
    """
    dropped = (_BEFORE if choice.scales is not None else frozenset()) | (
        _BEHIND if choice.rounding is not None else frozenset()
    )
    kept = [s for s in start.steps if not (isinstance(s, Step) and s.pass_.name in dropped)]
    at = _place(Pipeline(tuple(kept)))
    inserting = kept[at]
    assert isinstance(inserting, Step), "found by its pass"
    wanted = {"method": choice.method, "recipe": choice.recipe}
    changed = Step(_with(inserting.pass_, {k: v for k, v in wanted.items() if v is not None}))
    before, behind = _steps(choice.scales), _steps(choice.rounding)
    return Pipeline((*kept[:at], *before, changed, *behind, *kept[at + 1 :]))


def cut(pipeline: Pipeline) -> tuple[Pipeline, Pipeline]:
    """What comes before insert-qdq, and the rest."""
    at = _place(pipeline)
    return Pipeline(pipeline.steps[:at]), Pipeline(pipeline.steps[at:])


def inserter_of(pipeline: Pipeline) -> Inserter:
    """The pass of a pipeline that inserts Q/DQ.

    Raises:
        UsageError: there is none.
    """
    return next(p for p in (cut(pipeline)[1]).passes() if isinstance(p, Inserter))


def _place(pipeline: Pipeline) -> int:
    places = [
        i for i, s in enumerate(pipeline.steps) if isinstance(s, Step) and isinstance(s.pass_, Inserter)
    ]
    if not places:
        raise UsageError(f"the pipeline '{pipeline}' has no insert-qdq, so there is nothing to choose")
    return places[0]


def _steps(names: tuple[str, ...] | None) -> tuple[Step, ...]:
    steps = parse(", ".join(names)).steps if names else ()
    return tuple(step for step in steps if isinstance(step, Step))


def _with(pass_: Pass, options: dict[str, str]) -> Pass:
    assert is_dataclass(pass_), "passes are dataclasses"
    known = {field.name for field in fields(pass_)}
    return replace(pass_, **{k: v for k, v in options.items() if k in known})
