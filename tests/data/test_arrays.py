"""Hostile and odd .npy/.npz files; numpy itself writes what is good and is the judge of what it means."""

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxq.data import arrays as arrays_module
from onnxq.data.arrays import map_npy, read_npy, read_npz, write_npz
from onnxq.errors import DataError

NUMBERS = st.one_of(hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)))


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    """The bytes of an .npy file, its header claiming another ``shape`` of as many digits."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    return content if shape is None else content.replace(str(array.shape).encode(), shape.encode())


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries.items():
            target.writestr(f"{name}.npy", content)
    return path


@settings(max_examples=60)
@given(array=hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, min_side=0)), fortran=st.booleans())
def test_reads_what_numpy_writes(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, fortran: bool
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    written = np.asfortranarray(array) if fortran and array.ndim else array
    np.save(folder / "a.npy", written)
    archive(folder / "a.npz", **{"in:0/x": (folder / "a.npy").read_bytes()})
    for got in (read_npy(folder / "a.npy"), map_npy(folder / "a.npy"), read_npz(folder / "a.npz")["in:0/x"]):
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)


def test_numpy_reads_what_is_written_for_any_key(tmp_path: Path) -> None:
    write_npz(tmp_path / "s.npz", {"file": np.arange(6).reshape(2, 3), "x:0": np.array(1.5, np.float32)})
    with np.load(tmp_path / "s.npz", allow_pickle=False) as loaded:
        assert sorted(loaded) == ["file", "x:0"]
        np.testing.assert_array_equal(loaded["file"], [[0, 1, 2], [3, 4, 5]])


GOOD = npy(np.arange(100, dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "cannot be read", id="empty"),
        pytest.param(GOOD[:40], "cannot be read", id="cut in the header"),
        pytest.param(GOOD[:-4], "holds 396 bytes", id="cut in the data"),
        pytest.param(GOOD + b"more", "holds 404 bytes", id="trailing bytes"),
        pytest.param(npy(np.array([{"a": 1}], object)), "no objects", id="pickle"),
        pytest.param(npy(np.array(["text"])), "dtype is <U4", id="text"),
        pytest.param(npy(np.zeros(3, [("a", "f4")])), "dtype is", id="structured"),
        pytest.param(npy(np.zeros(3, np.complex64)), "dtype is complex64", id="complex"),
        pytest.param(GOOD.replace(b"(100,)", b"(9**9)"), "cannot be read", id="code for a shape"),
        pytest.param(npy(np.zeros(10**6, "i1"), "(99999999,)")[:200], "holds", id="huge shape"),
        pytest.param(GOOD.replace(b"(100,)", b"(-10,)"), "holds 400 bytes", id="negative shape"),
        pytest.param(b"\x93NUMPY\x02\x00" + b"\xff" * 99, "version", id="header of 4 GB"),
    ],
)
def test_bad_arrays_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.npy").write_bytes(content)
    archive(tmp_path / "bad.npz", x=content)
    for read, file in ((read_npy, "bad.npy"), (map_npy, "bad.npy"), (read_npz, "bad.npz")):
        with pytest.raises(DataError, match=f"{file}.*{message}"):
            read(tmp_path / file)


def test_a_declared_shape_allocates_nothing(tmp_path: Path) -> None:
    header = npy(np.zeros(10**6, "i1"), "(9999999999999999,)")[:128]
    path = archive(tmp_path / "bomb.npz", x=header)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"declares int8\[9999999999999999\] but holds"):
        read_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays_module, "MAX_SAMPLE_BYTES", 10**6)
    path = archive(tmp_path / "bomb.npz", a=npy(np.zeros(600_000, "i1")), b=npy(np.zeros(600_000, "i1")))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="unpacks to 1200"):
        read_npz(path)


@settings(max_examples=150)
@given(where=st.integers(0, 600), value=st.integers(0, 255), keep=st.integers(0, 800))
def test_damage_is_always_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, where: int, value: int, keep: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f.npz"
    content = bytearray(archive(path, x=GOOD, y=GOOD).read_bytes())
    content[where % len(content)] = value
    path.write_bytes(bytes(content) if keep > 700 else bytes(content)[:keep])
    with contextlib.suppress(DataError):
        read_npz(path)


def test_not_an_archive_of_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as target:
        target.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"contains 'readme\.txt'"):
        read_npz(tmp_path / "z.npz")
    with pytest.raises(DataError, match="No such file"):
        read_npy(tmp_path / "absent.npy")
