"""Samples that lie in files: folders of .npz and .npy, a single .npz, the rows of a single .npy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxq.data.arrays import map_npy, read_npy, read_npz
from onnxq.data.samples import InputSpec, Sample, Samples
from onnxq.errors import DataError

__all__ = ["FileSamples", "RowSamples", "only_input", "sample_name"]


@dataclass(frozen=True)
class FileSamples(Samples):
    """One sample a file: .npz with the model's input names as keys, or .npy for a model with one input."""

    paths: Sequence[Path]
    specs: Sequence[InputSpec]

    def __iter__(self) -> Iterator[Sample]:
        for path in self.paths:
            yield Sample(sample_name(path), self._read(path))

    def __len__(self) -> int:
        return len(self.paths)

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        return (
            read_npz(path)
            if path.suffix.lower() == ".npz"
            else {only_input(self.specs, path): read_npy(path)}
        )


@dataclass(frozen=True)
class RowSamples(Samples):
    """The rows of one .npy file along axis 0, each a batch of 1, for a model with one input.

    An array of the input's rank [M,c,h,w] gives M samples [1,c,h,w]. An array with one axis more
    [M,n,c,h,w] gives M samples [n,c,h,w]. The file is mapped: rows are loaded one by one.

    Raises:
        DataError: the file is damaged, has no rows, or has another rank.
    """

    path: Path
    spec: InputSpec

    def __post_init__(self) -> None:
        rows, rank = map_npy(self.path), len(self.spec.shape)
        if rows.ndim not in (rank, rank + 1) or rows.ndim == 0:
            raise DataError(
                f"'{self.path}' has shape {list(rows.shape)}; expected samples along axis 0, "
                f"that is {max(rank, 1)} or {rank + 1} axes for input '{self.spec.name}' {self.spec}"
            )
        if rows.size == 0:
            raise DataError(f"no samples found in '{self.path}': its shape is {list(rows.shape)}")

    def __iter__(self) -> Iterator[Sample]:
        rows = map_npy(self.path)
        keep_axis = rows.ndim == len(self.spec.shape)
        for i in range(len(rows)):
            row = np.array(rows[i : i + 1] if keep_axis else rows[i], order="C")
            yield Sample(f"{sample_name(self.path)}[{i}]", {self.spec.name: row})

    def __len__(self) -> int:
        return len(map_npy(self.path))


def sample_name(path: Path) -> str:
    """How a message calls a file: the folder's name and its own."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def only_input(specs: Sequence[InputSpec], path: Path) -> str:
    """The name of the model's only input, for files that hold an array without a name.

    Raises:
        DataError: the model has several inputs or none.
    """
    if len(specs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in specs)
        raise DataError(
            f"'{path}' holds one array without a name but the model has {len(specs)} inputs ({names}): "
            "save .npz files with these names as keys"
        )
    return specs[0].name
