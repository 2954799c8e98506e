"""Trainer, callbacks, metrics, checkpoints, saving, estimators."""

import csv
import json

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import nn, optim
from kernelgrad.data import DataLoader, TensorDataset
from kernelgrad.training import (
    AUC,
    F1,
    MAE,
    MSE,
    R2,
    Accuracy,
    Callback,
    ConfusionMatrix,
    CSVLogger,
    EarlyStopping,
    History,
    LRScheduler,
    ModelCheckpoint,
    Precision,
    ProgressBar,
    Recall,
    TopK,
    Trainer,
)


def blobs(n=90, seed=0):
    """Three clouds in the plane that a small network can tell apart."""
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[labels] + 0.6 * rng.randn(n, 2)).astype(np.float32), labels.astype(np.int64)


def network(dropout=0.0):
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def dataset(n=90, seed=0):
    inputs, labels = blobs(n, seed)
    return TensorDataset(kg.from_numpy(inputs), kg.from_numpy(labels))


def weights(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


# ---- fit, evaluate, predict ----


def test_fit_learns_and_logs():
    kg.manual_seed(0)
    inputs, labels = blobs()
    trainer = Trainer(network(), "cross_entropy", "adam", lr=0.02, metrics=["accuracy"])
    history = trainer.fit(inputs, labels, epochs=12, validation=blobs(30, seed=1), progress=False)
    assert history.epochs == 12
    assert history["loss"][-1] < 0.2 < history["loss"][0]
    assert history["val_accuracy"][-1] > 0.9
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"} <= set(history)
    assert trainer.step_count == 12 * 3
    trainer.fit(inputs, labels, epochs=2, progress=False)
    assert trainer.epoch == history.epochs == 14
    assert history["val_loss"][-1] is None


def test_the_loop_is_the_loop_one_writes_by_hand():
    def by_hand(model, loader):
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()

    results = []
    for how in ("hand", "trainer"):
        kg.manual_seed(4)
        model, loader = network(0.3), DataLoader(dataset(), 32, shuffle=True)
        if how == "hand":
            by_hand(model, loader)
        else:
            optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            Trainer(model, "cross_entropy", optimizer, max_grad_norm=0.5).fit(loader, epochs=2, progress=False)
        results.append(weights(model))
    assert same(*results)


def test_evaluate_does_not_depend_on_the_batches():
    kg.manual_seed(0)
    inputs, labels = blobs(50)
    trainer = Trainer(network(0.5), "cross_entropy", metrics=["accuracy", "f1", "auc", "confusion_matrix"])
    whole, pieces = (trainer.evaluate(inputs, labels, batch_size=size) for size in (50, 7))
    assert pieces["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert pieces["accuracy"] == whole["accuracy"]
    assert pieces["auc"] == whole["auc"]
    assert np.array_equal(pieces["confusion_matrix"], whole["confusion_matrix"])
    assert trainer.model.training  # left as it was found


def test_predict():
    inputs, labels = blobs(50)
    trainer = Trainer(network(0.5), "cross_entropy")
    outputs = trainer.predict(inputs, batch_size=8)
    assert outputs.shape == (50, 3)
    assert not outputs.requires_grad
    assert np.array_equal(trainer.predict(DataLoader(dataset(50), 8)).numpy(), outputs.numpy())
    assert np.array_equal(trainer.predict(kg.from_numpy(inputs), batch_size=8).numpy(), outputs.numpy())
    assert len(labels) == 50


def test_numpy_float64_is_cast_to_the_models_dtype():
    inputs, labels = blobs(12)
    trainer = Trainer(network(), "cross_entropy")
    assert trainer.predict(inputs.astype(np.float64)).dtype == kg.float32
    trainer.fit(inputs.astype(np.float64), labels.astype(np.int32).astype(np.int64), progress=False)


def test_data_that_does_not_fit():
    inputs, labels = blobs(12)
    trainer = Trainer(network(), "cross_entropy")
    with pytest.raises(ValueError, match=r"Trainer.fit: inputs and targets have \[12, 11\] rows"):
        trainer.fit(inputs, labels[:11], progress=False)
    with pytest.raises(TypeError, match="data is int"):
        trainer.fit(3, progress=False)
    with pytest.raises(TypeError, match="expected a tensor or a tuple"):
        trainer.fit([{"x": inputs}], progress=False)
    with pytest.raises(TypeError, match=r"of 1 parts; expected \(inputs..., target\)"):
        trainer.fit(inputs, progress=False)
    with pytest.raises(ValueError, match="holds no batch"):
        trainer.fit([], progress=False)
    with pytest.raises(TypeError, match="only numbers"):
        trainer.predict(np.array(["a", "b"]))


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="no loss is called 'cross'; there are cross_entropy"):
        Trainer(network(), "cross")
    with pytest.raises(ValueError, match="no optimizer is called 'adm'"):
        Trainer(network(), "mse", "adm")
    with pytest.raises(ValueError, match="no metric is called 'acc'; there are accuracy"):
        Trainer(network(), "mse", metrics=["acc"])
    with pytest.raises(ValueError, match="give each its own name"):
        Trainer(network(), "mse", metrics=["accuracy", Accuracy()])


def test_a_loss_that_is_not_finite_ends_training_with_the_reason():
    inputs, labels = blobs(12)
    inputs[5] = np.nan
    with pytest.raises(FloatingPointError, match=r"the loss became nan in step \d of epoch 1"):
        Trainer(network(), "cross_entropy").fit(inputs, labels, batch_size=4, progress=False)


# ---- Callbacks ----


class Weird(Callback):
    """Puts a chosen validation loss into the logs."""

    def __init__(self, losses):
        self.losses = losses

    def on_epoch_end(self, trainer, logs):
        logs["val_loss"] = self.losses[trainer.epoch - 1]


def test_early_stopping_restores_the_best():
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, trainer, logs):
            kept.append(weights(trainer.model))

    stop = EarlyStopping(patience=3)
    trainer = Trainer(network(), "cross_entropy", callbacks=[Weird([3, 1, 2, 2, 2, 0]), Keep(), stop])
    trainer.fit(*blobs(), epochs=6, progress=False)
    assert trainer.epoch == 5
    assert stop.best_epoch == 2
    assert same(weights(trainer.model), kept[1])


