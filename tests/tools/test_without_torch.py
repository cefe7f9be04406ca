"""The scripts that train models, where what they need is not installed: one message."""

import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"
RUN = """
import runpy, sys
sys.modules.update({"torch": None, "sklearn": None, "sklearn.datasets": None})
sys.path.insert(0, sys.argv[1])
runpy.run_path(f"{sys.argv[1]}/{sys.argv[2]}", run_name="__main__")
"""


@pytest.mark.parametrize("script", ["finetune_digits.py", "train_digits.py"])
def test_a_missing_package_is_one_message(script: str) -> None:
    command = [sys.executable, "-c", RUN, str(MODELS), script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "training needs sklearn.datasets: pip install '.[train]'\n"
