"""Time of strict integers on ONNX Runtime, next to the float model and to fused Q/DQ.

    python tools/bench_integer.py [--models resnet18_shape mobilenet_v2_tf2] [--threads 1] [--profile]

``resnet18_shape`` (224 × 224) and ``bert_layer_shape`` (one layer of BERT-base, 128 words) are generated, see
generated_models.py; other names are models of a folder that has a ``zoo.py`` (``--zoo``). Each is quantized
for the target ``integer`` and lowered in the dialect ``fast``. The three forms run in turn, one sample each,
in one process with fixed threads; given are medians of milliseconds, and the median of the ratios to float of
each turn. ``--profile`` lists where the integer model spends its time, operator by operator.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from generated_models import load, require
from zoo_loader import Feeds, add_zoo_option

import onnxq
from onnxq import model_io
from onnxq.data.codes import convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

MODELS = ("resnet18_shape", "bert_layer_shape", "mobilenet_v2_tf2")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FORMS = ("float", "qdq", "integer")


def forms(name: str, zoo: Path, folder: Path) -> tuple[dict[str, Path], Feeds]:
    """Files of the three forms, and one sample of floats."""
    entry = load(name, zoo, folder)
    samples = list(entry.calibration(8))
    paths = {"float": Path(entry.float_model)} | {form: folder / f"{name}.{form}.onnx" for form in FORMS[1:]}
    made = onnxq.quantize(paths["float"], samples, target="integer", form="qdq", proof=0)
    made.save(paths["qdq"])
    lowered = run_pipeline(made.model.clone(), parse("lower"), Context())
    onnx.save(model_io.to_proto(lowered.model), paths["integer"])
    return paths, samples[0]


def sessions(paths: dict[str, Path], threads: int) -> Iterator[tuple[str, ort.InferenceSession]]:
    for form, path in paths.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # the warnings of what it drops would stand between the rows
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        yield form, ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds_of(path: Path, sample: Feeds) -> Feeds:
    """A sample as the model of a file takes it: floats, or codes."""
    session = Session(path, optimize=False)
    return {
        port.name: convert(sample[port.name], port.dtype, read_codes(session.metadata, port.name), port.name)
        if sample[port.name].dtype.kind == "f"
        else sample[port.name]
        for port in session.inputs
    }


def measure(
    paths: dict[str, Path], sample: Feeds, threads: int, rounds: int, clock: Callable[[], float]
) -> dict[str, Array]:
    """Milliseconds of each round, the forms in turn; the first two rounds do not count."""
    feeds = {form: feeds_of(path, sample) for form, path in paths.items()}
    times: dict[str, list[float]] = {form: [] for form in paths}
    running = dict(sessions(paths, threads))
    for _ in range(rounds + 2):
        for form, session in running.items():
            start = clock()
            session.run(None, feeds[form])
            times[form].append(1000 * (clock() - start))
    return {form: np.asarray(found[2:]) for form, found in times.items()}


def profile(path: Path, sample: Feeds, threads: int, rounds: int) -> Counter[str]:
    """Milliseconds a run by operator."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feeds = feeds_of(path, sample)
        for _ in range(rounds):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / rounds
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of strict integers next to float and fused Q/DQ.")
    parser.add_argument("--models", nargs="*", default=MODELS)
    add_zoo_option(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--profile", action="store_true", help="where the integer model spends its time")
    parser.add_argument("--keep", type=Path, help="folder for the models")
    args = parser.parse_args()
    require(args.models, args.zoo)
    print(f"{'model':24} {'float ms':>9} {'Q/DQ':>7} {'integer':>8}   times float; integer nodes")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            home = args.keep or Path(folder)
            home.mkdir(parents=True, exist_ok=True)
            paths, sample = forms(name, args.zoo, home)
            times = measure(paths, sample, args.threads, args.rounds, CLOCKS[args.clock])
            ratios = [float(np.median(times[form] / times["float"])) for form in FORMS[1:]]
            nodes = len(onnx.load(paths["integer"]).graph.node)
            print(f"{name:24} {np.median(times['float']):9.2f} {ratios[0]:7.2f} {ratios[1]:8.2f}   {nodes}")
            if args.profile:
                for op, spent in profile(paths["integer"], sample, args.threads, 10).most_common(12):
                    print(f"    {op:22} {spent:8.3f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
