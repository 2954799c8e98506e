"""No call, however wrong, ends the process."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seed", [11, 12])
def test_senseless_calls_do_not_crash(seed):
    script = Path(__file__).with_name("fuzz_ops.py")
    result = subprocess.run([sys.executable, str(script), str(seed), "1500"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "1500 calls" in result.stdout
