"""Random numbers and dropout. Philox4x32-10 keyed by (seed, number of the call), counted by element
(kernels/random/philox.h): the same numbers for any number of threads, any instruction set and any device.

A generator is two integers, its seed and how many random calls it has served; saving them is enough to go on exactly.
"""

import numbers
import operator
import secrets

import numpy as np

from kernelgrad.core import (
    Array,
    Function,
    as_dtype,
    as_numpy,
    bfloat16,
    bump_version,
    cast,
    channels_last,
    check_writable,
    contiguous,
    copy_,
    detach_,
    empty,
    empty_like,
    float32,
    from_numpy,
    get_default_dtype,
    int64,
    is_grad_enabled,
    kernel,
    move,
    set_requires_grad,
    uint8,
)

__all__ = [
    "Generator",
    "bernoulli",
    "bernoulli_",
    "default_generator",
    "dropout",
    "exponential_",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "normal_",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "random_",
    "randperm",
    "seed",
    "set_rng_state",
    "uniform_",
]

_uniform, _normal, _exponential = kernel("uniform_fill"), kernel("normal_fill"), kernel("exponential_fill")
_bernoulli, _bits, _randint = kernel("bernoulli_fill"), kernel("random_bits_fill"), kernel("randint_fill")
_dropout = kernel("dropout_forward")


def signed(value):
    """The int64 with the bits of an unsigned 64-bit number."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


class Generator:
    """A stream of random calls. State: the seed, and the number of the next call."""

    __slots__ = ("_op", "_seed", "device")

    def __init__(self, device="cpu"):
        self.device = device
        self._seed, self._op = 67280421310721, 0  # PyTorch's default seed

    def manual_seed(self, seed):
        """Start again from `seed`, an int in [-2^63, 2^64); returns the generator."""
        seed = operator.index(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise RuntimeError(f"manual_seed: expected an integer in [-2^63, 2^64), got {seed}")
        self._seed, self._op = seed & ((1 << 64) - 1), 0
        return self

    def initial_seed(self):
        """The seed this stream started from."""
        return self._seed

    def seed(self):
        """Start again from a seed that the operating system draws; returns it."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def get_state(self):
        """The state as 16 bytes in a uint8 tensor."""
        return from_numpy(np.array([self._seed, self._op], dtype="<u8").view(np.uint8).copy())

    def set_state(self, new_state):
        """Go on from what `get_state` returned."""
        if not isinstance(new_state, Array) or new_state.dtype is not uint8:
            raise TypeError("set_state: expected the uint8 tensor that get_state() returned")
        if new_state.shape != (16,):
            raise RuntimeError(f"set_state: expected 16 bytes, got shape {tuple(new_state.shape)}")
        state = as_numpy(contiguous(new_state)).view("<u8")
        self._seed, self._op = int(state[0]), int(state[1])

    def next_key(self):
        """(seed, number of this call) as kernels take them; the call is counted."""
        op = self._op
        self._op = op + 1
        return signed(self._seed), signed(op)

    def __repr__(self):
        return f"<kernelgrad.Generator seed={self._seed} calls={self._op}>"

    def __reduce__(self):
        return _restored, (self._seed, self._op)


def _restored(seed, op):
    generator = Generator()
    generator._seed, generator._op = seed, op
    return generator


default_generator = Generator()


def manual_seed(seed):
    """Seed the default generator; returns it."""
    return default_generator.manual_seed(seed)


