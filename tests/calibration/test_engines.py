"""Workers may come, go and die: the bytes are those of one run."""

import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.calibration.calibrate import calibrate
from onnxq.calibration.engines import LocalEngine, RayEngine, calibrate_on, open_engine
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.moments import Gram
from onnxq.calibration.statistics import Statistic
from onnxq.data.iterables import iterable_samples
from onnxq.data.samples import Samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import silent

MODEL = "g (float[N,4] x) => (float[N,4] y) <float[4,4] W> { h = MatMul (x, W)  y = Relu (h) }"


def _samples(count: int = 24, bad: int | None = None) -> Samples:
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(count)]
    if bad is not None:
        arrays[bad][:] = np.nan
    return iterable_samples([{"x": array} for array in arrays], None)


def _wants() -> dict[str, Statistic]:
    return {"h": Gram(-1), "y": Histogram()}


def test_a_worker_that_is_killed_leaves_no_trace(onnx_text: Callable[..., ir.Model], tmp_path: Path) -> None:
    model, path = onnx_text(MODEL), tmp_path / "a.stats.npz"
    calibrate(model, _samples(), {"y": Histogram()}, silent, path=path, part=range(5))
    killed: list[int] = []

    def kill_once(what: str, done: int, total: int) -> None:
        if not killed:
            victim = active_children()[0].pid
            assert victim is not None
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    file = calibrate_on(LocalEngine(2), model, _samples(), _wants(), kill_once, path=path)
    assert killed
    assert file.complete
    assert path.read_bytes() == calibrate(model, _samples(), _wants(), silent).to_bytes()


def test_an_error_in_a_worker_arrives(onnx_text: Callable[..., ir.Model]) -> None:
    with pytest.raises(DataError, match=r"value 'h' in sample '.*17.*' cannot be calibrated"):
        calibrate_on(LocalEngine(1), onnx_text(MODEL), _samples(bad=17), _wants(), silent)


def test_engines_by_name() -> None:
    assert open_engine("local:3") == LocalEngine(3)
    assert open_engine("ray") == RayEngine(None)
    assert open_engine("ray://host:10001") == RayEngine("ray://host:10001")
    for text in ("", "local:0", "local:x", "spark", "ray:1"):
        with pytest.raises(UsageError, match="is no engine"):
            open_engine(text)


@pytest.mark.filterwarnings("ignore")
def test_ray_replaces_a_lost_worker(onnx_text: Callable[..., ir.Model], tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra [ray])")
    arrays = [sample.feeds["x"] for sample in _samples()]
    parent, marker = os.getpid(), tmp_path / "killed"

    def feeds() -> Iterator[dict[str, Array]]:
        for i, array in enumerate(arrays):
            if i == 9 and os.getpid() != parent and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"x": array}

    model = onnx_text(MODEL)
    try:
        file = calibrate_on(RayEngine(None, 2), model, iterable_samples(feeds, None), _wants(), silent)
    finally:
        ray.shutdown()
    assert marker.exists()
    assert file.to_bytes() == calibrate(model, _samples(), _wants(), silent).to_bytes()


def test_an_unreachable_cluster_is_said_at_once(onnx_text: Callable[..., ir.Model], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra [ray])")
    path = tmp_path / "a.stats.npz"
    before = calibrate(onnx_text(MODEL), _samples(), _wants(), silent, path=path, part=range(5)).to_bytes()
    with pytest.raises(UsageError, match=r"cannot reach a Ray cluster at 'ray://127\.0\.0\.1:1': .*refused"):
        calibrate_on(
            RayEngine("ray://127.0.0.1:1"), onnx_text(MODEL), _samples(), _wants(), silent, path=path
        )
    assert path.read_bytes() == before
