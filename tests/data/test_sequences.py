"""State goes from step to step as it does when the model runs, and every sequence starts afresh."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.calibration.calibrate import calibrate
from onnxq.calibration.engines import LocalEngine, calibrate_on
from onnxq.calibration.moments import Moments
from onnxq.calibration.statistics import MinMax
from onnxq.data.check import check_samples
from onnxq.data.samples import input_specs
from onnxq.data.sequences import carry_state, parse_state
from onnxq.data.source import Source
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import silent

Text = Callable[..., ir.Model]

MODEL = """
g (float[N,2] x, float gain, float[N,2] s) => (float[N,2] y, float[N,2] next) {
    half = Mul (s, gain)
    next = Add (half, x)
    y = Neg (next)
}"""
STATE = {"next": "s"}
GAIN = np.array(0.5, np.float32)
TRACKS = [np.arange(6, dtype=np.float32).reshape(3, 1, 2), np.ones((2, 1, 2), np.float32)]


def _by_hand(start: float = 0.0) -> list[Array]:
    """The state before every step of both tracks: s <- s / 2 + x, from ``start``."""
    states = []
    for track in TRACKS:
        now: Array = np.full((1, 2), start, np.float32)
        for x in track:
            states.append(now)
            now = now / 2 + x
    return states


def _folders(root: Path) -> Path:
    for i, track in enumerate(TRACKS):
        (root / f"{i}").mkdir()
        for t, x in enumerate(track):
            np.savez(root / f"{i}" / f"{t}.npz", x=x, gain=GAIN)
    return root


def _timed(root: Path) -> Path:
    for i, track in enumerate(TRACKS):
        np.savez(root / f"{i}.npz", x=track, gain=GAIN)
    return root


def _dicts() -> list[dict[str, Array]]:
    return [{"x": track, "gain": GAIN} for track in TRACKS]


@pytest.mark.parametrize("made", [_folders, _timed, lambda _: _dicts()])
def test_sequences_start_with_zeros(onnx_text: Text, tmp_path: Path, made: Callable[[Path], Source]) -> None:
    model, source = onnx_text(MODEL), made(tmp_path)
    samples = check_samples(carry_state(model, source, STATE), input_specs(model))
    for _ in range(2):
        np.testing.assert_array_equal([sample.feeds["s"] for sample in samples], _by_hand())
    assert len(samples) == 5
    assert len(list(carry_state(model, source, STATE, limit=4))) == 4


def test_the_first_step_may_bring_its_state(onnx_text: Text) -> None:
    seed = {"s": np.full((1, 2), 8, np.float32)}
    flat = [
        {"x": x, "gain": GAIN, **(seed if t == 0 else {})} for track in TRACKS for t, x in enumerate(track)
    ]
    for source in (flat, [feeds | seed for feeds in _dicts()]):
        samples = carry_state(onnx_text(MODEL), source, STATE)
        np.testing.assert_array_equal([sample.feeds["s"] for sample in samples], _by_hand(8.0))


def test_steps_are_counted_in_any_order_by_any_worker(onnx_text: Text) -> None:
    model = onnx_text(MODEL)
    samples = check_samples(carry_state(model, _dicts(), STATE), input_specs(model))
    file = calibrate(model, samples, {"half": MinMax(), "y": Moments(1)}, silent)
    bounds = file.values["half"].statistic
    assert isinstance(bounds, MinMax)
    states = np.array(_by_hand()) / 2
    assert (bounds.min, bounds.max) == (states.min(), states.max())
    again = calibrate_on(LocalEngine(1), model, samples, {"half": MinMax(), "y": Moments(1)}, silent)
    assert again.to_bytes() == file.to_bytes()


def test_wrong_use_is_said(onnx_text: Text, tmp_path: Path) -> None:
    model, one = onnx_text(MODEL), [{"x": TRACKS[0], "gain": GAIN}]
    with pytest.raises(UsageError, match="has no output 'nxt' to carry state; did you mean 'next'"):
        carry_state(model, one, {"nxt": "s"})
    with pytest.raises(UsageError, match="has no input 'state' to carry state"):
        carry_state(model, one, {"next": "state"})
    with pytest.raises(DataError, match=r"different numbers of steps: 'x' 3, 'gain' 2"):
        carry_state(model, [{"x": TRACKS[0], "gain": np.ones(2, np.float32)}], STATE)
    with pytest.raises(DataError, match=r"sample\[0\]\[1\]': after it the state 'next' holds NaN"):
        carry_state(model, [{"x": TRACKS[0] * 0 + np.float32(2e38), "gain": GAIN + 1}], STATE)
    (tmp_path / "a").mkdir()
    (tmp_path / "b.npz").touch()
    with pytest.raises(DataError, match="both folders and files"):
        carry_state(model, tmp_path, STATE)
    assert parse_state(["a=b", "c=d=e"]) == {"a": "b", "c=d": "e"}
    for texts in (["a"], ["=b"], ["a="], ["a=b", "a=c"], ["a=b", "c=b"]):
        with pytest.raises(UsageError):
            parse_state(texts)