def seed():
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed():
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state():
    """State of the default generator, a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state):
    """Restore what `get_rng_state` returned."""
    default_generator.set_state(new_state)


# ---- Filling ----


def fill(k, x, generator, sizes=(), scalars=()):
    """Run a fill kernel over all of `x`, whatever its strides and float dtype."""
    key = (generator or default_generator).next_key()
    n = x.numel()
    if n == 0:
        return x
    if x.dtype is bfloat16:
        wide = empty(x.shape, float32, x.device)
        k((wide,), (n, *key, *sizes), scalars)
        return copy_(x, cast(wide, bfloat16))
    if x.is_dense():
        k((x,), (n, *key, *sizes), scalars)
        bump_version(x)
        return x
    dense = empty(x.shape, x.dtype, x.device)
    k((dense,), (n, *key, *sizes), scalars)
    return copy_(x, dense)


def fresh(size, dtype, device, requires_grad, k, generator, scalars, like=None):
    """Random numbers in a new array; one in the memory layout of `like`, in the order of its memory, where given."""
    if len(size) == 1 and not isinstance(size[0], numbers.Integral):
        (size,) = size
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not dtype.is_floating_point:
        raise RuntimeError(
            f"{k.name.split('_')[0]}: expected a floating-point dtype, got {dtype}; use randint for integers"
        )
    if like is None or device != like.device:
        x = empty(tuple(size), dtype, device)
    else:
        x = empty_like(like, dtype)
    fill(k, x, generator, (), scalars)
    return set_requires_grad(x, True) if requires_grad else x


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Uniform numbers in [0, 1): multiples of 2^-24 (float64: 2^-53)."""
    return fresh(size, dtype, device, requires_grad, _uniform, generator, (0.0, 1.0))


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Standard normal numbers (Box & Muller 1958, https://doi.org/10.1214/aoms/1177706645)."""
    return fresh(size, dtype, device, requires_grad, _normal, generator, (0.0, 1.0))


def rand_like(input, *, generator=None, dtype=None, device=None, requires_grad=False):
    """`rand` with the shape, layout, dtype and device of `input`."""
    size, device = (tuple(input.shape),), device or input.device
    return fresh(size, dtype or input.dtype, device, requires_grad, _uniform, generator, (0.0, 1.0), input)


def randn_like(input, *, generator=None, dtype=None, device=None, requires_grad=False):
    """`randn` with the shape, layout, dtype and device of `input`."""
    size, device = (tuple(input.shape),), device or input.device
    return fresh(size, dtype or input.dtype, device, requires_grad, _normal, generator, (0.0, 1.0), input)


def integers(size, low, high, generator, device):
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if low < -(1 << 63) or high > 1 << 63:
        raise RuntimeError(f"randint: [{low}, {high}) does not fit into int64")
    x = empty(size, int64, device)
    return fill(_randint, x, generator, (low, signed(high - low)))


def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Integers in [low, high), each equally likely (to 2^-32); ``randint(high, size)`` starts at 0."""
    if size is None or high is None:
        if size is None:
            low, high, size = 0, low, high
        else:
            low, high = 0, low
    if size is None:
        raise TypeError("randint() missing required argument: 'size'")
    x = integers(tuple(size), operator.index(low), operator.index(high), generator, device)
    x = cast(x, as_dtype(dtype)) if dtype is not None else x
    return set_requires_grad(x, True) if requires_grad else x


def randint_like(input, low, high=None, *, generator=None, dtype=None, device=None):
    """`randint` with the shape, dtype and device of `input`."""
    low, high = (0, low) if high is None else (low, high)
    return randint(
        low, high, tuple(input.shape), generator=generator, dtype=dtype or input.dtype, device=device or input.device
    )


def random_words(n, generator):
    """n words of 64 bits, as a NumPy array."""
    return as_numpy(fill(_bits, empty((n,), int64), generator)).view(np.uint64)


def randperm(n, *, generator=None, dtype=None, device=None):
    """The integers 0 .. n-1 in random order: sorted by random keys, whose low bits are the integer itself, so no two
    are equal."""
    n = operator.index(n)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    low = np.uint64((1 << max(n - 1, 0).bit_length()) - 1)
    keys = (random_words(n, generator) & ~low) | np.arange(n, dtype=np.uint64)
    x = from_numpy((np.sort(keys) & low).astype(np.int64))
    x = cast(x, as_dtype(dtype)) if dtype is not None else x
    return x if device is None else move(x, device)


def normal(mean, std=1.0, size=None, *, generator=None, dtype=None, device=None):
    """Normal numbers with the given mean and standard deviation, numbers (with `size`) or tensors (which give the
    shape)."""
    if not isinstance(mean, Array) and not isinstance(std, Array):
        if size is None:
            raise TypeError("normal() missing required argument: 'size' (mean and std are numbers)")
        if std < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
        return fresh((tuple(size),), dtype, device, False, _normal, generator, (mean, std))
    from kernelgrad.ops.elementwise import add, mul

    like = mean if isinstance(mean, Array) else std
    if isinstance(std, Array) and std.numel() and as_numpy(move(std, "cpu")).min() < 0:
        raise RuntimeError("normal expects all elements of std >= 0.0")
    shape = (
        tuple(like.shape)
        if not (isinstance(mean, Array) and isinstance(std, Array))
        else np.broadcast_shapes(mean.shape, std.shape)
    )
    return add(mul(randn(shape, generator=generator, dtype=like.dtype, device=like.device), std), mean)


def bernoulli(input, p=None, *, generator=None):
    """0 or 1: with probability ``input`` element by element, or with `p` for every element of `input`'s shape."""
    out = empty_like(input)
    return bernoulli_(out, input if p is None else p, generator=generator)


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn with probabilities in proportion to the rows of `input` (1-d or 2-d, not negative, need not add up
    to 1)."""
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    p = as_numpy(move(contiguous(cast(input, float32) if input.dtype is bfloat16 else input), "cpu")).astype(np.float64)
    p = p.reshape(-1, p.shape[-1])
    if not np.isfinite(p).all() or (p < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (p.sum(axis=1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement:
        total = np.cumsum(p, axis=1)
        u = (random_words(len(p) * num_samples, generator) >> np.uint64(11)).reshape(len(p), num_samples) * 2.0**-53
        last = p.shape[1] - 1 - np.argmax(p[:, ::-1] > 0, axis=1)  # rounding must not reach past the last possible one
        picks = np.stack(
            [np.minimum(np.searchsorted(t, v * t[-1], "right"), m) for t, v, m in zip(total, u, last, strict=True)]
        )
    else:
        if num_samples > p.shape[1]:
            raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
        if ((p > 0).sum(axis=1) < num_samples).any():
            raise RuntimeError(
                "invalid multinomial distribution (with replacement=False, not enough non-negative category to sample)"
            )
        # the order of exponential waiting times with rates p is the order of draws without replacement
        words = random_words(p.size, generator).reshape(p.shape)
        waiting = -np.log(((words >> np.uint64(12)) + 0.5) * 2.0**-52)
        with np.errstate(divide="ignore"):
            waiting /= p
        picks = np.argsort(waiting, axis=1, kind="stable")[:, :num_samples]
    picks = picks.astype(np.int64)
    return move(from_numpy(np.ascontiguousarray(picks if input.ndim == 2 else picks[0])), input.device)


# ---- In place ----


def writable(x, name, floating=True):
    check_writable(x, name)
    if floating and not x.dtype.is_floating_point:
        raise RuntimeError(f"{name}_: expected a floating-point tensor, got {x.dtype}")
    if x.grad_fn is not None and is_grad_enabled():
        detach_(x)  # its old value, and the way there, are gone
    return x


def uniform_(input, low=0.0, to=1.0, *, generator=None, **bounds):
    """Fill with uniform numbers in [from, to)."""
    low = bounds.pop("from", low)
    if bounds:
        raise TypeError(f"uniform_() got an unexpected keyword argument {next(iter(bounds))!r}")
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    return fill(_uniform, writable(input, "uniform"), generator, (), (low, to - low))


def normal_(input, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return fill(_normal, writable(input, "normal"), generator, (), (mean, std))


def exponential_(input, lambd=1.0, *, generator=None):
    """Fill with exponential numbers of rate `lambd`; never exactly 0."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return fill(_exponential, writable(input, "exponential"), generator, (), (lambd,))


def bernoulli_(input, p=0.5, *, generator=None):
    """Fill with 1 with probability `p` (a number, or a tensor of probabilities), else 0."""
    x = writable(input, "bernoulli", floating=False)
    if isinstance(p, Array):
        chances = as_numpy(move(cast(p, float32) if p.dtype is bfloat16 else p, "cpu"))
        if chances.size and not ((chances >= 0) & (chances <= 1)).all():
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
        bits = as_numpy(fill(_bits, empty(x.shape, int64), generator)).view(np.uint64)
        hit = (bits >> np.uint64(11)) * 2.0**-53 < chances
        return copy_(x, move(cast(from_numpy(np.ascontiguousarray(hit)), x.dtype), x.device))
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    if x.dtype.is_floating_point:
        return fill(_bernoulli, x, generator, (), (p,))
    return copy_(x, cast(fill(_bernoulli, empty(x.shape, float32, x.device), generator, (), (p,)), x.dtype))


def random_(input, low=0, to=None, *, generator=None, **bounds):
    """Fill with integers in [from, to); ``random_(to)`` starts at 0. Without bounds: all the dtype holds exactly, from
    0 on."""
    x = writable(input, "random", floating=False)
    low, to = bounds.pop("from", low), bounds.pop("to", to)
    if to is None and low:
        low, to = 0, low
    if to is None:
        to = {
            "float32": 1 << 24,
            "float64": 1 << 53,
            "bfloat16": 1 << 8,
            "bool": 2,
            "uint8": 256,
            "int8": 128,
            "int32": 1 << 31,
        }.get(x.dtype.name, (1 << 63) - 1)
    return copy_(x, cast(integers(tuple(x.shape), low, to, generator, x.device), x.dtype))


# ---- Dropout ----


class Dropout(Function):
    """x / (1 - p) with probability 1 - p, else 0. Backward draws the same mask again and keeps nothing but its key."""

    @staticmethod
    def forward(ctx, x, p, seed, op):
        ctx.nhwc = x.ndim == 4 and x.is_channels_last() and not x.is_contiguous()
        ctx.key, ctx.p = (seed, op), p
        return Dropout.masked(ctx, x)

    @staticmethod
    def backward(ctx, grad_out):
        return Dropout.masked(ctx, grad_out), None, None, None

    @staticmethod
    def masked(ctx, x):
        x = channels_last(x) if ctx.nhwc else contiguous(x)  # the mask counts elements in memory order
        out = empty_like(x)
        if x.numel():
            _dropout((x, out), (x.numel(), *ctx.key), (ctx.p,))
        return out


def dropout(input, p=0.5, training=True, inplace=False, *, generator=None):
    """In training, each element set to 0 with probability `p`, the others divided by 1 - p; else `input` itself.

    Parameters
    ----------
    input : Tensor of shape (*), floating-point
    p : probability in [0, 1]
    generator : the default generator if not given

    Returns
    -------
    Tensor of the same shape, dtype and layout. Backward keeps the key of the mask (two integers), no mask.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1].

    References
    ----------
    Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0.0:
        return input
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"dropout: expected a floating-point tensor, got {input.dtype}")
    if inplace:
        from kernelgrad.ops.indexing import in_place

        def dropped(x):
            return dropout(x, p, True, False, generator=generator)

        dropped.__name__ = "dropout"
        return in_place(dropped)(input)
    seed, op = (generator or default_generator).next_key()
    if input.dtype is bfloat16:
        return cast(Dropout.apply(cast(input, float32), p, seed, op), bfloat16)
    return Dropout.apply(input, p, seed, op)
