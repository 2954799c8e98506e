"""What the tests share: which twins run here, and PyTorch where it is installed."""

import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """``-k needs_pytorch`` finds every test that compares with PyTorch, whatever its name."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()) or hasattr(item.module, "torch"):
            item.add_marker("needs_pytorch")


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the yardstick; tests that ask for it skip where it is not installed."""
    module = pytest.importorskip("torch")
    module.set_num_threads(2)
    return module


@pytest.fixture(scope="session")
def data_folder():
    """The folder with MNIST images and a text, from KERNELGRAD_DATA; tests that ask for it skip where it is absent."""
    folder = Path(os.environ.get("KERNELGRAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set KERNELGRAD_DATA")
    return folder
