"""Options of the benchmark suites, and what is written at their end."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harness

from kernelgrad.cli.bench import PEERS

BACKENDS = ("simd", "jit", "reference", "cuda")
SESSION = pytest.StashKey[harness.Session]()
ABSENT = pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("kernelgrad")
    group.addoption("--peers", default="numpy,torch", help="libraries to compare with, comma-separated, or none")
    group.addoption("--backends", default="simd", help=f"backends to time, comma-separated, of {', '.join(BACKENDS)}")
    group.addoption("--race-seconds", type=float, default=0.2, help="time to spend on each row")
    group.addoption("--shapes", type=int, default=8, help="random shapes to draw of each class")
    group.addoption("--seed", type=int, default=0, help="which random shapes")
    group.addoption("--rows", type=Path, help="write every row to this JSON file")
    group.addoption("--rows-table", type=Path, help="write a readable table (Markdown) to this file")


def pytest_configure(config):
    peers = names(config.getoption("--peers"), PEERS, "--peers")
    backends = names(config.getoption("--backends"), BACKENDS, "--backends")
    absent = [peer for peer in peers if importlib.util.find_spec(PEERS[peer]) is None]
    if "jit" in backends and importlib.util.find_spec("numba") is None:
        absent.append("jit (Numba)")
        backends.remove("jit")
    if "cuda" in backends:
        from kernelgrad import cuda

        if not cuda.is_available():
            absent.append(f"cuda ({cuda.why_not()})")
            backends.remove("cuda")
    present = [peer for peer in peers if peer not in absent]
    session = harness.Session(present, backends, config.getoption("--race-seconds"))
    session.shapes, session.seed = config.getoption("--shapes"), config.getoption("--seed")
    config.stash[SESSION] = session
    config.stash[ABSENT] = absent
    if "torch" in present or "torch.compile" in present:
        import torch

        import kernelgrad as kg

        torch.set_num_threads(kg.get_num_threads())


def names(text, known, option):
    chosen = [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
    for name in chosen:
        if name not in known:
            raise pytest.UsageError(f"{option}: {name!r} is not one of {', '.join(known)}")
    return chosen


def pytest_report_header(config):
    session = config.stash[SESSION]
    lines = [f"kernelgrad by {', '.join(session.backends)}; peers: {', '.join(session.peers) or 'none'}"]
    if config.stash[ABSENT]:
        lines.append(f"left out, not installed or not usable: {', '.join(config.stash[ABSENT])}")
    return lines


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=harness.replay))


def pytest_sessionfinish(session):
    config = session.config
    rows, table = config.getoption("--rows"), config.getoption("--rows-table")
    if (rows or table) and config.stash[SESSION].rows:
        harness.write(config.stash[SESSION], rows, table)


def pytest_generate_tests(metafunc):
    """A suite lists its tasks with `tasks(session)`; each becomes one row per contender, next to each other."""
    if "contender" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    rows, ids = [], []
    for task in metafunc.module.tasks(session, metafunc.function):
        for contender in task.contenders:
            rows.append((task, contender))
            ids.append(f"{task.name}-{task.shape}-{contender}" if task.shape else f"{task.name}-{contender}")
    metafunc.parametrize(("task", "contender"), rows, ids=ids)


@pytest.fixture
def session(request):
    return request.config.stash[SESSION]


@pytest.fixture
def row(request, session, task, contender):
    """Race, if this is the task's first row, and record the row of `contender`."""
    reason = session.run(task).get(contender)
    if reason:
        pytest.skip(reason)
    benchmark = request.getfixturevalue(
        "benchmark"
    )  # not before: pytest-benchmark wants to be used once it is asked for
    return session.measure(benchmark, task, contender)
