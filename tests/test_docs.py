"""What people read is true: every example runs and prints what the page says, every link leads somewhere.

In README, CONTRIBUTING and docs/ a ```console block holds onnxq commands and their output, a ```python block
runs as it is, and a ```text block right behind it is what it prints. A ```toml block is written to the file
that its first line names. One folder with a copy of models/ serves all blocks of a page, in their order.
``...`` is for any lines. Measured numbers may differ, since other machines have other kernels: by one point
of a percentage, 3 dB, a twentieth of a size, a factor of two elsewhere. Counts are exact.
"""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pass_docs
import pytest
import typer

from onnxq.cli.main import app, main
from onnxq.pipeline import registry
from onnxq.pipeline.base import Outcome, Pass

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MEASURED = re.compile(r"(\d+\.\d+(?: (?:%|dB|[kM]B))?|\d+ [kM]B)")

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Block:
    """A fenced block; ``prints`` is the ```text block right behind a ```python block."""

    language: str
    text: str
    where: str
    prints: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
    for found in fence.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found[1], found[2], f"{page.name}:{line}", found[3])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_says(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    rewrite: Callable[..., Outcome],
) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    python = _Python(capsys, rewrite, monkeypatch)
    for block in blocks(page):
        if block.language == "console":
            run_console(block, capsys)
        elif block.language == "python":
            python.run(block)
        elif block.language == "toml":
            name = block.text.split("\n")[0].removeprefix("# ")
            Path(name).write_text(block.text, encoding="utf-8")


def run_console(block: Block, capsys: Capture) -> None:
    code = 0
    for command, expected in _commands(block.text):
        if command == "echo $?":
            assert expected.strip() == str(code), block.where
            code = 0
            continue
        assert code == 0, f"{block.where}: a command ended with {code} and the page does not say so"
        words = shlex.split(command)
        assert words[0] == "onnxq", f"{block.where}: '{command}' belongs into a ```sh block"
        capsys.readouterr()
        code = main(words[1:])
        printed = capsys.readouterr()
        assert_same(expected, printed.out + printed.err, f"{block.where}: {command}")
    assert code == 0, f"{block.where}: the last command ended with {code}"


class _Python:
    """Runs the ```python blocks of one page in one namespace; passes become known, tests are called."""

    def __init__(
        self, capsys: Capture, rewrite: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._capsys, self._rewrite, self._monkeypatch = capsys, rewrite, monkeypatch
        self._names: dict[str, object] = {"__name__": "example"}

    def run(self, block: Block) -> None:
        self._capsys.readouterr()
        known = set(self._names)
        exec(compile(block.text, block.where, "exec"), self._names)
        fresh = [self._names[name] for name in self._names.keys() - known]
        passes = [x for x in fresh if isinstance(x, type) and issubclass(x, Pass) and "name" in vars(x)]
        if passes:
            known_passes = {**registry.all_passes(), **{cls.name: cls for cls in passes}}
            self._monkeypatch.setattr(registry, "all_passes", lambda: known_passes)
        for test in [x for x in fresh if callable(x) and getattr(x, "__name__", "").startswith("test_")]:
            test(self._rewrite)
        if block.prints is not None:
            assert_same(block.prints, self._capsys.readouterr().out, block.where)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def assert_same(expected: str, found: str, where: str) -> None:
    wanted, lines = (text.strip().split("\n") for text in (expected, found))
    assert _fits(wanted, lines), f"{where}\nthe page says:\n{expected}\nbut this was printed:\n{found}"


def _fits(wanted: Sequence[str], lines: Sequence[str]) -> bool:
    """Whether lines are as wanted; ``...`` takes up lines until the next one that fits."""
    if not wanted:
        return not lines
    if wanted[0] == "...":
        return any(_fits(wanted[1:], lines[i:]) for i in range(len(lines) + 1))
    return bool(lines) and _alike(wanted[0], lines[0]) and _fits(wanted[1:], lines[1:])


def _alike(wanted: str, line: str) -> bool:
    """What was measured is at the odd places of a split."""
    parts, found = (MEASURED.split(" ".join(text.split())) for text in (wanted, line))
    if len(parts) != len(found) or parts[::2] != found[::2]:
        return False
    return all(map(_near, parts[1::2], found[1::2]))


def _near(wanted: str, found: str) -> bool:
    (a, unit), (b, other) = ((float(x), unit) for x, _, unit in (t.partition(" ") for t in (wanted, found)))
    allowed = {"%": 1.0, "dB": 3.0, "kB": 0.05 * a, "MB": 0.05 * a}.get(unit, max(a, b) / 2)
    return unit == other and abs(a - b) <= allowed


def test_numbers_of_other_machines_pass_and_others_do_not() -> None:
    page = "a  31.00 dB\n...\nend 26 of 127 kB\n"
    assert_same(page, "a 28.10 dB\nx\ny\nend 26 of 124.9 kB\n", "")
    for wrong in (
        "a 27.90 dB\nend 26 of 127 kB",
        "a 31.00 dB\nend 27 of 127 kB",
        "a 31.00 dB\nend 26 of 9 kB",
    ):
        with pytest.raises(AssertionError, match="the page says"):
            assert_same(page, wrong, "")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "models" / "README.md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(head) for head in heads}, f"{page.name} links to {target}#{anchor}"


def _anchor(head: str) -> str:
    return re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")


def test_shell_examples_name_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [
        line for page in PAGES for b in blocks(page) if b.language == "sh" for line in b.text.split("\n")
    ]
    words = [shlex.split(line, comments=True) for line in lines if line]
    assert {line[1] for line in words if line[0] == "make"} <= targets
    for line in words:
        assert all((ROOT / word).exists() for word in line if word.startswith("tools/")), line


def test_readme_lists_every_command() -> None:
    command = typer.main.get_command(app)
    known = set(getattr(command, "commands", {}))
    table = set(re.findall(r"^\| `onnxq (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert table == known


def test_the_page_of_passes_is_up_to_date() -> None:
    page = (ROOT / "docs" / "passes.md").read_text(encoding="utf-8")
    assert page == pass_docs.page(), "run: python tools/pass_docs.py"


def test_docstrings_become_markdown() -> None:
    made = pass_docs.markdown(
        "One, see :func:`x.y`.\n\n           y = ``Op``(x)\n        => y = x\n\n    Left ``alone``.\n    "
    )
    assert made == "One, see `x.y`.\n\n```text\n   y = `Op`(x)\n=> y = x\n```\n\nLeft `alone`."


def test_the_tool_says_whether_the_page_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    page = tmp_path / "docs" / "passes.md"
    monkeypatch.setattr(pass_docs, "ROOT", tmp_path)
    monkeypatch.setattr(pass_docs, "PAGE", page)
    assert pass_docs.main(["--check"]) == 1
    assert not page.exists()
    assert pass_docs.main([]) == 0
    assert pass_docs.main(["--check"]) == 0
    assert capsys.readouterr().out.endswith("docs/passes.md is up to date\n")