def test_early_stopping_without_validation_says_what_is_missing():
    trainer = Trainer(network(), "cross_entropy", callbacks=[EarlyStopping()])
    with pytest.raises(KeyError, match="pass validation data to fit"):
        trainer.fit(*blobs(), progress=False)


def test_schedulers_by_step_and_by_epoch():
    for interval, expected in (("epoch", [0.1, 0.05, 0.025]), ("step", [0.0125, 0.0015625, 0.0001953125])):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = LRScheduler(optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5), interval=interval)
        trainer = Trainer(model, "cross_entropy", optimizer, callbacks=[schedule])
        history = trainer.fit(*blobs(), epochs=3, progress=False)
        assert history["lr"] == pytest.approx(expected)


def test_csv_logger_and_checkpoint_names(tmp_path):
    callbacks = [CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path / "run-{epoch}.safetensors", every_epochs=2)]
    trainer = Trainer(network(), "cross_entropy", metrics=["confusion_matrix"], callbacks=callbacks)
    trainer.fit(*blobs(), epochs=4, progress=False)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[2]["loss"]) == trainer.history["loss"][2]
    assert "confusion_matrix" not in rows[0]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["run-2.safetensors", "run-4.safetensors"]


def test_checkpoint_of_the_best_only(tmp_path):
    path = tmp_path / "best.safetensors"
    callbacks = [Weird([2, 1, 3, 4]), ModelCheckpoint(path, monitor="val_loss")]
    Trainer(network(), "cross_entropy", callbacks=callbacks).fit(*blobs(), epochs=4, progress=False)
    assert kg.load(path)["counters"]["epoch"] == 2


