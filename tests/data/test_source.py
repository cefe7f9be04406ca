"""Every form of source gives the same samples, any number of times; what holds none is refused."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnxruntime.quantization import CalibrationDataReader

from onnxq.data.check import check_samples
from onnxq.data.samples import InputSpec, Sample, Samples, digest, input_specs
from onnxq.data.source import Source, open_samples
from onnxq.data.synthetic import RandomDataWarning
from onnxq.errors import DataError, ModelError, UsageError

from .feeds import DATA, FEEDS, GOOD, IMAGE, PAIR


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.items = iter(FEEDS)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.items, None)


class RewindReader(Reader):
    def rewind(self) -> None:
        self.items = iter(FEEDS)


def npz_folder(tmp_path: Path) -> Path:
    for i in (3, 0, 4, 1, 2):
        np.savez(tmp_path / f"{i:04}.npz", image=DATA[i])
    (tmp_path / "notes.txt").write_text("not a sample")
    return tmp_path


def npy_folder(tmp_path: Path) -> Path:
    for i, x in enumerate(DATA):
        np.save(tmp_path / f"{i}.npy", np.asfortranarray(x))
    return tmp_path


def npy_rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "all.npy", DATA[:, 0])
    return tmp_path / "all.npy"


def npy_batches(tmp_path: Path) -> Path:
    np.save(tmp_path / "all.npy", DATA)
    return tmp_path / "all.npy"


SOURCES: dict[str, Callable[[Path], Source]] = {
    "npz folder": npz_folder,
    "npy folder": npy_folder,
    "rows of one npy": npy_rows,
    "batches in one npy": npy_batches,
    "list": lambda _: FEEDS,
    "generator": lambda _: ({"image": x} for x in DATA),
    "function": lambda _: lambda: iter(FEEDS),
    "reader": lambda _: Reader(),
    "reader with rewind": lambda _: RewindReader(),
    "samples": lambda _: open_samples(FEEDS, [IMAGE]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_samples_again_and_again(kind: str, tmp_path: Path) -> None:
    samples = check_samples(open_samples(SOURCES[kind](tmp_path), [IMAGE]), [IMAGE])
    for _ in range(2):
        np.testing.assert_array_equal([s.feeds["image"] for s in samples], DATA)
    assert len(samples) == 5
    assert samples.fingerprint() == digest(Sample("any", {"image": x}) for x in DATA)


@pytest.mark.parametrize("kind", SOURCES)
def test_limit_takes_the_first(kind: str, tmp_path: Path) -> None:
    samples = open_samples(SOURCES[kind](tmp_path), [IMAGE], limit=2)
    np.testing.assert_array_equal([s.feeds["image"] for s in samples], DATA[:2])
    assert len(samples) == 2


def test_one_npz_is_one_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", ids=np.ones((1, 7), np.int64), mask=np.ones((1, 7), np.float32))
    (sample,) = check_samples(open_samples(tmp_path / "one.npz", PAIR), PAIR)
    assert sample.name.endswith("/one.npz")
    assert list(sample.feeds) == ["ids", "mask"]


def test_an_endless_generator_is_read_to_the_limit_only() -> None:
    def endless() -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield FEEDS[0]

    assert len(open_samples(endless(), [IMAGE], limit=3)) == 3


def test_spooled_files_go_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    samples: Samples | None = open_samples(iter(FEEDS), [IMAGE])
    assert len(list(tmp_path.glob("*/*.npz"))) == 5
    del samples
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_fingerprint_sees_names_types_shapes_bytes_and_order() -> None:
    x = np.zeros((2, 3), np.float32)
    variants: list[list[dict[str, np.ndarray]]] = [
        [{"a": x}], [{"b": x}], [{"a": x.astype(np.int32)}], [{"a": x.T}], [{"a": x + 1}],
        [{"a": x}, {"a": x}], [{"a": x, "b": x}], [{"a": x}, {"b": x}], [{"a": x + 1}, {"a": x}],
    ]  # fmt: skip
    prints = {digest(Sample("s", feeds) for feeds in variant) for variant in variants}
    assert len(prints) == len(variants)
    assert digest([Sample("s", {"a": x, "b": x})]) == digest([Sample("t", {"b": x, "a": x.copy(order="F")})])


def test_random_samples_are_seeded_and_warn() -> None:
    with pytest.warns(RandomDataWarning, match="meaningless") as record:
        first, other = (open_samples("random:3", PAIR, seed=seed) for seed in (1, 2))
    assert record[0].filename == __file__
    assert first.fingerprint() == first.fingerprint() != other.fingerprint()
    for sample in check_samples(first, PAIR):
        ids, mask = sample.feeds["ids"], sample.feeds["mask"]
        assert ids.shape == mask.shape == (1, ids.shape[1])
        assert 8 <= ids.shape[1] <= 16
        assert 0 <= ids.min() <= ids.max() <= 3


def test_random_samples_refuse_what_the_model_merely_declares() -> None:
    huge = InputSpec("x", np.dtype(np.float32), (10**9, 10**9))
    with pytest.raises(DataError, match=r"input 'x'.*give real samples"):
        open_samples("random:1", [huge])
    for text in ("random:0", "random:", "random:-1", "random:²"):
        with pytest.raises(UsageError, match="random:N"):
            open_samples(text, PAIR)


def test_input_specs_leave_out_defaults_and_refuse_strings() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["": 17]>
        g (float[N,3] x, float[3] w, int64[2] n) => (float[N,3] y) <float[3] w = {1, 2, 3}>
        { y = Mul (x, w) }""")
    assert [f"{spec.name} {spec}" for spec in input_specs(model)] == ["x float32[?,3]", "n int64[2]"]
    model.graph.inputs[0].dtype = ir.DataType.STRING
    with pytest.raises(ModelError, match=r"input 'x'.*tensors of numbers only"):
        input_specs(model)


