"""The dispatch table: one line per kernel says what exists, and for which dtypes.

`reference` (NumPy) is implied everywhere and answers for every other dtype. `key` is the array whose dtype selects; a `whole`
kernel cuts its own work; `ns` estimates the time per element of the largest array, which decides when threads help.
"""

from typing import NamedTuple

F32 = ("float32",)
FLOATS = ("float32", "float64")
INTS = ("int64", "int32", "int8", "uint8", "bool_")


class Kernel(NamedTuple):
    name: str
    family: str
    simd: tuple[str, ...] = ()
    jit: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    key: int = 0
    whole: bool = False
    ns: float = 0.3


TABLE = [
    # ---- elementwise ----
    Kernel("add_forward", "elementwise"),
    Kernel("sub_forward", "elementwise"),
    Kernel("mul_forward", "elementwise"),
    Kernel("div_forward", "elementwise"),
    Kernel("div_backward_y", "elementwise"),
    # ---- reduction ----
    Kernel("sum_forward", "reduction"),
]
