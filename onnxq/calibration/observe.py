"""Run samples through a model and fill one statistic per wanted value, in memory that does not grow.

    filled = observe(model, {"conv1_out": Histogram()}, samples, progress)

The wanted values become outputs of one ONNX Runtime session. While a sample runs, the arrays of the one
before are counted by worker threads (both ONNX Runtime and numpy let go of the interpreter lock) and then
forgotten: at most two samples' (or batches') arrays are alive. A memory budget splits the values over
several sweeps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxq.calibration.batching import BatchRunner, Placed, grouped
from onnxq.calibration.statistics import NotFiniteError, Statistic
from onnxq.calibration.sweeps import plan_sweeps
from onnxq.calibration.taps import Tapped, tap
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["Options", "Sweep", "observe"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """How to run: ``threads`` of ONNX Runtime, ``workers`` that count, ``memory`` in bytes for activations.

    ``batch`` is how many samples may run at once, see :mod:`onnxq.calibration.batching`: more than one pays
    for models that are done in less than a millisecond and for providers other than the CPU's.

    A budget that needs several sweeps can change the last bits of what is measured: ONNX Runtime fuses around
    the values it must output, and these then differ from sweep to sweep.

    ``skip_bad`` leaves an array with NaN or infinity out of its value's statistic instead of failing.
    """

    threads: int | None = None
    workers: int = 2
    memory: int | None = None
    providers: Sequence[str] = ("CPUExecutionProvider",)
    skip_bad: bool = False
    batch: int = 1


@dataclass(frozen=True)
class _Job:
    """What is to be added to one statistic: the arrays of some samples."""

    order: int
    name: str
    statistic: Statistic
    arrays: list[Array]

    @property
    def size(self) -> int:
        return sum(array.size for array in self.arrays)


_Failures = list[tuple[int, int, DataError]]
"""Place of the sample in its batch, place of the value among the wanted ones, what is wrong."""


class _NotFiniteDataError(DataError):
    """A value became NaN or infinite: the one failure that ``skip_bad`` forgives."""


@dataclass
class Sweep:
    """Some values, observed together over some samples; the statistics are filled in place."""

    model: ir.Model
    statistics: Mapping[str, Statistic]
    options: Options
    skipped: dict[str, list[int]] = field(default_factory=dict)

    def run(self, samples: Iterable[tuple[int, Sample]]) -> Iterator[int]:
        """Add samples, given with ascending positions; yields one when all up to it are counted.

        Raises:
            DataError: a sample does not fit the model or the others, or a value becomes NaN or infinite.
            ModelError: the model does not run, or it has no such value.
        """
        tapped = tap(self.model, self.statistics)
        graph = tapped.model.graph
        fed = {value.name for value in graph.inputs if value.name not in graph.initializers}
        asked = [name for name in tapped.names.values() if name not in fed]
        session = Session(
            tapped.model,
            threads=self.options.threads,
            providers=self.options.providers,
            extra_outputs=asked,
        )
        runner = BatchRunner(session, asked)
        pending: tuple[int, list[Future[_Failures]]] | None = None
        with ThreadPoolExecutor(self.options.workers, "onnxq-count") as pool:
            for group in grouped(samples, self.options.batch):
                made = runner.run(group)
                if pending is not None:
                    yield _settled(*pending)
                pending = group[-1][0], self._count(pool, tapped, made, group)
                del made
            if pending is not None:
                yield _settled(*pending)

    def _count(
        self,
        pool: ThreadPoolExecutor,
        tapped: Tapped,
        made: Sequence[Mapping[str, Array]],
        group: Sequence[Placed],
    ) -> "list[Future[_Failures]]":
        jobs = [
            _Job(order, name, self.statistics[name], [arrays[tapped.names[name]] for arrays in made])
            for order, name in enumerate(self.statistics)
        ]
        shares = _balanced(jobs, self.options.workers)
        return [pool.submit(self._update, share, group) for share in shares]

    def _update(self, jobs: list[_Job], group: Sequence[Placed]) -> _Failures:
        failures: _Failures = []
        while jobs:  # each array is let go of as soon as it is counted
            job = jobs.pop()
            for place, (index, sample) in enumerate(group):
                if (error := self._failure(job, job.arrays[place], index, sample)) is not None:
                    failures.append((place, job.order, error))
        return failures

    def _failure(self, job: _Job, array: Array, index: int, sample: Sample) -> DataError | None:
        """Count one array; what is wrong with it, unless that is forgiven."""
        try:
            _add(job, array, index, sample)
        except _NotFiniteDataError as error:
            if not self.options.skip_bad:
                return error
            self.skipped.setdefault(job.name, []).append(index)
        except DataError as error:
            return error
        return None


def observe(
    model: ir.Model,
    wants: Mapping[str, Statistic],
    samples: Samples,
    progress: Progress,
    options: Options | None = None,
) -> Mapping[str, Statistic]:
    """One statistic per value name, filled with what the value holds over all samples.

    ``wants`` gives the statistics to start from; they are copied, not changed. A value in the branch of an
    If that is never taken keeps a count of zero.

    Raises:
        DataError: there are no samples, a sample does not fit the model, or a value becomes NaN or infinite.
        ModelError: the model does not run, or it has no such value.
    """
    options = options or Options()
    filled = {name: deepcopy(statistic) for name, statistic in wants.items()}
    total = len(samples)
    if filled and not total:
        raise DataError("calibration needs at least one sample, but the data set is empty")
    groups = plan_sweeps(model, list(filled), samples, options.memory, options.batch) if filled else []
    for number, names in enumerate(groups):
        sweep = Sweep(model, {name: filled[name] for name in names}, options)
        for index in sweep.run(enumerate(samples)):
            progress("calibrating", number * total + index + 1, len(groups) * total)
    return filled


def _balanced(jobs: Sequence[_Job], workers: int) -> list[list[_Job]]:
    """The jobs in as many groups of nearly equal work: the largest first, each to the least loaded."""
    groups: list[list[_Job]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for job in sorted(jobs, key=lambda job: -job.size):
        lightest = loads.index(min(loads))
        groups[lightest].append(job)
        loads[lightest] += job.size + 4096
    return groups


def _settled(index: int, futures: Sequence[Future[_Failures]]) -> int:
    """Wait for a batch; of several failures that of the first sample's first wanted value is raised."""
    failures = [failure for future in futures for failure in future.result()]
    if failures:
        raise min(failures, key=lambda failure: failure[:2])[2]
    return index


def _add(job: _Job, array: Array, index: int, sample: Sample) -> None:
    where = f"value '{job.name}' in sample '{sample.name}'"
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} is {array.dtype}, and statistics are taken of numbers only")
    try:
        job.statistic.update(array, index)
    except NotFiniteError as error:
        raise _NotFiniteDataError(
            f"{where} cannot be calibrated: {error}; remove the sample, or leave this value in float"
        ) from error
    except ValueError as error:
        raise DataError(f"{where} does not fit the earlier samples: {error}") from error
