"""The file: one form, refused when it is damaged or another model's, the same however the work was cut."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq import model_io
from onnxq.calibration.calibrate import calibrate
from onnxq.calibration.fingerprint import fingerprint
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.kinds import Joint
from onnxq.calibration.moments import Moments
from onnxq.calibration.observe import Options
from onnxq.calibration.statistics import ChannelMinMax, MinMax, Statistic
from onnxq.calibration.store import StatisticsFile, merge_files
from onnxq.data.iterables import iterable_samples
from onnxq.data.samples import Samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import silent

MODEL = """
g (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,3,3] W> {
    c = Conv <pads = [1,1,1,1]> (x, W)
    r = Relu (c)
    y = Sigmoid (r)
}"""
PAIRS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda p: (min(p), max(p))), max_size=5
)


@pytest.fixture
def model(onnx_text: Callable[..., ir.Model]) -> ir.Model:
    made = onnx_text(MODEL)
    assert isinstance(made, ir.Model)
    return made


def _f(numbers: object) -> Array:
    return np.array(numbers, np.float32)


def _samples(count: int = 12) -> Samples:
    rng = np.random.default_rng(3)
    feeds = [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]
    return iterable_samples(feeds, None)


def _wants() -> dict[str, Statistic]:
    joint = Joint([Histogram(), ChannelMinMax(1), Moments(1)])
    return {"y": Histogram(), "x": MinMax(), "r": joint}


def test_the_file_reads_back_and_numpy_reads_it(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.stats.npz"
    file = calibrate(model, _samples(), _wants(), silent, path=path)
    loaded = StatisticsFile.load(path)
    assert loaded.complete
    assert path.read_bytes() == file.to_bytes() == loaded.to_bytes()
    with np.load(path, allow_pickle=False) as archive:
        header = json.loads(archive["header.json"])
        assert [value["name"] for value in header["values"]] == ["r", "x", "y"]
        assert int(archive["1/count"]) == 12 * 192


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_merge_into_the_bytes_of_one_run(model: ir.Model, shards: int) -> None:
    whole = calibrate(model, _samples(), _wants(), silent).to_bytes()
    cuts = np.linspace(0, 12, shards + 1).astype(int)
    parts = [range(int(a), int(b)) for a, b in pairwise(cuts)]
    np.random.default_rng(shards).shuffle(parts)
    files = [calibrate(model, _samples(), _wants(), silent, part=part) for part in parts]
    merged = merge_files(files)
    assert merged.complete
    assert merged.to_bytes() == whole


def test_a_killed_run_ends_in_the_same_bytes(model: ir.Model, tmp_path: Path) -> None:
    path, reference = tmp_path / "killed.stats.npz", tmp_path / "whole.stats.npz"
    model_io.save(model, tmp_path / "m.onnx")
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import _samples, _wants, calibrate, model_io
model = model_io.load(Path({str(tmp_path / "m.onnx")!r}))
calibrate(model, _samples(), _wants(), lambda *a: time.sleep(0.05), path=Path(sys.argv[1]), seconds=0.0)
""")
    calibrate(model_io.load(tmp_path / "m.onnx"), _samples(), _wants(), silent, path=reference)
    for _ in range(2):
        run = subprocess.Popen([sys.executable, str(script), str(path)])
        _wait_for_change(path)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not StatisticsFile.load(path).complete
    counted: list[int] = []
    calibrate(
        model_io.load(tmp_path / "m.onnx"),
        _samples(),
        _wants(),
        lambda what, done, total: counted.append(total),
        path=path,
    )
    assert counted[0] < 12
    assert path.read_bytes() == reference.read_bytes()


