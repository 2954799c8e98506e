"""Random numbers, the definition: Philox4x32-10 with the element's index as counter.

How words are numbered is written at the head of philox.h. An element's index counts in memory order, so a tensor in
channels_last memory is filled as its memory runs.
"""

import numpy as np

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def _philox(counters, seed, op):
    """The four outputs, each a uint64 array that holds 32 bits, of every counter."""
    seed, op = np.uint64(seed & 0xFFFFFFFFFFFFFFFF), np.uint64(op & 0xFFFFFFFFFFFFFFFF)
    x0, x1 = counters & _LOW, counters >> _HALF
    x2, x3 = np.full_like(counters, op & _LOW), np.full_like(counters, op >> _HALF)
    key0, key1 = int(seed & _LOW), int(seed >> _HALF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x1, x2, x3 = (
            (p1 >> _HALF) ^ x1 ^ np.uint64(key0),
            p1 & _LOW,
            (p0 >> _HALF) ^ x3 ^ np.uint64(key1),
            p0 & _LOW,
        )
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return x0, x1, x2, x3


def _outputs(groups, seed, op):
    """Shape (groups, 4, 16): output w of counter 16 g + j at [g, w, j]."""
    counters = np.arange(groups * 16, dtype=np.uint64)
    return np.stack([x.reshape(groups, 16) for x in _philox(counters, seed, op)], axis=1)


def words32(n, seed, op):
    """n words of 32 bits, as uint64."""
    return _outputs(-(-n // 64), seed, op).reshape(-1)[:n]


def words64(n, seed, op):
    """n words of 64 bits."""
    x = _outputs(-(-n // 32), seed, op)
    return (x[:, 0::2] | (x[:, 1::2] << _HALF)).reshape(-1)[:n]


def memory_order(a):
    """A flat view of a dense array, elements as they lie in memory."""
    return a.transpose(np.argsort([-s for s in a.strides], kind="stable")).reshape(-1)


def _fractions(dtype, n, seed, op):
    """Multiples of 2^-24 (float64: 2^-53) in [0, 1), as float64."""
    if dtype == np.float64:
        return (words64(n, seed, op) >> np.uint64(11)) * 2.0**-53
    return (words32(n, seed, op) >> np.uint64(8)) * 2.0**-24


def _log_arguments(words, bits):
    """Numbers in (0, 1): the middles of 2^31 (float64: 2^52) equal parts, rounded to the dtype, never 1."""
    if bits == 64:
        return ((words >> np.uint64(12)) + 0.5) * 2.0**-52
    u = (words >> np.uint64(1)).astype(np.float32).astype(np.float64) * 2.0**-31 + 2.0**-32
    return np.minimum(u.astype(np.float32), np.float32(1.0 - 2.0**-24)).astype(np.float64)


def random_bits_fill(out, n, seed, op):
    words = words64(n, seed, op) if out.itemsize == 8 else words32(n, seed, op).astype(np.uint32)
    memory_order(out)[:] = words.view(out.dtype)


def randint_fill(out, n, seed, op, low, span):
    """low + floor(bits * span / 2^64) for span up to 2^32, low + bits mod span above. span is unsigned, 0 means
    2^64."""
    words = words64(n, seed, op)
    if 0 < span <= 2**32:
        s = np.uint64(span)
        offset = ((words >> _HALF) * s + (((words & _LOW) * s) >> _HALF)) >> _HALF
    elif span == 0:
        offset = words
    else:
        offset = words % np.uint64(span & 0xFFFFFFFFFFFFFFFF)
    memory_order(out)[:] = (offset + np.uint64(low & 0xFFFFFFFFFFFFFFFF)).view(np.int64)


def uniform_fill(out, n, seed, op, low, span):
    low, span = float(out.dtype.type(low)), float(out.dtype.type(span))
    memory_order(out)[:] = _fractions(out.dtype, n, seed, op) * span + low  # exact before it is rounded to out's dtype


def normal_fill(out, n, seed, op, mean, std):
    """Box-Muller: outputs 0, 1 of a counter give elements at 0, 1; outputs 2, 3 those at 2, 3 (float64: 0..3 give 0,
    1)."""
    if out.dtype == np.float64:
        x = words64(-(-n // 32) * 32, seed, op).reshape(-1, 1, 2, 16)
        bits = 64
    else:
        x = words32(-(-n // 64) * 64, seed, op).reshape(-1, 2, 2, 16)
        bits = 32
    radius = np.sqrt(-2.0 * np.log(_log_arguments(x[:, :, 0], bits)))
    angle = x[:, :, 1] * (2.0 * np.pi * 2.0**-bits)
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(-1)
    memory_order(out)[:] = z[:n] * std + mean


def exponential_fill(out, n, seed, op, rate):
    wide = out.dtype == np.float64
    words = words64(n, seed, op) if wide else words32(n, seed, op)
    memory_order(out)[:] = np.log(_log_arguments(words, 64 if wide else 32)) / -rate


def bernoulli_fill(out, n, seed, op, p):
    """1 with probability p: 32 bits below p 2^32."""
    memory_order(out)[:] = words32(n, seed, op) < np.uint64(np.rint(p * 2.0**32))


def dropout_forward(x, out, n, seed, op, p):
    """x / (1 - p) with probability 1 - p, else 0. Backward is the same kernel on grad_out: same key, same mask."""
    keep = words32(n, seed, op) >= np.uint64(np.rint(p * 2.0**32))
    scale = out.dtype.type(1.0 / (1.0 - p)) if p < 1.0 else out.dtype.type(0.0)
    memory_order(out)[:] = memory_order(x) * (keep * scale)
