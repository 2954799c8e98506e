"""Datasets, samplers, loaders, readers and transforms."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import data
from kernelgrad.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    load_bundled,
    load_cifar10,
    load_folder,
    load_idx_folder,
    random_split,
    read_idx,
    standardize,
    stratified_split,
)


def numbered(n=10):
    """Rows that tell their own number."""
    return TensorDataset(kg.arange(n).reshape(n, 1) * 1.0, kg.arange(n))


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return np.float32(index), index * index


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def labels(loader):
    return [batch[1].numpy().tolist() for batch in loader]


# ---- Datasets ----


def test_utils_data_is_the_same():
    import kernelgrad.utils.data as under_pytorchs_name

    assert under_pytorchs_name.DataLoader is DataLoader


def test_tensor_dataset_checks_rows():
    with pytest.raises(ValueError, match=r"first sizes differ, \[3, 4\]"):
        TensorDataset(kg.zeros(3), kg.zeros(4))
    with pytest.raises(TypeError, match="ndarray, not a Tensor"):
        TensorDataset(np.zeros(3))
    with pytest.raises(ValueError, match="0-d"):
        TensorDataset(kg.tensor(1.0))


def test_concat_and_subset():
    both = Squares(3) + Squares(4)
    assert isinstance(both, ConcatDataset)
    assert len(both) == 7
    assert [both[i][1] for i in range(7)] == [0, 1, 4, 0, 1, 4, 9]
    assert both[-1][1] == 9
    with pytest.raises(IndexError, match="out of range for 7"):
        both[7]
    with pytest.raises(TypeError, match="ChainDataset"):
        ConcatDataset([Stream(3)])
    assert [sample[1] for sample in (Subset(both, [6, 0])[i] for i in range(2))] == [9, 0]
    assert list(Stream(2) + Stream(3)) == [0, 1, 0, 1, 2]


def test_random_split():
    parts = random_split(numbered(11), [0.5, 0.25, 0.25], generator=kg.Generator().manual_seed(1))
    assert [len(part) for part in parts] == [6, 3, 2]  # floors 5, 2, 2; the two left over go to the first parts
    seen = sorted(index for part in parts for index in part.indices)
    assert seen == list(range(11))
    again = random_split(numbered(11), [6, 3, 2], generator=kg.Generator().manual_seed(1))
    assert [part.indices for part in again] == [part.indices for part in parts]
    with pytest.raises(ValueError, match="add up to 5, the dataset has 11"):
        random_split(numbered(11), [2, 3])
    with pytest.raises(ValueError, match="not between 0 and 1"):
        random_split(numbered(11), [1.5, -0.5])


# ---- Samplers ----


def test_samplers_cover_what_they_should():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    assert sorted(RandomSampler(range(50))) == list(range(50))
    assert list(RandomSampler(range(50))) != list(range(50))
    assert sorted(SubsetRandomSampler([7, 3, 5])) == [3, 5, 7]
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=200))
    assert set(drawn) == set(range(5))
    assert len(drawn) == 200
    assert len(list(RandomSampler(range(5), num_samples=12))) == 12
    assert list(BatchSampler(SequentialSampler(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(SequentialSampler(range(5)), 2, drop_last=True)) == [[0, 1], [2, 3]]


def test_weighted_sampler():
    weights = [0.0, 1.0, 3.0, 0.0]
    drawn = np.array(list(WeightedRandomSampler(weights, 4000, generator=kg.Generator().manual_seed(0))))
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[2] / counts[1] - 3) < 0.4
    assert sorted(WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]
    with pytest.raises(ValueError, match="without replacement"):
        WeightedRandomSampler(weights, 3, replacement=False)
    with pytest.raises(ValueError, match="not negative"):
        WeightedRandomSampler([1.0, -1.0], 1)


# ---- Loaders ----


def test_batches_in_order():
    loader = DataLoader(numbered(), batch_size=4)
    assert len(loader) == 3
    batches = list(loader)
    assert [tuple(batch[0].shape) for batch in batches] == [(4, 1), (4, 1), (2, 1)]
    assert isinstance(batches[0], list)
    assert labels(DataLoader(numbered(), batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_shuffle_is_a_new_permutation_each_epoch_and_follows_the_seed():
    loader = DataLoader(numbered(20), 5, shuffle=True, generator=kg.Generator().manual_seed(3))
    first, second = sum(labels(loader), []), sum(labels(loader), [])
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    again = DataLoader(numbered(20), 5, shuffle=True, generator=kg.Generator().manual_seed(3))
    assert sum(labels(again), []) == first


def test_manual_seed_decides_the_order():
    kg.manual_seed(5)
    first = labels(DataLoader(numbered(30), 7, shuffle=True))
    kg.manual_seed(5)
    assert labels(DataLoader(numbered(30), 7, shuffle=True)) == first


def test_in_memory_data_is_never_fetched_row_by_row(monkeypatch):
    def fail(self, index):
        raise AssertionError("fetched a single row")

    monkeypatch.setattr(TensorDataset, "__getitem__", fail)
    monkeypatch.setattr(Subset, "__getitem__", fail)
    nested = Subset(Subset(numbered(10), [9, -2, 7, 1]), [3, 1, 0])
    assert labels(DataLoader(nested, 2)) == [[1, 8], [9]]
    assert sorted(sum(labels(DataLoader(numbered(10), 3, shuffle=True)), [])) == list(range(10))


def test_a_subclass_with_its_own_getitem_is_asked():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0] * 2, 0

    values = [batch[0].numpy().ravel().tolist() for batch in DataLoader(Doubled(kg.arange(4) * 1.0), 2)]
    assert values == [[0, 2], [4, 6]]


def test_batches_do_not_share_memory_with_the_dataset():
    source = numbered(4)
    next(iter(DataLoader(source, 4)))[0].fill_(7.0)
    assert source.tensors[0].numpy().ravel().tolist() == [0, 1, 2, 3]


def test_map_style_iterable_and_unbatched():
    assert labels(DataLoader(Squares(5), 2)) == [[0, 1], [4, 9], [16]]
    assert [batch.numpy().tolist() for batch in DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [batch.numpy().tolist() for batch in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert [int(sample[1]) for sample in DataLoader(Squares(3), batch_size=None)] == [0, 1, 4]
    assert labels(DataLoader(Squares(5), batch_sampler=[[4, 0], [2]])) == [[16, 0], [4]]
    assert labels(DataLoader(Squares(5), 2, sampler=[3, 1, 0])) == [[9, 1], [0]]
    assert list(DataLoader(Squares(3), 3, collate_fn=len)) == [3]


@pytest.mark.parametrize("workers", [1, 3])
def test_worker_threads_deliver_in_order(workers):
    started = []
    loader = DataLoader(Squares(23), 4, num_workers=workers, worker_init_fn=started.append)
    assert sum(labels(loader), []) == [i * i for i in range(23)]
    assert started
    assert set(started) <= set(range(workers))
    for _ in loader:
        break  # leaving early must not hang


def test_an_error_in_a_worker_is_raised_here():
    class Broken(Squares):
        def __getitem__(self, index):
            if index == 5:
                raise KeyError("row 5 is broken")
            return super().__getitem__(index)

    with pytest.raises(KeyError, match="row 5 is broken"):
        list(DataLoader(Broken(9), 2, num_workers=2))


def test_a_slow_worker_times_out():
    import time

    class Slow(Squares):
        def __getitem__(self, index):
            time.sleep(0.5)
            return super().__getitem__(index)

    with pytest.raises(RuntimeError, match=r"timed out after 0.05 seconds"):
        list(DataLoader(Slow(2), 1, num_workers=1, timeout=0.05))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": True}, "batch_size is True"),
        ({"shuffle": True, "sampler": [0]}, "exclude each other"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_size": None, "drop_last": True}, "excludes drop_last"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"timeout": -1}, "timeout is -1"),
        ({"prefetch_factor": 2}, "num_workers is 0"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(numbered(), **arguments)


def test_other_refusals():
    with pytest.raises(NotImplementedError, match="threads"):
        DataLoader(numbered(), multiprocessing_context="spawn")
    with pytest.raises(ValueError, match="sets its own order"):
        DataLoader(Stream(3), shuffle=True)


def test_samplers_of_the_users_own():
    class Backwards(SequentialSampler):
        def __iter__(self):
            return iter(range(len(self.data_source) - 1, -1, -1))

    class Endless(BatchSampler):
        def __iter__(self):
            while True:
                yield [1, 2]

    assert labels(DataLoader(numbered(5), 2, sampler=Backwards(range(5)))) == [[4, 3], [2, 1], [0]]
    endless = iter(DataLoader(numbered(5), batch_sampler=Endless(SequentialSampler(range(5)), 2)))
    assert [next(endless)[1].numpy().tolist() for _ in range(4)] == [[1, 2]] * 4

    class Named(Dataset):
        def __getitem__(self, key):
            return {"a": 1, "b": 2}[key]

    assert [batch.numpy().tolist() for batch in DataLoader(Named(), 2, sampler=["b", "a"])] == [[2, 1]]


# ---- Resuming ----


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 7])
def test_a_loader_resumed_in_mid_epoch_continues_exactly(stop, workers):
    def make():
        return DataLoader(
            numbered(26),
            4,
            shuffle=True,
            num_workers=workers,
            generator=kg.Generator().manual_seed(11),
            transform=lambda x, generator: x + kg.rand(len(x), 1, generator=generator),
        )

    whole = make()
    list(whole)  # the epoch before
    iterator = iter(whole)
    for _ in range(stop):
        next(iterator)
    state, generator_state = whole.state_dict(), whole.generator.get_state()
    expected = [batch[0].numpy() for batch in iterator] + [batch[0].numpy() for batch in whole]

    resumed = make()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    resumed.generator.set_state(generator_state)
    actual = [batch[0].numpy() for batch in resumed] + [batch[0].numpy() for batch in resumed]
    assert len(actual) == len(expected)
    assert all(np.array_equal(a, e) for a, e in zip(actual, expected, strict=True))


def test_a_stream_resumes_by_skipping():
    loader = DataLoader(Stream(7), 2)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    fresh = DataLoader(Stream(7), 2)
    fresh.load_state_dict(state)
    assert [batch.numpy().tolist() for batch in fresh] == [[2, 3], [4, 5], [6]]
    assert len(list(fresh)) == 4


# ---- Collation ----


def test_default_collate_types():
    assert default_collate([kg.zeros(2), kg.zeros(2)]).shape == (2, 2)
    assert default_collate([np.zeros(2, np.float32)] * 3).shape == (3, 2)
    assert default_collate([1.0, 2.0]).dtype == kg.float64
    assert default_collate([1, 2]).dtype == kg.int64
    assert default_collate(["a", "b"]) == ["a", "b"]
    batch = default_collate([{"x": 1, "y": (1.0, "a")}, {"x": 2, "y": (2.0, "b")}])
    assert batch["x"].numpy().tolist() == [1, 2]
    assert batch["y"][1] == ["a", "b"]


def test_default_collate_refuses():
    with pytest.raises(RuntimeError, match=r"sample 1 has shape \(3,\), sample 0 has \(2,\)"):
        default_collate([kg.zeros(2), kg.zeros(3)])
    with pytest.raises(RuntimeError, match="fields"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(TypeError, match="cannot batch samples of type object"):
        default_collate([object()])


# ---- Readers ----


def idx_bytes(array):
    code = {"uint8": 8, "int32": 0x0C, "float32": 0x0D}[array.dtype.name]
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, part, n, compress):
    rng = np.random.RandomState(n)
    images, digits = rng.randint(0, 256, (n, 5, 4)).astype(np.uint8), (np.arange(n) % 3).astype(np.uint8)
    for kind, rank, array in (("images", 3, images), ("labels", 1, digits)):
        raw = idx_bytes(array)
        name = f"{part}-{kind}-idx{rank}-ubyte" + (".gz" if compress else "")
        (folder / name).write_bytes(gzip.compress(raw) if compress else raw)
    return images, digits


@pytest.mark.parametrize("compress", [False, True])
def test_idx_folder(tmp_path, compress):
    images, digits = write_mnist(tmp_path, "train", 30, compress)
    write_mnist(tmp_path, "t10k", 9, compress)
    split = load_folder(tmp_path)
    train, test = split
    assert (len(train), len(test), split.input_shape, split.classes) == (30, 9, (1, 5, 4), ("0", "1", "2"))
    assert np.array_equal(train.tensors[0].numpy()[:, 0], images.astype(np.float32) / np.float32(255))
    assert np.array_equal(train.tensors[1].numpy(), digits)


def test_idx_folder_with_one_part_is_split(tmp_path):
    write_mnist(tmp_path, "t10k", 30, True)
    split = load_idx_folder(tmp_path)
    assert (len(split.train), len(split.test)) == (24, 6)
    assert "split 24 / 6" in split.notes
    assert np.bincount(split.test.tensors[1].numpy()).tolist() == [2, 2, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_read_idx_dtypes(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "x").write_bytes(idx_bytes(array))
    back = read_idx(tmp_path / "x")
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="does not begin with an IDX header"):
        read_idx(path)
    path.write_bytes(idx_bytes(np.zeros((2, 3), np.uint8))[:-1])
    with pytest.raises(ValueError, match=r"shape \(2, 3\), that is 6 bytes, but 5 follow"):
        read_idx(path)
    path.write_bytes(gzip.compress(b"x" * 1000)[:-12])
    with pytest.raises(ValueError, match="broken gzip"):
        read_idx(path)
    with pytest.raises(FileNotFoundError, match="holds neither IDX files"):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_folder(tmp_path / "nowhere")
    write_mnist(tmp_path, "train", 3, False)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="has no labels beside it"):
        load_folder(tmp_path)


def test_cifar(tmp_path):
    rng = np.random.RandomState(0)
    rows = rng.randint(0, 256, (20, 3073)).astype(np.uint8)
    rows[:, 0] %= 10
    rows[:10].tofile(tmp_path / "data_batch_1.bin")
    rows[10:15].tofile(tmp_path / "data_batch_2.bin")
    rows[15:].tofile(tmp_path / "test_batch.bin")
    split = load_folder(tmp_path)
    assert (len(split.train), len(split.test), split.input_shape) == (15, 5, (3, 32, 32))
    assert split.classes[3] == "cat"
    assert np.array_equal(split.test.tensors[1].numpy(), rows[15:, 0])
    pixel = split.train.tensors[0].numpy()[12, 2, 31, 30]
    assert pixel == np.float32(rows[12, -2]) / np.float32(255)
    rows[0].tofile(tmp_path / "data_batch_1.bin")
    with open(tmp_path / "data_batch_1.bin", "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="not a multiple of 3073"):
        load_cifar10(tmp_path)


def test_real_mnist_files():
    folder = Path(os.environ.get("KERNELGRAD_DATA", "../shared/data"))
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("no MNIST files here: set KERNELGRAD_DATA to a folder that holds them")
    split = load_folder(folder)
    assert split.input_shape == (1, 28, 28)
    assert len(split.classes) == 10
    assert len(split.train) + len(split.test) in (10_000, 70_000)


@pytest.mark.parametrize(
    ("name", "rows", "shape", "classes"),
    [
        ("digits", (1437, 360), (1, 8, 8), 10),
        ("iris", (120, 30), (4,), 3),
        ("wine", (142, 36), (13,), 3),
        ("breast_cancer", (455, 114), (30,), 2),
        ("diabetes", (353, 89), (10,), 0),
    ],
)
def test_bundled(name, rows, shape, classes):
    pytest.importorskip("sklearn")
    split = load_bundled(name)
    assert (len(split.train), len(split.test)) == rows
    assert split.input_shape == shape
    assert len(split.classes) == classes
    assert split.task == ("classification" if classes else "regression")
    inputs = split.train.tensors[0]
    assert inputs.dtype == kg.float32
    if name != "digits":
        assert np.allclose(inputs.numpy().mean(0), 0, atol=1e-5)
        assert np.allclose(inputs.numpy().std(0), 1, atol=1e-4)
    if classes:
        share = np.bincount(split.test.tensors[1].numpy()) / np.bincount(split.train.tensors[1].numpy())
        assert np.all(np.abs(share - 0.25) < 0.06)


def test_the_digits_split_is_fixed():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    _, test = stratified_split(sklearn_datasets.load_digits().target)
    assert len(test) == 360
    assert test[:8].tolist() == [3, 7, 13, 19, 36, 38, 43, 48]


def test_load_bundled_names_what_there_is():
    with pytest.raises(ValueError, match="no data set 'mnist'; there are digits, iris"):
        load_bundled("mnist")


def test_stratified_split():
    classes = np.repeat([0, 1, 2], [10, 20, 31])
    kept, held = stratified_split(classes, 0.2)
    assert len(held) == 13
    assert sorted([*kept, *held]) == list(range(61))
    assert np.bincount(classes[held]).tolist() == [2, 4, 7]
    assert np.array_equal(stratified_split(classes, 0.2)[1], held)
    assert not np.array_equal(stratified_split(classes, 0.2, seed=1)[1], held)


# ---- Transforms ----


def test_normalize_and_standardize():
    rng = np.random.RandomState(0)
    images = (rng.rand(6, 3, 4, 5) * [[[[1.0]], [[2.0]], [[3.0]]]] + 5).astype(np.float32)
    fitted = Normalize.fit(images)
    scaled = fitted(kg.from_numpy(images)).numpy()
    assert np.allclose(scaled.mean((0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(scaled.std((0, 2, 3)), 1, atol=1e-5)
    train, test = standardize(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 3.0]]))
    assert train.numpy().tolist() == [[-1, 0], [1, 0]]
    assert test.numpy().tolist() == [[0, 2]]
    with pytest.raises(ValueError, match="above zero"):
        Normalize([0.0], [0.0])
    with pytest.raises(ValueError, match="statistics are for 3 channels"):
        fitted(kg.zeros(2, 2, 4, 5))


def test_random_crop_takes_real_windows():
    images = np.arange(8 * 2 * 6 * 6, dtype=np.float32).reshape(8, 2, 6, 6) + 1
    crops = RandomCrop(6, padding=2)(kg.from_numpy(images), kg.Generator().manual_seed(0)).numpy()
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    offsets = set()
    for image, crop in zip(padded, crops, strict=True):
        found = [(t, l) for t in range(5) for l in range(5) if np.array_equal(image[:, t : t + 6, l : l + 6], crop)]  # noqa: E741
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 3
    with pytest.raises(ValueError, match="smaller than the crop"):
        RandomCrop(9)(kg.from_numpy(images))


def test_random_flip():
    images = np.arange(64 * 3, dtype=np.float32).reshape(64, 1, 1, 3)
    flipped = RandomHorizontalFlip()(kg.from_numpy(images), kg.Generator().manual_seed(0)).numpy()
    turned = (flipped[:, 0, 0, 0] == images[:, 0, 0, 2]).sum()
    assert 16 < turned < 48
    assert np.array_equal(RandomHorizontalFlip(0.0)(kg.from_numpy(images)).numpy(), images)
    with pytest.raises(ValueError, match="batches of images"):
        RandomHorizontalFlip()(kg.zeros(3, 3))


def test_public_names_exist():
    assert all(hasattr(data, name) for name in data.__all__)