def _wait_for_change(path: Path) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.005)
    pytest.fail("no checkpoint was written")


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint fails; the first stays, and the next run ends in the bytes of a whole one."""
    writes, fsync = iter([True, False]), os.fsync

    def filling_up(handle: int) -> None:
        if not next(writes, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    path = tmp_path / "a.stats.npz"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", filling_up)
        with pytest.raises(UsageError, match="No space left on device"):
            calibrate(model, _samples(), _wants(), silent, path=path, seconds=0)
    assert os.listdir(tmp_path) == [path.name]
    kept = StatisticsFile.load(path)
    assert not kept.complete
    whole = calibrate(model, _samples(), _wants(), silent)
    assert calibrate(model, _samples(), _wants(), silent, path=path).to_bytes() == whole.to_bytes()


def test_every_flipped_bit_and_every_cut_is_found(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.stats.npz"
    content = calibrate(model, _samples(2), _wants(), silent).to_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[:cut] for cut in rng.integers(0, len(content), 40)]
    for place, bit in zip(rng.integers(0, len(content), 200), rng.integers(0, 8, 200), strict=True):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        damaged.append(bytes(flipped))
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"a\.stats\.npz' is no readable statistics file"):
            StatisticsFile.load(path)


def test_declared_sizes_allocate_nothing(model: ir.Model, tmp_path: Path) -> None:
    path, evil = tmp_path / "a.stats.npz", tmp_path / "evil.stats.npz"
    calibrate(model, _samples(1), {"x": MinMax()}, silent, path=path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, content.replace(b"'shape': (2,)", b"'shape': (9" + b"9" * 11 + b",)"))
    with pytest.raises(DataError, match="no readable statistics file"):
        StatisticsFile.load(evil)


def test_other_models_other_data_and_double_counting_are_refused(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.stats.npz"
    file = calibrate(model, _samples(4), _wants(), silent, path=path, part=range(2))
    other = calibrate(model, _samples(4), _wants(), silent, part=range(1, 4))
    with pytest.raises(DataError, match="the samples 1 are in both"):
        merge_files([file, other])
    with pytest.raises(DataError, match="statistics of different data cannot be merged"):
        merge_files([file, replace(other, data="0")])
    with pytest.raises(DataError, match="was measured on other data"):
        calibrate(model, _samples(5), _wants(), silent, path=path)
    with pytest.raises(DataError, match="holds value 'x' as 'minmax', but 'histogram' is wanted"):
        calibrate(model, _samples(4), {"x": Histogram()}, silent, path=path)
    changed = model.clone()
    changed.graph.initializers["W"].const_value = ir.tensor(np.zeros((4, 3, 3, 3), np.float32))
    with pytest.raises(DataError, match="were measured on another model"):
        file.require_model(fingerprint(changed))
    with pytest.raises(DataError, match=r"'.*a\.stats\.npz' were measured on another model"):
        calibrate(changed, _samples(4), _wants(), silent, path=path)
    with pytest.raises(DataError, match="there is no statistics file"):
        StatisticsFile.load(tmp_path / "none.npz")


def test_values_can_be_added_to_a_finished_file(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "a.stats.npz"
    calibrate(model, _samples(), {"x": MinMax()}, silent, path=path)
    totals: list[int] = []
    file = calibrate(model, _samples(), {"y": MinMax()}, lambda w, d, total: totals.append(total), path=path)
    assert file.complete
    assert sorted(file.values) == ["x", "y"]
    assert totals[-1] == 12
    assert calibrate(model, _samples(), {"y": MinMax()}, silent, path=path).to_bytes() == file.to_bytes()


def test_left_out_arrays_are_counted_and_values_never_made_are_said(
    onnx_text: Callable[..., ir.Model],
) -> None:
    text = """g (float[1] x, bool take) => (float[1] y) {
        y = If (take) <then_branch = t () => (float[1] p) { p = Log (x) },
                       else_branch = e () => (float[1] q) { q = Exp (x) }> }"""
    feeds = [{"x": _f([number]), "take": np.array(True)} for number in (1, -1, 2)]
    wants: dict[str, Statistic] = {"p": MinMax(), "q": Histogram()}
    file = calibrate(
        onnx_text(text), iterable_samples(feeds, None), wants, silent, options=Options(skip_bad=True)
    )
    assert file.values["p"].skipped == (1,)
    never_made = file.values["q"].statistic
    assert isinstance(never_made, Histogram)
    assert never_made.count == 0
    assert file.complete


@given(PAIRS, PAIRS)
def test_intervals_are_sets(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    def members(pairs: list[tuple[int, int]]) -> set[int]:
        return {i for start, stop in pairs for i in range(start, stop)}

    x, y = Intervals.of(a), Intervals.of(b)
    for result, wanted in (
        (x | y, members(a) | members(b)),
        (x & y, members(a) & members(b)),
        (x - y, members(a) - members(b)),
    ):
        assert {i for i in range(31) if i in result} == wanted
        assert len(result) == len(wanted)
        assert result == Intervals.of((i, i + 1) for i in wanted)
