"""The candidates of a search that were made and measured, and the folder that remembers them.

A results folder holds ``<key>.json`` for each candidate and ``<key>.toml`` for each recipe that was searched;
the key is a hash of all that could change the result. A search that was stopped goes on from there.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import log
from pathlib import Path

from onnxq.files import check_folder, write_atomically

__all__ = ["Results", "Trial", "pareto"]

_LARGEST = 1 << 24

_SAME_SIZE = 0.02
"""Sizes that differ by less than about this part count as one: texts in the metadata differ too."""


@dataclass(frozen=True)
class Trial:
    """One candidate: what it is, what it scored, what it costs.

    value: the metric, larger is better; None where ``failure`` says why there is none. bytes: of the file.
    nodes, macs: shares on integers, 0 to 1; narrow: share of the nodes on 8-bit integers. milliseconds: one
    inference on one thread of ONNX Runtime. seconds: what making and measuring it took.
    """

    title: str
    pipeline: str
    value: float | None
    bytes: int = 0
    nodes: float = 0.0
    macs: float = 0.0
    narrow: float = 0.0
    milliseconds: float = 0.0
    seconds: float = 0.0
    sha256: str = ""
    failure: str = ""


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other beats in the metric, the size and the shares on integers and 8 bits together."""
    scored = [trial for trial in trials if trial.value is not None]
    return [t for t in scored if not any(_beats(other, t) for other in scored)]


def _beats(one: Trial, other: Trial) -> bool:
    a, b = _goods(one), _goods(other)
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def _goods(trial: Trial) -> tuple[float, ...]:
    value = trial.value if trial.value is not None else float("-inf")
    return value, -round(log(max(trial.bytes, 1)) / _SAME_SIZE), trial.nodes, trial.macs, trial.narrow


class Results:
    """Finished trials by key, in a folder or, without one, only in memory.

    Raises:
        UsageError: the folder cannot be made or written into.
    """

    def __init__(self, folder: Path | None, identity: Sequence[str]) -> None:
        self._folder, self._identity = folder, list(identity)
        self._foreign = False
        """Whether there are results, and none has been asked for yet."""
        if folder is not None:
            check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._foreign = any(folder.glob("*.json"))

    def trial(self, pipeline: str) -> Trial | None:
        """What an earlier run found for this pipeline; None where there is none, or none that can be read."""
        text = self._read(pipeline, "json")
        if self._foreign and text is None:
            warnings.warn(
                f"the results in '{self._folder}' are of other searches, with another model, data, metric, "
                "target, options or seed: this one begins anew, and keeps its own beside them",
                stacklevel=2,
            )
        self._foreign = False
        try:
            found = json.loads(text) if text is not None else None
            known = {field.name for field in fields(Trial)}
            if not isinstance(found, dict) or set(found) != known or found["pipeline"] != pipeline:
                return None
            return Trial(**{**found, "value": float(found["value"])})
        except (ValueError, TypeError):
            return None

    def keep(self, trial: Trial) -> None:
        """Remember a trial that has a value; a failed one is tried again."""
        if trial.value is not None:
            self._write(trial.pipeline, "json", f"{json.dumps(asdict(trial), indent=1)}\n")

    def recipe(self, question: str) -> str | None:
        """The recipe that an earlier run found for a question."""
        return self._read(question, "toml")

    def keep_recipe(self, question: str, recipe: str) -> None:
        self._write(question, "toml", recipe)

    def _read(self, what: str, kind: str) -> str | None:
        path = self._path(what, kind)
        if path is None or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return path.read_text(encoding="utf-8", errors="replace")

    def _write(self, what: str, kind: str, text: str) -> None:
        if (path := self._path(what, kind)) is not None:
            write_atomically(path, text.encode())

    def _path(self, what: str, kind: str) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(json.dumps([*self._identity, what]).encode()).hexdigest()
        return self._folder / f"{digest[:20]}.{kind}"
