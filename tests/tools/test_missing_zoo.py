"""A folder of evaluation models that is not there: one message, before any work."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
NEED_ZOO = [tool for tool in sorted(TOOLS.glob("bench_*.py")) if "add_zoo_option" in tool.read_text()]


@pytest.mark.parametrize("tool", NEED_ZOO, ids=lambda tool: tool.stem)
def test_a_missing_folder_is_one_message(tool: Path, tmp_path: Path) -> None:
    words = ["--zoo", str(tmp_path / "gone")]
    words += ["--results", str(tmp_path)] if tool.stem == "bench_accuracy" else []
    done = subprocess.run([sys.executable, tool, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"no evaluation models: {tmp_path}/gone/zoo.py does not exist; give --zoo FOLDER\n"