def test_memory_holds_one_sample_at_a_time(tmp_path: Path) -> None:
    npz_folder(tmp_path)
    (tmp_path / "0002.npz").write_bytes(b"damaged")
    samples = iter(open_samples(tmp_path, [IMAGE]))
    assert [next(samples).name[-8:], next(samples).name[-8:]] == ["0000.npz", "0001.npz"]
    with pytest.raises(DataError, match=r"0002\.npz"):
        next(samples)


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ({}, ".", r"no samples found in .* \(looked for \*\.npz, \*\.npy, \*\.png"),
        ({}, "absent", "there is no file or folder"),
        ({"a.npy": GOOD, "b.png": GOOD}, ".", "both arrays .'a.npy'. and pictures"),
        ({"a.npy": np.ones(3)}, "a.npy", r"\[3\]; expected samples along axis 0, that is 4 or 5 axes"),
        ({"a.npy": DATA[:0]}, "a.npy", r"no samples found in .*\[0, 1, 3, 4, 4\]"),
    ],
)
def test_sources_that_hold_nothing(
    files: dict[str, np.ndarray], source: str, message: str, tmp_path: Path
) -> None:
    for name, array in files.items():
        with open(tmp_path / name, "wb") as stream:
            np.save(stream, array)
    with pytest.raises(DataError, match=message):
        open_samples(tmp_path / source, [IMAGE])


def test_a_source_of_no_known_form_is_refused() -> None:
    with pytest.raises(DataError, match="cannot come from int: expected a folder or file"):
        open_samples(42, [IMAGE])  # type: ignore[arg-type]


def test_arrays_without_names_need_a_model_with_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD)
    with pytest.raises(DataError, match=r"2 inputs \('ids', 'mask'\)"):
        open_samples(tmp_path / "a.npy", PAIR)
    with pytest.raises(DataError, match=r"2 inputs \('ids', 'mask'\)"):
        list(open_samples(tmp_path, PAIR))


def test_a_limit_below_one_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="limit"):
        open_samples(FEEDS, [IMAGE], limit=0)
