"""Calibration on several processes or machines: shards of samples go out, statistics come back and merge.

    file = calibrate_on(open_engine("local:4"), model, samples, wants, progress, path=Path("a.stats.npz"))

Statistics do not depend on the order of their samples, so the result has the bytes of a single run whatever
the number of workers, whichever of them is lost and whenever its shard is done again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import dataclass, replace
from logging import ERROR
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from socket import create_connection
from typing import Protocol
from urllib.parse import urlsplit

import onnx_ir as ir

from onnxq import model_io
from onnxq.calibration.calibrate import begin, measure
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.observe import Options
from onnxq.calibration.statistics import Statistic
from onnxq.calibration.store import Record, StatisticsFile, merge_files
from onnxq.data.samples import Samples
from onnxq.errors import OnnxqError, UsageError

__all__ = ["Engine", "LocalEngine", "RayEngine", "Shard", "calibrate_on", "open_engine"]

Progress = Callable[[str, int, int], None]
SHARDS_A_WORKER = 4
RAY_PORT = 10001
LOSSES = 3
"""Workers that may be lost before the run gives up."""


@dataclass(frozen=True)
class Shard:
    """What a worker gets: an empty file with the names of model and data, and the samples to count."""

    model: bytes
    samples: Samples
    file: StatisticsFile
    positions: Intervals
    options: Options

    def measured(self) -> bytes:
        """The content of the file, filled; runs in the worker."""
        model = model_io.parse(self.model)
        empty = deepcopy(self.file)  # Ray hands over arrays that cannot be written to
        file = measure(empty, model, self.samples, self.positions, lambda *_: None, self.options)
        return file.to_bytes()


class Engine(Protocol):
    """Where shards are measured."""

    @property
    def workers(self) -> int:
        """How many shards are measured at once."""

    def measured(self, shards: Sequence[Shard]) -> Iterator[bytes]:
        """The result of each shard, in the order in which they are ready.

        Raises:
            OnnxqError: a shard fails, or too many workers were lost.
        """


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine."""

    workers: int = 2

    def measured(self, shards: Sequence[Shard]) -> Iterator[bytes]:
        left = dict(enumerate(shards))
        for _ in range(LOSSES):
            with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
                running = {pool.submit(Shard.measured, shard): key for key, shard in left.items()}
                try:
                    for done in as_completed(running):
                        yield done.result()
                        del left[running[done]]
                    return
                except BrokenProcessPool:
                    continue
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        raise OnnxqError(
            f"{LOSSES} worker processes died while calibrating (often: out of memory); use fewer workers, "
            "or bound the activations with --memory; what was measured is kept"
        )


@dataclass(frozen=True)
class RayEngine:
    """A Ray cluster: the one at ``address`` (``ray://host:port``), or one started on this machine."""

    address: str | None = None
    workers: int = 2

    def measured(self, shards: Sequence[Shard]) -> Iterator[bytes]:
        try:
            import ray
        except ImportError as error:
            raise UsageError("the engine 'ray' needs Ray: pip install 'onnxq[ray]'") from error
        try:
            if self.address is not None:
                _knock(self.address)
            cpus = None if self.address or ray.is_initialized() else self.workers
            quiet = {"log_to_driver": False, "logging_level": ERROR}
            ray.init(self.address or "local", num_cpus=cpus, ignore_reinit_error=True, **quiet)
        except Exception as error:  # Ray raises many kinds, ConnectionError among them
            reason, where = " ".join(str(error).split()), self.address or "this machine"
            raise UsageError(
                f"cannot reach a Ray cluster at '{where}': {reason}; check the address, and RAY_AUTH_TOKEN "
                "if the cluster asks for a token"
            ) from error
        task = ray.remote(max_retries=LOSSES)(Shard.measured)
        running = [task.remote(shard) for shard in shards]
        while running:
            ready, running = ray.wait(running)
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, OnnxqError) else OnnxqError(str(cause)) from error
            except ray.exceptions.RayError as error:
                raise OnnxqError(f"a Ray worker was lost {LOSSES + 1} times: {error}") from error


def _knock(address: str) -> None:
    """Fail at once where nothing listens; Ray itself tries for half a minute."""
    place = urlsplit(address)
    with create_connection((place.hostname or "", place.port or RAY_PORT), timeout=10):
        pass


def open_engine(text: str) -> Engine:
    """``local``, ``local:4``, ``ray``, ``ray://host:10001``.

    Raises:
        UsageError: it is none of these.
    """
    name, _, rest = text.partition(":")
    if name == "local" and (not rest or (rest.isdigit() and int(rest) > 0)):
        return LocalEngine(int(rest or 2))
    if text == "ray" or text.startswith("ray://"):
        return RayEngine(text if rest else None)
    raise UsageError(f"'{text}' is no engine; expected local, local:WORKERS, ray or ray://HOST:PORT")


def calibrate_on(
    engine: Engine,
    model: ir.Model,
    samples: Samples,
    wants: Mapping[str, Statistic],
    progress: Progress,
    *,
    path: Path | None = None,
    options: Options | None = None,
) -> StatisticsFile:
    """Like :func:`onnxq.calibration.calibrate.calibrate`; ``path`` is written after every shard.

    Samples are sent as they are: files must lie at the same place for every worker.

    Raises:
        DataError, ModelError, UsageError: as there.
        OnnxqError: workers were lost again and again; what was measured is kept in ``path``.
    """
    if not model_io.fits_one_message(model):
        raise UsageError("models over 2 GB cannot be sent to workers; calibrate without an engine")
    file = begin(model, samples, wants, path)
    content = model_io.to_proto(model).SerializeToString(deterministic=True)
    count = engine.workers * SHARDS_A_WORKER
    shards = [
        Shard(content, samples, _empty(file, wants, names), positions, options or Options())
        for positions, names in _cuts(file, wants, count)
    ]
    done, total = 0, sum(len(shard.positions) for shard in shards)
    for content in engine.measured(shards):
        part = StatisticsFile.from_bytes(content, "a worker's result")
        file = merge_files([file, part])
        done += len(next(iter(part.values.values())).seen)
        if path is not None:
            file.save(path)
        progress("calibrating", done, total)
    if path is not None:
        file.save(path)
    return file


def _cuts(
    file: StatisticsFile, wants: Mapping[str, Statistic], count: int
) -> Iterator[tuple[Intervals, list[str]]]:
    """What is missing, in about ``count`` pieces; values that lack the same samples stay together."""
    lacking: dict[Intervals, list[str]] = {}
    for name in wants:
        if missing := Intervals.whole(file.samples) - file.values[name].seen:
            lacking.setdefault(missing, []).append(name)
    for missing, names in lacking.items():
        size = ceil(len(missing) / count)
        for start, stop in missing.pairs:
            for cut in range(start, stop, size):
                yield Intervals.of([(cut, min(cut + size, stop))]), names


def _empty(file: StatisticsFile, wants: Mapping[str, Statistic], names: Sequence[str]) -> StatisticsFile:
    return replace(file, values={name: Record(deepcopy(wants[name])) for name in names})
