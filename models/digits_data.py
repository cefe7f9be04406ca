"""The 8x8 digits of scikit-learn, split once and for all.

The test part is what every accuracy in this repository is measured on, so it is
kept out of both training and calibration; the calibration images are a subset of
the training part.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 0
TEST_COUNT = 540
CALIBRATION_COUNT = 128

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Every image and label, and the indices of each part."""

    images: Images
    labels: Labels
    train: Indices
    calibration: Indices
    test: Indices


def _hold_out(indices: Indices, labels: Labels, count: int) -> tuple[Indices, Indices]:
    """Split `indices` into (rest, `count` of them), keeping the class proportions."""
    rest, held = train_test_split(indices, test_size=count, random_state=SPLIT_SEED, stratify=labels[indices])
    return np.sort(rest), np.sort(held)


def load_split() -> Digits:
    """Load the digits as [N, 1, 8, 8] in 0..1 and split them, always in the same way."""
    raw = load_digits()
    images = (raw.images[:, None] / 16.0).astype(np.float32)
    labels = raw.target.astype(np.int64)
    train, test = _hold_out(np.arange(len(labels), dtype=np.int64), labels, TEST_COUNT)
    _, calibration = _hold_out(train, labels, CALIBRATION_COUNT)
    if np.intersect1d(train, test).size or not np.isin(calibration, train).all():
        raise RuntimeError("the test split overlaps the training split")
    return Digits(images, labels, train, calibration, test)


def save_split(digits: Digits, folder: Path) -> None:
    """Write the calibration images and the labelled test images as .npy files."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "calibration.npy", digits.images[digits.calibration])
    np.save(folder / "test.npy", digits.images[digits.test])
    np.save(folder / "test_labels.npy", digits.labels[digits.test])
