"""The thread pool: its size, other threads, forked children, other runtimes in the process."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import kernelgrad as kg

BIG = (300, 1000)


def work(seed=0):
    x = kg.from_numpy(np.random.default_rng(seed).standard_normal(BIG).astype("f"))
    return ((x * x).exp() + x).sum(0).numpy().tobytes()


def test_set_and_get():
    before = kg.get_num_threads()
    try:
        kg.set_num_threads(3)
        assert kg.get_num_threads() == 3
        kg.set_num_threads(0)
        allowed = len(os.sched_getaffinity(0))
        if "quota" in kg.core.threads_reason():
            assert 1 <= kg.get_num_threads() <= allowed
        else:
            assert kg.get_num_threads() == int(os.environ.get("KERNELGRAD_NUM_THREADS") or allowed)
        with pytest.raises(ValueError, match="expected 0 to 256"):
            kg.set_num_threads(-1)
    finally:
        kg.set_num_threads(before)


def child(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_environment_and_affinity_decide_the_default():
    code = "import kernelgrad as kg; print(kg.get_num_threads(), kg.core.threads_reason())"
    assert child(code, KERNELGRAD_NUM_THREADS="5").startswith("5 ")
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + code
    assert child(pinned, KERNELGRAD_NUM_THREADS="").startswith("1 ")


def test_several_python_threads_at_once():
    expected = [work(seed) for seed in range(4)]
    wrong = []

    def loop(seed):
        for _ in range(30):
            if work(seed) != expected[seed]:
                wrong.append(seed)

    threads = [threading.Thread(target=loop, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes():
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np, kernelgrad as kg
kg.set_num_threads(3)
x = kg.ones(1000, 1000)
expected = (x + x).sum().item()
pid = os.fork()
if pid == 0:
    ok = all((x + x).sum().item() == expected for _ in range(20))
    os._exit(0 if ok else 1)
_, status = os.waitpid(pid, 0)
assert (x + x).sum().item() == expected
print(os.waitstatus_to_exitcode(status))
"""
    assert child(code) == "0"


def test_beside_numpy_and_pytorch(torch):
    a = np.random.default_rng(0).standard_normal((200, 200)).astype("f")
    t = torch.tensor(a)
    expected, theirs = work(), (t @ t).numpy().tobytes()
    for _ in range(5):
        a @ a
        assert (t @ t).numpy().tobytes() == theirs
        assert work() == expected


def test_recording_is_per_thread():
    seen = []

    def look():
        seen.append(kg.is_grad_enabled())

    with kg.no_grad():
        t = threading.Thread(target=look)
        t.start()
        t.join()
    assert seen == [True]
