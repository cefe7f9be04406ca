"""The skeleton generator: what it writes passes lint and types, registers and runs its own test."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "new_pass.py"
ARGUMENTS = ["fold-foo-into-bar", "--group", "fusion", "--root", "Bar"]


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return _load(TOOL, "new_pass")


def test_writes_a_pass_that_keeps_the_naming_rule_and_a_test_for_it(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.main(ARGUMENTS, tmp_path) == 0
    made = _load(tmp_path / "passes/fusion/fold_foo_into_bar.py", "fold_foo_into_bar").FoldFooIntoBar
    assert (made.name, made.root, made.contract) == ("fold-foo-into-bar", "Bar", "exact")
    assert made.__doc__
    made()
    test = (tmp_path / "tests/passes/fusion/test_fold_foo_into_bar.py").read_text()
    assert '"fold-foo-into-bar"' in test
    compile(test, "test", "exec")


def test_every_folder_of_a_new_group_becomes_a_package(tool: ModuleType, tmp_path: Path) -> None:
    tool.main(["fold-foo", "--group", "one/two", "--root", "Bar"], tmp_path)
    packages = {path.parent.name for path in tmp_path.rglob("__init__.py")}
    assert packages == {"one", "two"}


def test_what_it_writes_passes_the_linter(tool: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    tool.main(ARGUMENTS, tmp_path)
    config = f"--config={TOOL.parents[1] / 'pyproject.toml'}"
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, config, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_never_overwrites(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tests/passes/fusion/test_fold_foo_into_bar.py"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        tool.main(ARGUMENTS, tmp_path)
    assert "exists already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert not (tmp_path / "passes").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["FoldFoo", "--group", "fusion", "--root", "Bar"],
        ["fold", "--group", "fusion", "--root", "Bar"],
        ["fold-foo", "--group", "../etc", "--root", "Bar"],
        ["fold-foo", "--group", "fusion", "--root", "bar"],
    ],
)
def test_refuses_names_of_another_form(tool: ModuleType, tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        tool.main(arguments, tmp_path)
    assert not list(tmp_path.iterdir())
