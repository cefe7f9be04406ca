"""Checkpoints: what is kept comes back bit for bit, and what is damaged is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.errors import DataError, UsageError
from onnxq.rounding.checkpoint import Checkpoint
from onnxq.rounding.rounded import Rounded


def _rounded(seed: int, wide: bool) -> Rounded:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    scale = rng.uniform(1e-6, 10, shape if wide else (*shape[:2], 1)).astype(np.float32).astype(np.float64)
    codes = rng.integers(-255, 256, shape)
    rest = (rng.normal(size=shape[:2]) for _ in range(3))
    return Rounded(codes * scale, scale, *rest)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=50)
def test_a_layer_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, wide: bool
) -> None:
    checkpoint = Checkpoint.of(tmp_path_factory.mktemp("kept"), ["a run"])
    made = _rounded(seed, wide)
    assert checkpoint.layer(3, made.weights.shape) is None
    checkpoint.keep(3, made)
    back = checkpoint.layer(3, made.weights.shape)
    assert back is not None
    np.testing.assert_array_equal(back.weights, made.weights)
    np.testing.assert_array_equal(back.scale, np.broadcast_to(made.scale, made.weights.shape))
    for name in ("shift", "before", "after"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))


@pytest.mark.parametrize(("cut", "why"), [(slice(None, -1), "bytes, expected"), (slice(None), "checksum")])
def test_a_damaged_file_is_named(tmp_path: Path, cut: slice, why: str) -> None:
    checkpoint, made = Checkpoint.of(tmp_path, ["a run"]), _rounded(0, False)
    checkpoint.keep(0, made)
    file = next(tmp_path.glob("*/00000.layer"))
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(bytes(content)[cut])
    with pytest.raises(DataError, match=rf"00000.layer' is damaged: .*{why}.*remove it"):
        checkpoint.layer(0, made.weights.shape)


def test_runs_are_kept_apart_and_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    made = _rounded(1, True)
    Checkpoint.of(tmp_path, ["one"]).keep(0, made)
    assert Checkpoint.of(tmp_path, ["other"]).layer(0, made.weights.shape) is None
    none = Checkpoint.of(None, ["one"])
    none.keep(0, made)
    assert none.layer(0, made.weights.shape) is None
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot make the checkpoint folder"):
        Checkpoint.of(tmp_path / "file", ["one"])
