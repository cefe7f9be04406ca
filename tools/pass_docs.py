"""Write docs/passes.md from the docstrings of all passes that ship with onnxq, and from the presets.

python tools/pass_docs.py            writes the page
python tools/pass_docs.py --check    exits with 1 if the page in docs/ is out of date
"""

import argparse
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from onnxq.pipeline.base import NodePass, Pass
from onnxq.pipeline.options import options
from onnxq.pipeline.presets import PRESETS
from onnxq.pipeline.registry import all_passes

__all__ = ["main", "markdown", "page"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "passes.md"
LIBRARY = "onnxq.passes."

HEAD = """\
# Passes

Made by `python tools/pass_docs.py` from the docstrings: edit those, not this page. `onnxq passes NAME`
prints the same for one pass, passes of other packages included; [pipelines.md](pipelines.md) says how passes
are put together and what a contract is.
"""


def page() -> str:
    """The whole page: presets, a table of contents, and each pass, by the folder it stands in."""
    own = [cls for cls in all_passes().values() if cls.__module__.startswith(LIBRARY)]
    groups = [(group, list(found)) for group, found in groupby(sorted(own, key=_order), key=_group)]
    return "\n".join([HEAD, *_presets(), *_contents(groups), *_sections(groups)])


def markdown(docstring: str) -> str:
    """A docstring as Markdown: indented formulas become code blocks, ``names`` and roles become code."""
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(docstring).replace("``", "`"))
    blocks = [_block(block) for block in re.split(r"\n{2,}", text)]
    return "\n\n".join(blocks)


def _block(text: str) -> str:
    """A formula is indented. Where nothing else is there, cleandoc took that away; its arrow is left."""
    lines = text.split("\n")
    if not (all(line.startswith("    ") for line in lines) or any(line.startswith("=> ") for line in lines)):
        return text
    return "\n".join(["```text", inspect.cleandoc(f"\n{text}"), "```"])


def _order(cls: type[Pass]) -> tuple[str, str]:
    return _group(cls), cls.name


def _group(cls: type[Pass]) -> str:
    return cls.__module__.removeprefix(LIBRARY).rpartition(".")[0].replace(".", "/")


def _presets() -> Iterator[str]:
    yield "## Presets\n"
    yield "| preset | for | text |"
    yield "| --- | --- | --- |"
    for name, preset in PRESETS.items():
        text = ", ".join(f"`{part}`" for part in _parts(preset.text))
        yield f"| `{name}` | {preset.description} | {text} |"
    yield ""


def _parts(text: str) -> list[str]:
    """The items of a pipeline text, a ``repeat`` in one piece."""
    return [part.strip() for part in re.split(r",(?![^({]*[)}])", text)]


def _contents(groups: list[tuple[str, list[type[Pass]]]]) -> Iterator[str]:
    yield "## All passes\n"
    yield "| pass | group | contract | in one sentence |"
    yield "| --- | --- | --- | --- |"
    for group, passes in groups:
        for cls in passes:
            first = markdown(cls.__doc__ or "").split("\n")[0]
            yield f"| [{cls.name}](#{cls.name}) | {group} | {cls.contract} | {first} |"
    yield ""


def _sections(groups: list[tuple[str, list[type[Pass]]]]) -> Iterator[str]:
    for group, passes in groups:
        yield f"## {group}\n"
        for cls in passes:
            yield from _section(cls)


def _section(cls: type[Pass]) -> Iterator[str]:
    source = Path("passes", *cls.__module__.removeprefix(LIBRARY).split(".")).with_suffix(".py")
    facts = [f"contract: {cls.contract}", f"source: [{source}](../{source})"]
    if issubclass(cls, NodePass):
        roots = (cls.root,) if isinstance(cls.root, str) else cls.root
        facts.insert(1, f"looks at: {', '.join(roots)}")
    yield f"### {cls.name}\n"
    yield f"{'; '.join(facts)}\n"
    yield f"{markdown(cls.__doc__ or '')}\n"
    if known := options(cls):
        yield "Options:\n"
        yield from (f"- `{option}`" for option in known.values())
        yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with ``--check`` only say whether it is up to date; 1 if it is not."""
    parser = argparse.ArgumentParser(description="Write docs/passes.md from the docstrings of the passes.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if it is out of date"
    )
    text, current = page(), PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if parser.parse_args(arguments).check:
        print(f"{PAGE.relative_to(ROOT)} is {'up to date' if text == current else 'out of date'}")
        return 0 if text == current else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
