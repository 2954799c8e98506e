"""The command line: kernelgrad info, demo, train, bench."""

import csv
import gzip
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]


def run(capsys, *arguments):
    """Exit code, what stood on standard output, what on standard error."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def last_json(out):
    return json.loads(out.splitlines()[-1])


@pytest.fixture(autouse=True)
def threads_stay():
    before = kg.get_num_threads()
    yield
    kg.set_num_threads(before)


def test_without_arguments_it_says_how_to_use_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert kg.__version__ in capsys.readouterr().out


# ---- info ----


def test_info(capsys):
    code, out, err = run(capsys, "info")
    assert (code, err) == (0, "")
    for word in (
        "kernelgrad",
        "instruction set",
        "threads",
        "measured peak",
        "memory",
        "Numba",
        "CUDA",
        "GF/s",
        "GB/s",
    ):
        assert word in out
    code, out, _ = run(capsys, "info", "--json")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found["version"] == kg.__version__
    assert found["isa"]["chosen"] in found["isa"]["found"]
    assert found["threads"]["count"] == kg.get_num_threads()
    assert found["threads"]["reason"]
    assert found["peak"]["gflops"] > 0
    assert found["peak"]["gbytes"] > 0
    for part in ("numba", "cuda"):
        assert found[part]["available"] or found[part]["reason"]


def test_info_needs_no_extra():
    """Runs with the optional packages hidden, and loads none of them."""
    script = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'numba', 'rich', 'matplotlib', 'sklearn', 'torch', 'pytest'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import importlib.util\n"
        "spec = importlib.util.find_spec\n"
        "hidden = {'numba', 'rich', 'matplotlib', 'sklearn', 'torch'}\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in hidden else spec(name, *rest)\n"
        "from kernelgrad.cli import main\n"
        "sys.exit(main(['info', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'kernelgrad[jit]'" in json.loads(done.stdout)["numba"]["reason"]


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "kernelgrad", "--version"], capture_output=True, text=True, check=True, cwd=os.sep
    )
    assert done.stdout.strip() == f"kernelgrad {kg.__version__}"


# ---- demo ----


def test_demo(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    code, out, err = run(capsys, "demo", "--json", "--out", tmp_path / "pictures")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1  # no bar, no text
    result = last_json(out)
    assert result["test_accuracy"] >= 0.98
    assert {"train_seconds", "steps_per_second", "device", "threads", "isa"} <= result.keys()
    counts = np.array(result["confusion_matrix"])
    assert counts.sum() == 360
    assert counts.trace() / 360 == result["test_accuracy"]
    assert result["share_of_peak"] > 0  # of a peak measured on a machine that others may use: no upper bound
    for name in ("curves.png", "predictions.png", "filters.png"):
        assert (tmp_path / "pictures" / name).read_bytes()[:4] == b"\x89PNG"


def test_demo_in_words(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    code, out, _ = run(capsys, "demo", "--epochs", 1, "--threads", 1, "--out", tmp_path)
    assert code == 0
    assert "1,257 to learn from, 180 to validate, 360 held out" in out
    assert re.search(r"epoch 1/1  loss \d", out)
    assert "predicted" in out
    assert "measured peak" in out
    assert "filters.png" in out
    assert "\x1b" not in out  # no colours and no cursor movements where nobody looks


def test_demo_never_trains_on_what_it_tests_on(capsys, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    from kernelgrad.cli import fitting
    from kernelgrad.data import load_bundled

    seen = []
    loader = fitting.DataLoader

    def spy(dataset, *arguments, **options):
        seen.append(dataset)
        return loader(dataset, *arguments, **options)

    monkeypatch.setattr(fitting, "DataLoader", spy)
    run(capsys, "demo", "--json", "--epochs", 1, "--out", tmp_path)
    data = load_bundled("digits")
    learnt = {seen[0][i][0].numpy().tobytes() for i in range(len(seen[0]))}
    held = {data.test[i][0].numpy().tobytes() for i in range(len(data.test))}
    assert len(seen[0]) == 1257
    assert len(held) == 360
    assert not learnt & held


@pytest.mark.parametrize("command", [["demo"], ["train", "iris"]])
def test_cuda_without_a_gpu_ends_with_one_line(capsys, monkeypatch, command):
    from kernelgrad import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "why_not", lambda: "no driver\nwas found")
    code, out, err = run(capsys, *command, "--device", "cuda", "--json")
    assert (code, out) == (2, "")
    assert err == f"kernelgrad {command[0]}: --device cuda: no usable GPU: no driver was found\n"


def test_demo_names_the_extra_it_misses(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, out, err = run(capsys, "demo")
    assert (code, out) == (2, "")
    assert "needs scikit-learn and matplotlib, not installed here: pip install 'kernelgrad[train]'" in err


# ---- train ----


@pytest.mark.parametrize(
    ("dataset", "model", "epochs", "lr", "measure", "least"),
    [
        ("iris", "perceptron", 40, 0.05, "test_accuracy", 0.85),
        ("wine", "mlp", 12, 0.01, "test_accuracy", 0.9),
        ("breast_cancer", "mlp", 12, 0.01, "test_accuracy", 0.9),
        ("diabetes", "mlp", 12, 0.005, "test_r2", 0.2),
        ("digits", "cnn", 3, 0.01, "test_accuracy", 0.9),
    ],
)
def test_train(capsys, dataset, model, epochs, lr, measure, least):
    pytest.importorskip("sklearn")
    options = ["--epochs", epochs, "--lr", lr, "--batch-size", 32, "--json"]
    code, out, err = run(capsys, "train", dataset, "--model", model, *options)
    assert (code, err) == (0, "")
    result = last_json(out)
    assert out.count("\n") == 1
    assert result[measure] >= least
    assert (result["dataset"], result["model"]) == (dataset, model)
    assert {"train_seconds", "steps_per_second", "device", "threads", "isa"} <= result.keys()


def test_the_seed_decides_everything(capsys):
    pytest.importorskip("sklearn")
    results = []
    for seed in (1, 1, 2):
        _, out, _ = run(capsys, "train", "wine", "--epochs", 2, "--seed", seed, "--json")
        results.append(last_json(out)["test_loss"])
    assert results[0] == results[1] != results[2]


def test_train_writes_what_it_learnt(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    code, out, _ = run(capsys, "train", "iris", "--epochs", 3, "--out", tmp_path / "run")
    assert code == 0
    assert re.search(r"held out: loss \d\.\d+, accuracy \d", out)
    weights = kg.load(tmp_path / "run" / "model.safetensors")
    assert tuple(weights["0.weight"].shape) == (64, 4)
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 3


def test_train_on_a_folder(capsys, tmp_path):
    rng = np.random.RandomState(0)
    for part, n in (("train", 200), ("t10k", 40)):
        labels = (np.arange(n) % 2).astype(np.uint8)
        images = (rng.randint(0, 60, (n, 16, 16)) + 150 * labels[:, None, None]).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw))
    options = ["--epochs", 6, "--batch-size", 8, "--optimizer", "sgd", "--lr", 0.02, "--json"]
    for model in ("mlp", "cnn"):
        code, out, err = run(capsys, "train", "--data", tmp_path, "--model", model, *options)
        assert (code, err) == (0, "")
        assert last_json(out)["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "name one data set"),
        (["train", "iris", "--data", "x"], "name one data set"),
        (["train", "--data", "/no/such/folder"], "data folder /no/such/folder does not exist"),
        (["train", "iris", "--model", "cnn"], "--model cnn needs images, this data has 4 numbers a row"),
        (["bench", "--peers", "tensorflow"], "no peer is called 'tensorflow'"),
        (["bench", "--suite", "/no/such/folder"], "/no/such/folder holds no benchmark suites"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(capsys, arguments, message):
    pytest.importorskip("sklearn")
    pytest.importorskip("pytest_benchmark")
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--epochs", "0"), ("--batch-size", "-3"), ("--lr", "nan"), ("--threads", "x"), ("--model", "rnn")],
)
def test_values_that_make_no_sense(capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        main(["train", "iris", option, value])
    assert stop.value.code == 2
    assert option in capsys.readouterr().err


def test_a_learning_rate_that_explodes_is_named(capsys):
    pytest.importorskip("sklearn")
    code, _, err = run(capsys, "train", "diabetes", "--lr", 1e6, "--optimizer", "sgd", "--json")
    assert code == 2
    assert "the loss became" in err


# ---- bench ----


def test_bench_writes_table_rows_and_picture(tmp_path):
    """In a process of its own, as a user runs it: pytest inside pytest would share this one's state."""
    pytest.importorskip("pytest_benchmark")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "kernelgrad", "bench", "--json", "--suite", REPOSITORY / "benchmarks"]
    command += ["--only", "bench_op and (relu-256x1024 or matmul-64x64x64)", "--peers", "numpy", "--seconds", "0.005"]
    command += ["--threads", "1", "--out", tmp_path]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["threads"] == 1
    assert result["rows"] > 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(rows) == result["rows"]
    assert any(row["ratios"].get("numpy") for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert "| relu |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "roofline.png").stat().st_size > 1000


# ---- What the documents show ----


@pytest.fixture
def at_the_repository():
    if not (REPOSITORY / "README.md").is_file():
        pytest.skip("not run from the source tree")


@pytest.mark.usefixtures("at_the_repository")
def test_the_code_in_the_readme_runs(capsys, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    scope = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    assert float(capsys.readouterr().out.split()[-1]) > 0.95
    exec(compile(blocks[1], "README.md", "exec"), scope)
    assert (tmp_path / "last.safetensors").is_file()
    assert (tmp_path / "curves.png").is_file()


@pytest.mark.usefixtures("at_the_repository")
def test_the_code_in_the_docs_runs(capsys):
    ran = 0
    for path in sorted((REPOSITORY / "docs").glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
            exec(compile(block, str(path), "exec"), {})
            ran += 1
    assert ran > 0


@pytest.mark.usefixtures("at_the_repository")
@pytest.mark.parametrize(("example", "least"), [("custom_loop", 0.9), ("custom_op", 0.8)])
def test_examples_run(example, least, capsys):
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(example, REPOSITORY / "examples" / f"{example}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main() > least
    assert "False" not in capsys.readouterr().out  # gradcheck's answer


@pytest.mark.usefixtures("at_the_repository")
def test_links_between_the_documents_lead_somewhere():
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
