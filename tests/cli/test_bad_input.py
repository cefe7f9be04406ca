"""Whatever is wrong with the input: exit code 2, one clear message, nothing on stdout, no file left."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxq.pipeline.base import Pass

from .helpers import CONV, Run, weights, write_model

QUANTIZE = ("quantize", "model.onnx", "--data", "data", "-o", "out.onnx")


def _truncated(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:200])


def _no_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_text("hello, I am a text")


def _empty_file(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")


def _no_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def _external(folder: Path, location: str) -> None:
    model = onnx.load(folder / "model.onnx")
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location=location)
    model.graph.initializer[0].ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _external_missing(folder: Path) -> None:
    _external(folder, "weights.bin")


def _external_outside(folder: Path) -> None:
    _external(folder, "../weights.bin")


def _future_opset(folder: Path) -> None:
    text = CONV.replace('["": 17]', '["": 999]')
    write_model(folder / "model.onnx", text, W=weights(4, 2, 3, 3), b=weights(4))


def _no_samples(folder: Path) -> None:
    for file in (folder / "data").iterdir():
        file.unlink()


def _no_data(folder: Path) -> None:
    _no_samples(folder)
    (folder / "data").rmdir()


def _wrong_key(folder: Path) -> None:
    np.savez(folder / "data" / "4.npz", X=weights(1, 2, 6, 6))


def _wrong_shape(folder: Path) -> None:
    np.save(folder / "data" / "4.npy", weights(1, 6, 6, 2))


def _wrong_dtype(folder: Path) -> None:
    np.save(folder / "data" / "4.npy", weights(1, 2, 6, 6).astype(np.int32))


def _nan_sample(folder: Path) -> None:
    np.save(folder / "data" / "4.npy", np.full((1, 2, 6, 6), np.nan, np.float32))


def _nan_activation(folder: Path) -> None:
    text = CONV.replace("Sin (c)", "Log (c)")
    write_model(folder / "model.onnx", text, W=weights(4, 2, 3, 3), b=weights(4))


def _infinite_activation(folder: Path) -> None:
    big = np.full((4, 2, 3, 3), 3e38, np.float32)
    write_model(folder / "model.onnx", CONV, W=big, b=weights(4))


def _nothing_to_quantize(folder: Path) -> None:
    text = CONV.replace("Conv <kernel_shape = [3,3]> (x, W, b)", "Cos (x)").replace("Relu", "Ceil")
    write_model(folder / "model.onnx", text)


def _unknown_operator(folder: Path) -> None:
    text = CONV.replace("Sin (c)", "acme.Magic (c)").replace('["": 17]', '["": 17, "acme": 1]')
    write_model(folder / "model.onnx", text, W=weights(4, 2, 3, 3), b=weights(4))


BAD_FILES: Sequence[tuple[Callable[[Path], None], str]] = [
    (_truncated, "cut off"),
    (_no_onnx, "is not an ONNX model"),
    (_empty_file, "the file is empty"),
    (_no_model, "there is no such file"),
    (_external_missing, "there is no file 'weights.bin'"),
    (_external_outside, "'../weights.bin' is not a path inside the folder of the model"),
    (_future_opset, "its opset 999 is not known"),
    (_no_samples, "no samples found in 'data'"),
    (_no_data, "there is no file or folder 'data'"),
    (_wrong_key, "sample 'data/4.npz' has no input 'x'; it has 'X'"),
    (_wrong_shape, "sample 'data/4.npy': input 'x' has shape [1,6,6,2], the model expects [N,2,6,6]"),
    (_wrong_dtype, "sample 'data/4.npy': input 'x' is int32, the model expects float32"),
    (_nan_sample, "sample 'data/4.npy': input 'x' holds NaN or infinity"),
    (_nan_activation, "value 'e' in sample 'data/0.npy'"),
    (_infinite_activation, "value 'c' in sample 'data/0.npy'"),
    (_nothing_to_quantize, "no operator of the model can be quantized for target generic-int8"),
    (_unknown_operator, "acme:Magic(-1) is not a registered function/op"),
]

BAD_WORDS = [
    (("--target", "generic-int9"), "no target 'generic-int9'; did you mean 'generic-int8'?"),
    (("--target", "gone.toml"), "target file 'gone.toml' does not exist"),
    (("--options", "symetric=true"), "no option 'symetric'; did you mean 'symmetric'?"),
    (("--options", "activation=int99"), "'int99' is no integer format"),
    (("--preprocess", "sise=4x4"), "no key 'sise'; did you mean 'size'?"),
    (("--preprocess", "size=4x4"), "preprocessing is for files of pictures"),
    (("--limit", "0"), "the limit of samples is 0, expected 1 or more"),
    (("--limit", "many"), "--limit"),
    (("--form", "qqd"), "'qqd' is not one of 'qdq', 'qoperator', 'integer'"),
    (("--traget", "integer"), "--target"),
    (("--dump-after", "folder"), "takes PASS=FOLDER or all=FOLDER, not 'folder'"),
    (("--dump-after", "fuse-sliu=dumps"), "no pass 'fuse-sliu'; did you mean 'fuse-silu'?"),
    (("--dump-after", "all=model.onnx"), "cannot make the folder 'model.onnx'"),
    (("-o", "model.onnx"), "'model.onnx' is the input itself"),
    (("-o", "data"), "it is a folder"),
    (("-o", "no/such/folder/out.onnx"), "the folder 'no/such/folder' does not exist"),
    (("-o", "/proc/out.onnx"), "cannot write '/proc/out.onnx'"),
    (("--report", "/proc/out.json"), "cannot write '/proc/out.json'"),
    (("--data", "random:0"), "'random:0': expected random:N with N of 1 or more"),
    (("--data", "random:x"), "'random:x': expected random:N"),
]


def _words(parameter: object) -> str:
    return " ".join(parameter) if isinstance(parameter, tuple) else ""


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES, ids=lambda v: getattr(v, "__name__", ""))
def test_quantize_refuses_a_bad_file(
    onnxq: Run, small: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(small)
    _refused(onnxq, small, monkeypatch, QUANTIZE, message)


@pytest.mark.parametrize(("words", "message"), BAD_WORDS, ids=_words)
def test_quantize_refuses_bad_words(
    onnxq: Run, small: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    _refused(onnxq, small, monkeypatch, (*QUANTIZE, *words), message)


EARLY = [
    (("--recipe", "gone.toml"), "there is no recipe 'gone.toml'\n"),
    (("--recipe", "data"), "--recipe takes a TOML file, whose name ends in .toml, not 'data'"),
    (("--recipe", "folder.toml"), "cannot read recipe 'folder.toml': Is a directory\n"),
    (("--method", "percentile:200"), "percent must lie between 50 and 100"),
    (("--options", "activation=int3"), "takes activations of uint8, int16, int8, uint16, not int3"),
    (("--options", "trainable=true weights=integer"), "integer weights cannot be trained"),
    (("--stats", "gone.stats.npz"), "there is no statistics file 'gone.stats.npz'"),
    (("--checkpoints", "model.onnx"), "cannot make the folder 'model.onnx': 'model.onnx' is a file"),
    (("--checkpoints", "model.onnx/a/b"), "cannot make the folder 'model.onnx/a/b': 'model.onnx' is a file"),
    (("--checkpoints", "/proc/x"), "cannot write into the folder '/proc/x'"),
    (("--dump-after", "gone=dumps"), "the pipeline has no pass 'gone'; its passes are "),
    (("--dump-after", "all=model.onnx/x"), "'model.onnx' is a file"),
    (
        ("-o", "model.onnx/out.onnx"),
        "cannot write 'model.onnx/out.onnx': 'model.onnx' is a file, not a folder",
    ),
    (("--report", "gone/report.json"), "the folder 'gone' does not exist"),
    (("--report", "./out.onnx"), "--report and --output are one file, 'out.onnx'"),
    (("--seed", "-1"), "--seed"),
    (("--time-budget", "5"), "--time-budget and --coverage are for a search: add --auto"),
    (("--auto", "--state", "a=b"), "it takes none of --stats"),
    (("--auto", "--recipe", "gone.toml"), "there is no recipe 'gone.toml'\n"),
    (("--auto", "--report", "gone/report.json"), "the folder 'gone' does not exist"),
    (("--auto", "--metric", "gone.py:score"), "there is no Python file 'gone.py' for the metric"),
    (("--auto", "--metric", "empty.py:score"), "'empty.py' has no function 'score' for the metric"),
    (("--auto", "--metric", "rate-it {model}"), "the metric command 'rate-it' is no program"),
    (("--auto", "--results", "model.onnx/x"), "'model.onnx' is a file"),
]


@pytest.mark.parametrize(("words", "message"), EARLY, ids=_words)
def test_what_the_command_line_can_know_is_refused_before_the_first_pass(
    onnxq: Run, small: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    def runs(pass_: Pass, *_: object) -> None:
        pytest.fail(f"{pass_.name} ran")

    (small / "folder.toml").mkdir()
    (small / "empty.py").touch()
    monkeypatch.setattr(Pass, "run", runs)
    _refused(onnxq, small, monkeypatch, (*QUANTIZE, *words), message)


MISUSE = [
    (
        ("run", "model.onnx", "-p", "prepare, round-weights{bits=9}", "--data", "data", "-o", "out.onnx"),
        "round-weights: bits is 2 … 8, not 9",
    ),
    (
        ("run", "model.onnx", "-p", "prepare, insert-qdq{recipe=gone.toml}", "-o", "out.onnx"),
        "there is no recipe 'gone.toml'\n  in the options of the pass 'insert-qdq'",
    ),
    (("calibrate", "model.onnx", "--data", "data", "--engine", "moon"), "'moon' is no engine"),
    (("verify", "model.onnx", "--target", "moon"), "no target 'moon'"),
    (
        ("golden", "model.onnx", "--data", "data", "-o", "model.onnx/x"),
        "'model.onnx' is a file, not a folder",
    ),
    (("quantise",), "No such command 'quantise'. Did you mean 'quantize'?"),
    (("plan",), "Missing argument 'MODEL'"),
    (("inspect", "gone.onnx"), "cannot load 'gone.onnx': there is no such file"),
    (("verify", "data"), "cannot load 'data': it is no regular file"),
    (("plan", "model.onnx", "--target", "x"), "no target 'x'. Known: "),
    (("passes", "fuse-sliu"), "no pass 'fuse-sliu'; did you mean 'fuse-silu'?"),
    (("targets", "show", "x"), "no target 'x'"),
    (("stats", "show", "gone.stats.npz"), "there is no statistics file 'gone.stats.npz'"),
    (("stats", "show", "model.onnx"), "'model.onnx' is no readable statistics file"),
    (("run", "model.onnx", "-p", "prepare"), "onnxq run needs -o OUT"),
    (("run", "model.onnx", "-p", "prepare,", "-o", "out.onnx"), "expected the name of a pass"),
    (("run", "model.onnx", "-p", "@gone.txt", "-o", "out.onnx"), "cannot read the pipeline file 'gone.txt'"),
    (("run", "model.onnx", "-p", "prepare, insert-qdq", "-o", "out.onnx"), "pass --data FOLDER"),
    (
        ("run", "model.onnx", "-p", "clean", "-o", "out.onnx", "--stop-after", "simplify"),
        "no pass 'simplify'",
    ),
    (("calibrate", "model.onnx", "--data", "data", "-o", "model.onnx"), "is the input itself"),
    (("compare", "model.onnx", "gone.onnx", "--data", "data"), "cannot load 'gone.onnx'"),
    (
        ("compare", "model.onnx", "model.onnx", "--data", "data", "--labels", "data/0.npy"),
        "labels are float32",
    ),
]


@pytest.mark.parametrize(("words", "message"), MISUSE, ids=_words)
def test_wrong_use_of_the_other_commands(
    onnxq: Run, small: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    _refused(onnxq, small, monkeypatch, words, message)


def _refused(
    onnxq: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    before = _files(folder)
    done = onnxq(*words)
    assert done.code == 2, done
    assert done.out == ""
    assert message in done.err
    assert done.err.count("onnxq: ") == 1, "one message"
    assert done.err.startswith("onnxq: error: ")
    assert "Traceback" not in done.err
    assert "defect" not in done.err
    assert _files(folder) == before


def _files(folder: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}
