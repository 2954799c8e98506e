"""`DataLoader`: from a dataset to batches.

In-memory data (a `TensorDataset`, or `Subset`s of one) is batched by one gather per tensor. Everything else is fetched
sample by sample and collated. Worker threads, not processes, prepare batches ahead: the kernels and NumPy release the
GIL, memory is shared, and nothing has to be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kernelgrad.core import no_grad
from kernelgrad.data.collate import default_collate
from kernelgrad.data.dataset import IterableDataset, Subset, TensorDataset
from kernelgrad.data.prefetch import prefetch
from kernelgrad.data.sampler import (
    BatchSampler,
    Generator,
    RandomSampler,
    Sampler,
    SequentialSampler,
    begin_epoch,
    seed_from,
)
from kernelgrad.ops.creation import from_numpy
from kernelgrad.tensor import Tensor


class DataLoader:
    """Iterate over `dataset` in batches. PyTorch's arguments; the differences are these.

    - `num_workers` threads prepare batches ahead. `multiprocessing_context` raises.
    - `pin_memory` and `persistent_workers` are accepted and change nothing.
    - `transform(inputs, generator)` (keyword only, not in PyTorch) is applied to the first tensor of each batch; its
      generator is seeded from the epoch and the number of the batch, so it is the same for any number of workers.
    - `state_dict()` and `load_state_dict()` (not in PyTorch) save and restore the position, in mid-epoch too: the next
      iteration yields the batches that were still to come, bit for bit.

    Raises
    ------
    ValueError
        If arguments exclude each other, as in PyTorch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler | Iterable | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        transform: Callable[[Tensor, Generator], Tensor] | None = None,
    ) -> None:
        check_arguments(num_workers, timeout, prefetch_factor, multiprocessing_context)
        self.iterable = isinstance(dataset, IterableDataset)
        if self.iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError(
                "DataLoader: an IterableDataset sets its own order; leave out shuffle, sampler, batch_sampler"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle exclude each other; give one of them")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
            batch_size = None
        elif batch_size is None:
            if drop_last:
                raise ValueError("DataLoader: batch_size=None turns batching off, which excludes drop_last")
        elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"DataLoader: batch_size is {batch_size!r}; it must be a positive integer or None")
        self.dataset = dataset
        self.sampler: Any
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.transform = transform
        if self.iterable:
            self.sampler = None
        elif sampler is not None:
            self.sampler = sampler
        else:
            self.sampler = (
                RandomSampler(self.dataset, generator=generator) if shuffle else SequentialSampler(self.dataset)
            )
        if batch_sampler is None and batch_size is not None and not self.iterable:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_sampler: Any = batch_sampler
        self._delivered = 0  # batches handed out in the present epoch
        self._seed: int | None = None  # of the transform, in the present epoch
        self._resume: dict[str, Any] | None = None

    def __len__(self) -> int:
        if self.iterable:
            size = len(self.dataset)
            if self.batch_size is None:
                return size
            return size // self.batch_size if self.drop_last else math.ceil(size / self.batch_size)
        return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing is drawn before the first batch is asked for, so position 0 needs no seeds to be saved.
        resume, self._resume = self._resume, None
        skip = 0
        if resume is not None:
            skip = resume["delivered"]
            if resume["sampler"] is not None:
                self._order.load_state_dict(resume["sampler"])
        if self.transform is not None:
            self._seed = seed_from(self.generator) if resume is None else resume["seed"]
        jobs = self._stream_jobs(skip) if self.iterable else self._indexed_jobs(skip)
        self._delivered = skip
        for batch in prefetch(jobs, self.num_workers, self.prefetch_factor, self.timeout, self.worker_init_fn):
            self._delivered += 1
            yield batch
        self._delivered = 0

    def state_dict(self) -> dict[str, Any]:
        """The position in the present epoch, as numbers: batches handed out so far, and the seeds of the epoch's
        order."""
        if self._resume is not None:
            return dict(self._resume)
        if self._delivered == 0:
            return {"delivered": 0, "sampler": None, "seed": None}
        saved = self._order.state_dict() if hasattr(self._order, "state_dict") else None
        return {"delivered": self._delivered, "sampler": saved, "seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration goes on where the saved one stood; the iterations after it are whole epochs again."""
        self._resume = dict(state) if state["delivered"] else None
        self._delivered = state["delivered"]

    @property
    def _order(self) -> Any:
        return self.batch_sampler if self.batch_sampler is not None else self.sampler

    def _indexed_jobs(self, skip: int) -> Iterator[Callable[[], Any]]:
        fetch = self._fetcher()
        for number, entry in enumerate(begin_epoch(self._order)):
            if number >= skip:
                yield Job(fetch, entry, self._transform_of(number))

    def _stream_jobs(self, skip: int) -> Iterator[Callable[[], Any]]:
        if self.batch_size is None:
            for number, sample in enumerate(self.dataset):
                if number >= skip:
                    yield Job(self.collate_fn or same, sample, self._transform_of(number))
            return
        batch: list[Any] = []
        number = 0
        for sample in self.dataset:
            batch.append(sample)
            if len(batch) == self.batch_size:
                if number >= skip:
                    yield Job(self.collate_fn or default_collate, batch, self._transform_of(number))
                batch, number = [], number + 1
        if batch and not self.drop_last and number >= skip:
            yield Job(self.collate_fn or default_collate, batch, self._transform_of(number))

    def _fetcher(self) -> Callable[[Any], Any]:
        """The function from one entry of the order (an index, or the indices of a batch) to what the user gets."""
        dataset = self.dataset
        if self.batch_sampler is None:
            collate = self.collate_fn or same
            return lambda index: collate(dataset[plain(index)])
        if self.collate_fn is None:
            source, chosen = in_memory(dataset)
            if source is not None:
                return lambda indices: gather(source, chosen, indices)
        collate = self.collate_fn or default_collate
        if callable(getattr(dataset, "__getitems__", None)):
            return lambda indices: collate(dataset.__getitems__([plain(i) for i in indices]))
        return lambda indices: collate([dataset[plain(i)] for i in indices])

    def _transform_of(self, number: int) -> Callable[[Any], Any] | None:
        transform, seed = self.transform, self._seed
        if transform is None or seed is None:
            return None

        def apply(batch: Any) -> Any:
            generator = Generator().manual_seed(seed + number)
            if isinstance(batch, Tensor):
                return transform(batch, generator)
            return [transform(batch[0], generator), *batch[1:]]

        return apply


class Job:
    """One batch still to be made; calling it makes the batch."""

    __slots__ = ("entry", "fetch", "transform")

    def __init__(self, fetch: Callable[[Any], Any], entry: Any, transform: Callable[[Any], Any] | None) -> None:
        self.fetch = fetch
        self.entry = entry
        self.transform = transform

    def __call__(self) -> Any:
        batch = self.fetch(self.entry)
        return batch if self.transform is None else self.transform(batch)


def same(sample: Any) -> Any:
    return sample


def plain(index: Any) -> Any:
    """A NumPy integer as an int, which is what a dataset expects; keys of other kinds stay."""
    return int(index) if isinstance(index, np.integer) else index


def in_memory(dataset: Any) -> tuple[TensorDataset | None, np.ndarray | None]:
    """The `TensorDataset` below any number of plain `Subset`s, and the rows of it that `dataset` shows (None: all)."""
    rows: np.ndarray | None = None
    while type(dataset) is Subset:
        indices = np.asarray(dataset.indices, np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    # A subclass may have a __getitem__ of its own, which must then be asked.
    return (dataset, rows) if type(dataset) is TensorDataset else (None, None)


def gather(source: TensorDataset, rows: np.ndarray | None, indices: Any) -> list[Tensor]:
    chosen = np.asarray(indices, np.int64)
    if rows is not None:
        chosen = rows[chosen]
    if chosen.size and chosen.min() < 0:  # counted from the end, as `dataset[-1]` is
        chosen = np.where(chosen < 0, chosen + len(source), chosen)
    index = from_numpy(chosen)
    with no_grad():
        return [tensor.index_select(0, index.to(tensor.device)) for tensor in source.tensors]


def check_arguments(num_workers: int, timeout: float, prefetch_factor: int | None, context: Any) -> None:
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ValueError(f"DataLoader: num_workers is {num_workers!r}; it must be 0 or a positive integer")
    if timeout < 0:
        raise ValueError(
            f"DataLoader: timeout is {timeout}; it must be 0 (wait forever) or a positive number of seconds"
        )
    if prefetch_factor is not None and (num_workers == 0 or prefetch_factor < 1):
        raise ValueError(
            f"DataLoader: prefetch_factor is {prefetch_factor}, num_workers is {num_workers}; "
            "prefetching needs a factor of at least 1 and at least one worker"
        )
    if context is not None:
        raise NotImplementedError("DataLoader: workers are threads here; leave out multiprocessing_context")


def get_worker_info() -> None:
    """Returns None: workers are threads of this process, there is no worker process to tell about."""
