"""Kill a calibration at random moments until it has been killed often enough, then let it end.

    python tools/kill_calibration.py --times 10

Each run goes on from the file that the killed one left. The result must have the bytes of a run that was
never interrupted; a run that ends before its moment comes starts over. Exits with 1 if the bytes differ.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from onnxq.calibration.store import StatisticsFile

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import sys
from pathlib import Path
import onnxq
from onnxq.calibration.calibrate import calibrate
from onnxq.calibration.histogram import Histogram
from onnxq.model_io import load
from onnxq.pipeline.context import silent
model = load(Path(sys.argv[1]))
names = [value.name for node in model.graph for value in node.outputs]
samples = onnxq.load_samples(model, sys.argv[2])
wants = {name: Histogram() for name in names}
calibrate(model, samples, wants, silent, path=Path(sys.argv[3]), seconds=float(sys.argv[4]))
"""


def main() -> int:
    """Print what each kill left behind, and whether the bytes are the same in the end."""
    arguments = _arguments()
    chance = random.Random(arguments.seed)
    with TemporaryDirectory(prefix="onnxq-kill-") as folder:
        whole, path = Path(folder) / "whole.stats.npz", Path(folder) / "killed.stats.npz"
        start = time.monotonic()
        _start(arguments, whole).wait()
        length = time.monotonic() - start
        kills = 0
        while kills < arguments.times:
            kills += _killed(_start(arguments, path), chance.uniform(0, length), path)
        _start(arguments, path).wait()
        same = path.read_bytes() == whole.read_bytes()
        print(f"{kills} kills within {length:.1f} s: {'identical bytes' if same else 'OTHER BYTES'}")
        return 0 if same else 1


def _start(arguments: argparse.Namespace, path: Path) -> "subprocess.Popen[bytes]":
    given = [str(arguments.model), str(arguments.data), str(path), str(arguments.seconds)]
    return subprocess.Popen([sys.executable, "-c", RUN, *given])


def _killed(run: "subprocess.Popen[bytes]", after: float, path: Path) -> int:
    """1 if the run still went on after that many seconds and was killed; an ended run's file is removed."""
    try:
        code = run.wait(after)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
        print(f"killed after {after:.2f} s: {_progress(path)}")
        return 1
    if code:
        raise SystemExit(f"the run failed with exit code {code}")
    path.unlink()
    return 0


def _progress(path: Path) -> str:
    if not path.exists():
        return "nothing written yet"
    file = StatisticsFile.load(path)
    return f"{min(len(record.seen) for record in file.values.values())} of {file.samples} samples counted"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    models = ROOT / "models"
    parser.add_argument("--model", type=Path, default=models / "digits_cnn.onnx")
    parser.add_argument("--data", type=Path, default=models / "digits" / "calibration.npy")
    parser.add_argument("--times", type=int, default=10, help="how often to kill")
    parser.add_argument("--seconds", type=float, default=0.0, help="between checkpoints; 0: every sample")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
