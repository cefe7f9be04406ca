"""Samples are held against the model before any work: one that does not fit is named, with what to do."""

import numpy as np
import pytest

from onnxq.data.check import check_samples
from onnxq.data.iterables import Feeds
from onnxq.data.samples import InputSpec
from onnxq.data.source import Source, open_samples
from onnxq.errors import DataError

from .feeds import DATA, FEEDS, GOOD, IMAGE, PAIR


def sample_with(array: np.ndarray, key: str = "image") -> list[dict[str, np.ndarray]]:
    return [FEEDS[0], {key: array}]


NAN = np.where(GOOD.max() == GOOD, np.nan, GOOD)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no samples found"),
        (
            sample_with(GOOD, "imgae"),
            r"'sample\[1\]' has no input 'image'; it has 'imgae'; did you mean 'imgae'",
        ),
        (
            [{"image": GOOD, "extra": GOOD}],
            r"'sample\[0\]' has 'extra', but the model's inputs are 'image': remove it",
        ),
        (sample_with(GOOD[0]), r"shape \[3,4,4\], the model expects \[N,3,4,4\]: add the batch axis"),
        (sample_with(DATA), r"\[5,1,3,4,4\], the model expects \[N,3,4,4\]: remove the first axis"),
        (sample_with(GOOD.transpose(0, 2, 3, 1)), r"\[1,4,4,3\].*transpose it with \(0, 3, 1, 2\)"),
        (sample_with(GOOD[..., :2]), r"\[1,3,4,2\], the model expects \[N,3,4,4\]$"),
        (sample_with(GOOD[:0]), r"'sample\[1\]' is empty: no input has an element"),
        (sample_with(NAN), r"'sample\[1\]': input 'image' holds NaN or infinity"),
        (sample_with(GOOD.astype(np.float64) * 1e300), "beyond the range of float32"),
        (sample_with(np.ones((1, 3, 4, 4), np.uint8)), "is uint8, the model expects float32: store it as"),
        (sample_with(np.array([None])), "array of object, expected numbers"),
        ([[1, 2]], r"sample\[0\] is a list: expected a dict"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(items: Source, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_samples(open_samples(items, [IMAGE]), [IMAGE])


@pytest.mark.parametrize(
    ("given", "wanted", "fits"),
    [
        (np.array([0.1]), np.float32, True),
        (np.array([0.1], np.float16), np.float32, True),
        (np.array([1, -5], np.int32), np.int64, True),
        (np.array([7, 255]), np.uint8, True),
        (np.array([7, 256]), np.uint8, False),
        (np.array([-1]), np.uint64, False),
        (np.array([2**63], np.uint64), np.int64, False),
        (np.array([1.0]), np.int64, False),
        (np.array([True]), np.int64, False),
        (np.array([1]), np.bool_, False),
        (np.array([1.0], ">f4"), np.float32, True),
    ],
)
def test_dtypes_are_cast_where_values_survive(given: np.ndarray, wanted: type, fits: bool) -> None:
    spec = InputSpec("x", np.dtype(wanted), (None,))
    if not fits:
        with pytest.raises(DataError, match=r"'sample\[0\]': input 'x'"):
            check_samples(open_samples([{"x": given}], [spec]), [spec])
        return
    (sample,) = check_samples(open_samples([{"x": given}], [spec]), [spec])
    assert sample.feeds["x"].dtype == np.dtype(wanted)
    np.testing.assert_array_equal(sample.feeds["x"], given.astype(wanted))


def test_free_axes_may_vary_from_sample_to_sample() -> None:
    items: list[Feeds] = [
        {"ids": np.ones((1, n), np.int64), "mask": np.ones((1, n), np.float32)} for n in (3, 9)
    ]
    assert [s.feeds["ids"].shape for s in check_samples(open_samples(items, PAIR), PAIR)] == [(1, 3), (1, 9)]


def test_a_source_that_changes_between_passes_is_found_out() -> None:
    once = iter(FEEDS)
    samples = check_samples(open_samples(lambda: once, [IMAGE]), [IMAGE])
    with pytest.raises(DataError, match="5 samples when they were checked and 0 now"):
        list(samples)