def test_progress_without_a_terminal_is_one_line_per_epoch(capsys):
    Trainer(network(), "cross_entropy", metrics=["accuracy"]).fit(*blobs(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")
    assert "accuracy" in lines[1]
    assert "samples/s" in lines[1]


def test_progress_on_a_terminal():
    pytest.importorskip("rich")
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    bar = ProgressBar(stream)

    trainer = Trainer(network(), "cross_entropy", callbacks=[bar])
    trainer.fit(*blobs(), epochs=2, validation=blobs(9), progress=False)
    assert "epoch 2/2" in stream.getvalue()
    assert "val loss" in stream.getvalue()


# ---- Checkpoints ----


class Interrupt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            raise KeyboardInterrupt


def make_run(tmp_path, *, interrupt=0, every_steps=5):
    """A run with everything that has a state: dropout, shuffling, momentum, a schedule, metrics, early stopping."""
    kg.manual_seed(7)
    model = network(dropout=0.4)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=40)
    callbacks = [
        LRScheduler(schedule, interval="step"),
        EarlyStopping("val_loss", patience=10),
        ModelCheckpoint(tmp_path / "last.safetensors", every_steps=every_steps),
        Interrupt(interrupt),
    ]
    trainer = Trainer(
        model, "cross_entropy", optimizer, metrics=["accuracy", "auc", "confusion_matrix"], callbacks=callbacks
    )
    loader = DataLoader(dataset(), 16, shuffle=True, generator=kg.Generator().manual_seed(2), num_workers=2)
    return trainer, loader


@pytest.mark.parametrize("interrupt", [6, 11, 13])  # 6 steps an epoch: after an epoch's 5th, 4th and 4th step
def test_interrupted_is_uninterrupted(tmp_path, interrupt):
    whole, loader = make_run(tmp_path)
    whole.fit(loader, epochs=4, validation=blobs(30, seed=1), progress=False)

    broken, loader = make_run(tmp_path, interrupt=interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(loader, epochs=4, validation=blobs(30, seed=1), progress=False)
    resumed, loader = make_run(tmp_path)
    kg.manual_seed(99)  # a new process starts anywhere
    resumed.load_checkpoint(tmp_path / "last.safetensors")
    resumed.fit(loader, epochs=4, validation=blobs(30, seed=1), progress=False)

    assert resumed.step_count == whole.step_count == 24
    assert same(weights(resumed.model), weights(whole.model))
    for name, values in whole.history.items():
        if name not in ("seconds", "samples_per_second"):
            assert np.array_equal(np.array(resumed.history[name]), np.array(values)), name


def test_resuming_between_epochs(tmp_path):
    path = tmp_path / "epoch.safetensors"

    def make():
        kg.manual_seed(3)
        return Trainer(network(0.2), "cross_entropy", "adam", callbacks=[ModelCheckpoint(path)])

    whole = make()
    whole.fit(*blobs(), epochs=5, progress=False)
    make().fit(*blobs(), epochs=2, progress=False)
    resumed = make()
    resumed.load_checkpoint(path)
    assert resumed.epoch == 2
    resumed.fit(*blobs(), epochs=5, progress=False)
    assert same(weights(resumed.model), weights(whole.model))


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    trainer = Trainer(network(), "cross_entropy", metrics=["accuracy"], callbacks=[ModelCheckpoint(path)])
    trainer.fit(*blobs(), progress=False)
    with pytest.raises(ValueError, match=r"was written with callbacks \['ModelCheckpoint'\], this Trainer has \[\]"):
        Trainer(network(), "cross_entropy", metrics=["accuracy"]).load_checkpoint(path)
    with pytest.raises(ValueError, match="was written with metrics"):
        Trainer(network(), "cross_entropy", callbacks=[ModelCheckpoint(path)]).load_checkpoint(path)
    kg.save(network().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is not a checkpoint of a Trainer"):
        trainer.load_checkpoint(tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        trainer.load_checkpoint(path)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_loader_of_ones_own_resumes_between_epochs_only(tmp_path):
    path = tmp_path / "c.safetensors"
    batches = [tuple(kg.from_numpy(part) for part in blobs(9, seed)) for seed in range(3)]
    trainer = Trainer(network(), "cross_entropy", callbacks=[ModelCheckpoint(path, every_steps=2)])
    trainer.fit(batches, progress=False)
    trainer.load_checkpoint(path)
    with pytest.raises(ValueError, match="list has no load_state_dict"):
        trainer.fit(batches, progress=False)


# ---- save and load ----


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    model = network()
    kg.save(model.state_dict(), tmp_path / "m.safetensors")
    foreign = safetensors_numpy.load_file(tmp_path / "m.safetensors")
    assert same(foreign, weights(model))
    other = network()
    other.load_state_dict(kg.load(tmp_path / "m.safetensors"))
    assert same(weights(other), weights(model))
    safetensors_numpy.save_file({"x": np.arange(3.0)}, tmp_path / "n.safetensors")
    assert kg.load(tmp_path / "n.safetensors")["x"].numpy().tolist() == [0, 1, 2]


def test_anything_plain_comes_back_as_it_was(tmp_path):
    tree = {
        "none": None,
        "numbers": [1, 2.5, True, 2**70, -0.1 + 0.2, float("inf"), float("-inf")],
        "text": "ä\n",
        "tuple": (1, ("a", [])),
        3: {0.5: "x", None: {}},
        "array": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "scalar": np.float64(0.1),
        "a": {"b": kg.tensor([1, 2])},
        "a.b": kg.tensor(3.5, dtype=kg.float64),
        "empty": kg.zeros(0, 3),
    }
    kg.save(tree, tmp_path / "t.safetensors")
    back = kg.load(tmp_path / "t.safetensors")
    assert list(back) == list(tree)
    for key in ("none", "numbers", "text", "tuple", 3, "scalar"):
        assert back[key] == tree[key]
        assert type(back[key]) is type(tree[key])
    assert back["array"].dtype == np.int32
    assert np.array_equal(back["array"], tree["array"])
    assert back["a"]["b"].dtype == kg.int64
    assert back["a"]["b"].numpy().tolist() == [1, 2]
    assert back["a.b"].shape == ()
    assert back["a.b"].item() == 3.5
    assert back["empty"].shape == (0, 3)


def test_bfloat16_is_saved_exactly(tmp_path):
    values = kg.tensor([1.5, -3.0, 0.0078125]).to(kg.bfloat16)
    kg.save({"x": values}, tmp_path / "b.safetensors")
    assert b'"BF16"' in (tmp_path / "b.safetensors").read_bytes()
    back = kg.load(tmp_path / "b.safetensors")["x"]
    assert back.dtype == kg.bfloat16
    assert back.to(kg.float32).numpy().tolist() == [1.5, -3.0, 0.0078125]


def test_a_view_is_saved_as_what_it_shows(tmp_path):
    kg.save({"x": kg.arange(6).reshape(2, 3).t()}, tmp_path / "v.safetensors")
    assert kg.load(tmp_path / "v.safetensors")["x"].numpy().tolist() == [[0, 3], [1, 4], [2, 5]]


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match=r"save: a.1 is of type object"):
        kg.save({"a": [1, object()]}, tmp_path / "x")
    with pytest.raises(TypeError, match="model.state_dict"):
        kg.save(network(), tmp_path / "x")
    with pytest.raises(TypeError, match="dict key"):
        kg.save({(1, 2): 3}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("damage", [b"", b"hello", b"\xff" * 64, json.dumps({"a": 1}).encode()])
def test_damaged_files_are_refused(tmp_path, damage):
    (tmp_path / "x").write_bytes(damage)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        kg.load(tmp_path / "x")


# ---- History ----


def test_history_fills_gaps_and_finds_the_best():
    history = History()
    history.append({"loss": 2.0})
    history.append({"loss": 1.0, "val_accuracy": 0.5})
    history.append({"val_accuracy": 0.25})
    assert history == {"loss": [2.0, 1.0, None], "val_accuracy": [None, 0.5, 0.25]}
    assert history.best("loss") == (1, 1.0)
    assert history.best("val_accuracy") == (1, 0.5)
    with pytest.raises(KeyError, match="there is|it has loss"):
        history.best("f1")


def test_history_plots_itself(tmp_path):
    pytest.importorskip("matplotlib")
    history = History(loss=[1.0, 0.5], val_loss=[1.1, 0.7], accuracy=[0.5, 0.9], matrix=[np.eye(2), np.eye(2)])
    figure = history.plot(tmp_path / "curves.png")
    assert len(figure.axes) == 2
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


# ---- Metrics ----


def feed(metric, outputs, targets, sizes=(1, 4, 0, 25, 70)):
    """In uneven batches, an empty one among them."""
    start = 0
    for size in sizes:
        metric.update(outputs[start : start + size], targets[start : start + size])
        start += size
    assert start == len(targets)
    restored = type(metric)()
    restored.__dict__.update({key: value for key, value in metric.__dict__.items() if key not in metric.gathered})
    restored.load_state_dict(metric.state_dict())
    return restored.compute()


@pytest.fixture
def guesses():
    rng = np.random.RandomState(1)
    labels = rng.randint(0, 4, 100)
    labels[labels == 2] = 0  # a class that never occurs, though it is predicted
    scores = rng.randn(100, 4).round(1) + 0.8 * np.eye(4)[labels]
    return scores, labels


def test_classification_metrics_are_those_of_sklearn(guesses):
    reference = pytest.importorskip("sklearn.metrics")
    scores, labels = guesses
    predicted = scores.argmax(1)
    assert feed(Accuracy(), scores, labels) == reference.accuracy_score(labels, predicted)
    assert np.array_equal(feed(ConfusionMatrix(), scores, labels), reference.confusion_matrix(labels, predicted))
    for metric, function in (
        (Precision, reference.precision_score),
        (Recall, reference.recall_score),
        (F1, reference.f1_score),
    ):
        for average in ("macro", "micro", None):
            expected = function(labels, predicted, average=average, zero_division=0)
            assert np.allclose(feed(metric(average), scores, labels), expected, rtol=1e-12)
    assert feed(TopK(2), scores[:, [0, 1, 3]], np.searchsorted([0, 1, 3], labels)) == pytest.approx(
        reference.top_k_accuracy_score(labels, scores[:, [0, 1, 3]] + 1e-9 * np.eye(4)[labels][:, [0, 1, 3]], k=2)
    )


def test_auc_is_that_of_sklearn(guesses):
    reference = pytest.importorskip("sklearn.metrics")
    scores, labels = guesses
    binary = (labels > 0).astype(np.int64)
    one = scores[:, 1].round(0)  # many ties
    assert feed(AUC(), one, binary) == pytest.approx(reference.roc_auc_score(binary, one), rel=1e-12)
    two = scores[:, :2]
    assert feed(AUC(), two, binary) == pytest.approx(reference.roc_auc_score(binary, two[:, 1] - two[:, 0]), rel=1e-12)
    full = np.arange(100) % 4
    expected = np.mean([reference.roc_auc_score(full == c, scores[:, c]) for c in range(4)])
    assert feed(AUC(), scores, full) == pytest.approx(expected, rel=1e-12)


def test_regression_metrics_are_those_of_sklearn():
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.RandomState(0)
    target = rng.randn(100, 2) + 1e4  # far from zero: sums of squares would lose it
    output = target + 0.3 * rng.randn(100, 2)
    assert feed(MAE(), output, target) == pytest.approx(reference.mean_absolute_error(target, output), rel=1e-10)
    assert feed(MSE(), output, target) == pytest.approx(reference.mean_squared_error(target, output), rel=1e-10)
    assert feed(R2(), output, target) == pytest.approx(reference.r2_score(target, output), rel=1e-10)
    flat = np.ones(100)
    assert feed(R2(), flat, flat) == 1.0
    assert feed(R2(), flat + 1, flat) == 0.0


def test_metrics_of_nothing_are_nan():
    for metric in (Accuracy(), TopK(), F1(), AUC(), R2(), MAE()):
        assert np.isnan(metric.compute())


def test_one_score_per_sample():
    metric = Accuracy()
    metric.update(np.array([[-1.0], [2.0], [3.0]]), np.array([0.0, 1.0, 0.0]))
    assert metric.compute() == 2 / 3
    with pytest.raises(ValueError, match=r"outputs \(3, 2\) do not fit targets \(4,\)"):
        metric.update(np.zeros((3, 2)), np.zeros(4))


# ---- Estimators ----


def test_classifier_and_regressor():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import cross_val_score

    from kernelgrad.training import KernelgradClassifier, KernelgradRegressor

    x, y = sklearn_datasets.load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    classifier = KernelgradClassifier(hidden=(16,), epochs=30, lr=1e-2, random_state=0)
    assert cross_val_score(classifier, x, names, cv=3).mean() > 0.9
    classifier.fit(x, names)
    shares = classifier.predict_proba(x)
    assert shares.shape == (150, 3)
    assert np.allclose(shares.sum(1), 1)
    assert np.array_equal(classifier.classes_[shares.argmax(1)], classifier.predict(x))
    again = KernelgradClassifier(**classifier.get_params()).fit(x, names)
    assert np.array_equal(again.predict_proba(x), shares)

    x, y = sklearn_datasets.load_diabetes(return_X_y=True)
    regressor = KernelgradRegressor(hidden=(32,), epochs=60, random_state=0, early_stopping=True).fit(x, y)
    assert regressor.score(x, y) > 0.4
    assert regressor.predict(x).shape == y.shape
    assert regressor.fit(x, np.stack([y, -y], 1)).predict(x).shape == (442, 2)


@pytest.mark.filterwarnings("ignore:Skipping check")
def test_estimators_keep_sklearns_rules():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    from kernelgrad.training import KernelgradClassifier, KernelgradRegressor

    for estimator in (
        KernelgradClassifier(epochs=40, lr=1e-2, random_state=0),
        KernelgradRegressor(epochs=40, lr=1e-2, random_state=0),
    ):
        for result in checks.check_estimator(estimator, on_fail=None):
            assert result["status"] != "failed", f"{result['check_name']}: {result['exception']}"
