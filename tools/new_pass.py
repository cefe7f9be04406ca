"""Write the skeleton of a pass and of its test.

    python tools/new_pass.py fold-foo-into-bar --group fusion --root Bar

makes passes/fusion/fold_foo_into_bar.py and tests/passes/fusion/test_fold_foo_into_bar.py. Both run as they
are: the pass does nothing yet, and its first test says so. Existing files are never overwritten.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

__all__ = ["main", "skeleton"]

ROOT = Path(__file__).resolve().parents[1]

PASS = '''\
"""{title}, in one line."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constants
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["{cls}"]


@dataclass(frozen=True)
class {cls}(NodePass):
    """Say in one sentence what becomes simpler.

           y = {root}(Op(x, W))
        => y = Op(x, W · s)    with s = …

    Applies when … . Left alone when … .
    """

    name = "{name}"
    contract = Contract.EXACT
    root = "{root}"

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if constants(node.inputs[1:]) is None:
            rw.skip(node, "its weights are not constant")
            return
        # Guards come first, the maths in the middle and the edit last: rw.replace(node, rw.op(…)).
'''

TEST = '''\
"""{cls}: one case where it applies, one per guard, several consumers, a subgraph."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_left_alone_where_there_is_nothing_to_do(rewrite: Rewrite) -> None:
    rewrite(
        "{name}",
        before="""
        g (float[1,4] x) => (float[1,4] y) {{
            y = Identity (x)
        }}""",
        after=None,
    )
'''


def skeleton(name: str, group: str, root: str) -> dict[Path, str]:
    """The two files, by their paths from the project's root.

    Raises:
        ValueError: the name, group or root operator is not of the right form.
    """
    forms = [
        (
            name,
            r"[a-z]+[a-z0-9]*(-[a-z0-9]+)+",
            "a pass is named in lower case with hyphens: fold-bn-into-conv",
        ),
        (group, r"[a-z_]+(/[a-z_]+)*", "a group is a folder of passes/, such as fusion"),
        (root, r"[A-Z][A-Za-z0-9]*", "the root is an ONNX operator, such as BatchNormalization"),
    ]
    for given, form, rule in forms:
        if not re.fullmatch(form, given):
            raise ValueError(f"'{given}': {rule}")
    stem = name.replace("-", "_")
    words = {"name": name, "root": root, "title": name.replace("-", " ").capitalize()}
    words["cls"] = "".join(part.capitalize() for part in name.split("-"))
    return {
        Path("passes", group, f"{stem}.py"): PASS.format(**words),
        Path("tests", "passes", group, f"test_{stem}.py"): TEST.format(**words),
    }


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the files and name them; 2 if the arguments are wrong or a file exists."""
    parser = argparse.ArgumentParser(description=dedent(__doc__ or "").split("\n")[0])
    parser.add_argument("name", help="such as fold-foo-into-bar")
    parser.add_argument("--group", required=True, help="folder of passes/, such as fusion")
    parser.add_argument("--root", required=True, help="the operator it looks at, such as Conv")
    given = parser.parse_args(arguments)
    try:
        files = skeleton(given.name, given.group, given.root)
    except ValueError as error:
        parser.error(str(error))
    if taken := [path for path in files if (root / path).exists()]:
        parser.error(f"{taken[0]} exists already; choose another name or edit that file")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        print(path)
    # The registry walks packages only: each folder of a new group must be one.
    groups = Path(given.group)
    for group in (groups, *groups.parents[:-1]):
        package = Path("passes", group, "__init__.py")
        if not (root / package).exists():
            (root / package).touch()
            print(package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
