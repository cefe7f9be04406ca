"""The one door for calibration and evaluation data: whatever the user has becomes :class:`Samples`.

    samples = check_samples(open_samples("calib/", specs), specs)

Opening lists, checking reads: see :mod:`onnxq.data.check`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from onnxq.data.files import FileSamples, RowSamples, only_input
from onnxq.data.iterables import DataReader, Feeds, iterable_samples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import InputSpec, Sample, Samples
from onnxq.data.synthetic import RandomSamples, parse_random
from onnxq.errors import DataError, UsageError

__all__ = ["Source", "open_samples"]

Source: TypeAlias = (
    str | PathLike[str] | Samples | Iterable[Feeds] | Callable[[], Iterable[Feeds]] | DataReader
)

_ARRAYS = (".npy", ".npz")
_LOOKED_FOR = "*.npz, *.npy, *.png, *.jpg, *.jpeg, *.bmp, *.webp; subfolders are not searched"


def open_samples(
    source: Source,
    specs: Sequence[InputSpec],
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Samples:
    """Samples from any of these; at most the first ``limit`` of them.

    - a folder of .npz files (keys = input names) and .npy files (for a model with one input), one sample
      a file, in the order of their names;
    - one .npz file: one sample;
    - one .npy file, for a model with one input: its rows along axis 0, each a batch of 1;
    - a folder of pictures, or one picture, with a ``preprocessing``;
    - ``random:N``: N samples drawn with ``seed``, with a :class:`RandomDataWarning`;
    - dicts {input name: array}: a sequence, an iterator, or a function that returns an iterator of them;
    - a ``CalibrationDataReader`` of ONNX Runtime (``get_next()``);
    - samples that are open already.

    Raises:
        DataError: nothing is there, a file is damaged, or the source does not fit the model's inputs.
        UsageError: the options do not go with the source.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit of samples is {limit}, expected 1 or more")
    if isinstance(source, (str, PathLike)):
        samples = _from_text(source, specs, preprocessing, seed)
        return samples if limit is None or limit >= len(samples) else _First(samples, limit)
    if preprocessing is not None:
        raise UsageError("preprocessing is for files of pictures; give arrays as the model takes them")
    if not isinstance(source, Samples):
        return iterable_samples(source, limit)
    return source if limit is None else _First(source, limit)


@dataclass(frozen=True)
class _First(Samples):
    samples: Samples
    limit: int

    def __iter__(self) -> Iterator[Sample]:
        return islice(iter(self.samples), self.limit)

    def __len__(self) -> int:
        return min(self.limit, len(self.samples))


def _from_text(
    source: str | PathLike[str], specs: Sequence[InputSpec], how: Preprocessing | None, seed: int
) -> Samples:
    path = Path(source)
    if str(source).startswith("random:"):
        samples: Samples = RandomSamples(parse_random(str(source)), specs, seed)
    elif path.is_dir() or path.is_file():
        return _from_files(path, specs, how)
    else:
        raise DataError(f"there is no file or folder '{source}': expected samples there, or random:N")
    if how is not None:
        raise UsageError(f"preprocessing is for files of pictures, not for '{source}'")
    return samples


def _from_files(path: Path, specs: Sequence[InputSpec], how: Preprocessing | None) -> Samples:
    from onnxq.data.images import IMAGE_SUFFIXES, ImageSamples

    paths = sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".") if path.is_dir() else [path]
    arrays = [p for p in paths if p.suffix.lower() in _ARRAYS]
    pictures = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES]
    if arrays and pictures:
        raise DataError(
            f"'{path}' holds both arrays ('{arrays[0].name}') and pictures ('{pictures[0].name}')"
        )
    if not arrays and not pictures:
        raise DataError(f"no samples found in '{path}' (looked for {_LOOKED_FOR})")
    if pictures and how is None:
        raise UsageError(
            f"'{path}' holds pictures: say how they become the model's input, "
            "such as --preprocess 'resize=256,scale=1/255,mean=0.485|0.456|0.406,std=0.229|0.224|0.225'"
        )
    if pictures and how is not None:
        only_input(specs, pictures[0])
        return ImageSamples(pictures, specs[0], how)
    if how is not None:
        raise UsageError(f"preprocessing is for files of pictures, but '{path}' holds arrays")
    if path.suffix.lower() == ".npy" and path.is_file():
        only_input(specs, path)
        return RowSamples(path, specs[0])
    return FileSamples(arrays, specs)
