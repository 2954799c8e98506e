"""Functions of one float32 stay within the errors that docs/accuracy.md publishes; exhaustively by
`python -m kernelgrad.testing.every_float --full`."""

import pytest

from kernelgrad import core
from kernelgrad.testing import every_float


@pytest.mark.parametrize("level", core.available_levels())
@pytest.mark.parametrize("name", every_float.BARS)
def test_every_251st_float(name, level):
    if name in ("erf", "erfc", "gelu"):
        pytest.importorskip("scipy", reason="NumPy has no error function, and the C library's one by one takes minutes")
    most, at = every_float.worst(name, level)
    bars = {**every_float.BARS, **(every_float.BARS_GENERIC if level == "generic" else {})}
    assert most <= bars[name], f"{name}: {most} ulp at {at!r}"
