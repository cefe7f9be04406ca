"""Pipelines as text: ``simplify, repeat(fold-bn-into-conv, fuse-relu){max=5}, insert-qdq{method=mse}``.

    pipeline := item ("," item)*
    item     := PASS ["{" option* "}"]          a pass and its options
              | PRESET                          the text of a preset
              | "repeat(" pipeline ")" ["{max=N}"]
              | "@" path                        the text of a file, relative to the file that names it
    option   := key "=" value ("|" value)*    separated by blanks or commas
    value    := a bare word, or a quoted one: '…'; no value at all is ()

Blanks and newlines are free, ``#`` begins a comment. ``parse(str(pipeline)) == pipeline``: what is printed is
canonical (presets and files expanded, only options that differ from their defaults).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnxq.errors import UsageError
from onnxq.pipeline import presets, registry
from onnxq.pipeline.base import Pass
from onnxq.pipeline.options import options
from onnxq.pipeline.scan import NAME, Scanner
from onnxq.suggest import did_you_mean

__all__ = ["Pipeline", "Repeat", "Step", "parse"]

_DEFAULT_MAX = 10
"""How often ``repeat`` runs at most, where the text does not say."""

_DEEPEST = 32
_LARGEST_FILE = 1 << 20
_PATH = re.compile(r"[^\s,{}()#']+")


@dataclass(frozen=True)
class Step:
    """One pass."""

    pass_: Pass

    def __str__(self) -> str:
        known = options(type(self.pass_))
        given = {name: getattr(self.pass_, name) for name in known}
        texts = [f"{name}={known[name].print(v)}" for name, v in given.items() if v != known[name].default]
        return self.pass_.name + (f"{{{' '.join(texts)}}}" if texts else "")


@dataclass(frozen=True)
class Repeat:
    """Steps that run until none of them edits anything, or ``max`` times."""

    steps: "tuple[Step | Repeat, ...]"
    max: int = _DEFAULT_MAX

    def __str__(self) -> str:
        text = f"repeat({', '.join(map(str, self.steps))})"
        return text if self.max == _DEFAULT_MAX else f"{text}{{max={self.max}}}"


@dataclass(frozen=True)
class Pipeline:
    """Steps in order; ``str()`` gives the canonical text."""

    steps: tuple[Step | Repeat, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))

    def passes(self) -> Iterator[Pass]:
        """Every pass in the order of the text, those inside ``repeat`` too."""
        waiting = list(reversed(self.steps))
        while waiting:
            step = waiting.pop()
            if isinstance(step, Step):
                yield step.pass_
            else:
                waiting += reversed(step.steps)


def parse(text: str) -> Pipeline:
    """The pipeline that a text describes.

    Raises:
        UsageError: the text cannot be understood; shows the place with a caret, and the nearest match.
    """
    return Pipeline(_Parser(text).whole())


@dataclass
class _Parser(Scanner):
    folder: Path = field(default_factory=Path)
    sources: tuple[str, ...] = ()
    """The presets and files that are being expanded, outermost first: what may not be named again."""
    depth: int = 0

    def whole(self) -> tuple[Step | Repeat, ...]:
        steps = self.pipeline()
        if self.at < len(self.text):
            self.fail("expected ',' and another pass, or the end")
        return steps

    def pipeline(self) -> tuple[Step | Repeat, ...]:
        steps = [*self.item()]
        while self.accept(","):
            steps += self.item()
        return tuple(steps)

    def item(self) -> tuple[Step | Repeat, ...]:
        self.blanks()
        start = self.at
        if self.accept("@"):
            return self.file(start)
        name = self.match(NAME, "expected the name of a pass")
        if name == "repeat":
            return (self.repeat(start),)
        if name in presets.PRESETS:
            return self.preset(name, start)
        try:
            cls = registry.find(name)
        except UsageError:
            known = [*registry.all_passes(), *presets.PRESETS, "repeat"]
            hint = did_you_mean(name, known) or "; `onnxq passes` lists all"
            self.fail(f"no pass '{name}'{hint}", start)
        return (self.step(cls, start),)

    def step(self, cls: type[Pass], start: int) -> Step:
        known = options(cls)
        given: dict[str, object] = {}

        def option(key: str, at: int) -> None:
            if key not in known:
                hint = did_you_mean(key, known)
                listing = "".join(f"\n    {option}" for option in known.values()) or " none"
                self.fail(f"'{cls.name}' has no option '{key}'{hint}", at, f"its options:{listing}")
            self.blanks()
            place = self.at
            given[key] = self.guard(lambda: known[key].read(self.words()), place)

        self.braces(option)
        if missing := [o for o in known.values() if o.required and o.name not in given]:
            self.fail(f"'{cls.name}' needs the option {missing[0]}", start)
        return Step(self.guard(lambda: cls(**given), start))

    def repeat(self, start: int) -> Repeat:
        if self.depth >= _DEEPEST:
            self.fail(f"more than {_DEEPEST} levels of 'repeat', presets and files", start)
        self.expect("(", "expected '(' after 'repeat'")
        self.depth += 1
        steps = self.pipeline()
        self.depth -= 1
        self.expect(")", "expected ',' and another pass, or ')'")
        limit = _DEFAULT_MAX

        def option(key: str, at: int) -> None:
            nonlocal limit
            if key != "max":
                self.fail(f"'repeat' has no option '{key}'; it takes max=N", at)
            limit = self.count()

        self.braces(option)
        return Repeat(steps, limit)

    def count(self) -> int:
        self.blanks()
        place = self.at
        text = "|".join(word.text for word in self.words())
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 9):
            self.fail("option 'max' takes a whole number, 1 or more", place)
        return int(text)

    def preset(self, name: str, start: int) -> tuple[Step | Repeat, ...]:
        if self.accept("{"):
            self.fail(f"the preset '{name}' takes no options; write out its passes to set theirs", start)
        return self.expand(f"preset '{name}'", presets.PRESETS[name].text, Path(), start)

    def file(self, start: int) -> tuple[Step | Repeat, ...]:
        quoted = self.text.startswith("'", self.at)
        path = self.folder / (self.quoted() if quoted else self.match(_PATH, "expected a path after '@'"))
        text = self.guard(lambda: _read_file(path), start)
        return self.expand(f"file '{path.resolve()}'", text, path.parent, start)

    def expand(self, source: str, text: str, folder: Path, start: int) -> tuple[Step | Repeat, ...]:
        if source in self.sources:
            self.fail(f"{source} includes itself", start)
        if self.depth >= _DEEPEST:
            self.fail(f"more than {_DEEPEST} levels of 'repeat', presets and files", start)
        sources = (*self.sources, source)
        return _Parser(text, folder, sources, self.depth + 1, origin=source).whole()


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise UsageError(f"'{path}' is larger than {_LARGEST_FILE} bytes: that is no pipeline")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the pipeline file '{path}': {error}") from error
