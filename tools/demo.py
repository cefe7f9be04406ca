"""The main job on an embedded model: float → Q/DQ → strict integers, every claim checked on held-out images.

    make demo

Prints each command before it runs it; the last lines are the proof. Exits with 1 if a claim does not hold.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.reference

from onnxq.data.codes import Codes, convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits"


def commands(model: Path, out: Path) -> list[list[str]]:
    """What a user types; the first two lines are the job, the others the proof."""
    name, data = model.stem, ["--data", shown(DIGITS / "test.npy")]
    qdq, integer = (shown(out / f"{name}.{form}.onnx") for form in ("qdq", "int"))
    quantize = ["quantize", shown(model), "--data", shown(DIGITS / "calibration.npy"), "--target", "integer"]
    labels = ["--labels", shown(DIGITS / "test_labels.npy")]
    return [
        [*quantize, "--form", "qdq", "-o", qdq],
        ["run", qdq, "-p", "lower", "-o", integer],
        ["verify", integer, "--integer-only"],
        ["compare", shown(model), integer, *data, *labels],
    ]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def output_codes(path: Path, images: Array, output: Codes | None = None) -> Array:
    """The integer output of a model for float images [N,1,8,8]; ``output`` makes codes of a float output."""
    session = Session(path, optimize=False)
    port = session.inputs[0]
    feeds = {port.name: convert(images, port.dtype, read_codes(session.metadata, port.name), port.name)}
    (result,) = session.run(feeds).values()
    return convert(result, np.dtype(np.uint8), output, "output") if output else result


def reference_codes(path: Path, images: Array) -> Array:
    """The same from onnx.reference, which shares no code with ONNX Runtime."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    name = model.graph.input[0].name
    feeds = {name: convert(images, np.dtype(np.uint8), read_codes(metadata, name), name)}
    (result,) = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    return np.asarray(result)


def prove(model: Path, out: Path, images: Array, labels: Array) -> list[tuple[str, bool]]:
    """Every claim of the demonstration, and whether it holds."""
    qdq, integer = (out / f"{model.stem}.{form}.onnx" for form in ("qdq", "int"))
    session = Session(integer)
    output = read_codes(session.metadata, session.outputs[0].name)
    assert output is not None, "a strict integer model says what its codes mean"
    codes, fake = output_codes(integer, images), output_codes(qdq, images, output)
    predictions = [next(iter(Session(model).run({session.inputs[0].name: images}).values())), fake, codes]
    top1 = [100 * float(np.mean(p.argmax(axis=1) == labels)) for p in predictions]
    apart = np.abs(codes.astype(int) - fake.astype(int))
    equal = 100 * float(np.mean(apart == 0))
    names = ", ".join(f"{kind} {t:.2f} %" for kind, t in zip(("float", "Q/DQ", "integer"), top1, strict=True))
    return [
        (f"top-1 on {len(labels)} held-out images: {names}; at most 0.5 points apart", np.ptp(top1) <= 0.5),
        (
            f"{equal:.2f} % of output codes of the integer graph equal the Q/DQ graph's (at least 99 %), "
            f"the others are {apart.max()} apart (at most 1)",
            equal >= 99 and apart.max() <= 1,
        ),
        (
            "ONNX Runtime and onnx.reference compute the same integers",
            np.array_equal(codes, reference_codes(integer, images)),
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Quantize an embedded model to strict integers and prove it."
    )
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "digits_cnn.onnx")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo", help="folder for the results")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    onnxq = Path(sys.executable).with_name("onnxq")
    for command in commands(args.model, args.out):
        print(f"\n$ onnxq {shlex.join(command)}", flush=True)
        if code := subprocess.run([onnxq, *command], cwd=ROOT, check=False).returncode:
            return code
    print("\nproof")
    claims = prove(args.model, args.out, np.load(DIGITS / "test.npy"), np.load(DIGITS / "test_labels.npy"))
    for claim, holds in claims:
        print(f"  {'ok' if holds else 'NO'}  {claim}")
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
