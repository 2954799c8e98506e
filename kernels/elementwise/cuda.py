"""CUDA twins of the elementwise kernels. A step of 0 repeats an operand's one element."""

# libdevice reduces arguments beyond 105615 by a table of 2 / pi, with one product in float64.
FLOAT64 = {"sin_forward", "sin_backward", "cos_forward", "cos_backward", "tan_forward"}


def add_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] + y[i * step_y]


def sub_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] - y[i * step_y]


def mul_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] * y[i * step_y]


def div_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] / y[i * step_y]


def div_backward_y(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        yi = y[i * step_y]
        out[i] = -(grad_out[i * step_g] * (x[i * step_x] / yi)) / yi


def pow_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.pow(x[i * step_x], y[i * step_y])


def pow_backward_x(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        yi = y[i * step_y]
        out[i] = T(0) if yi == T(0) else grad_out[i * step_g] * yi * math.pow(x[i * step_x], yi - T(1))


def pow_backward_y(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        xi, yi = x[i * step_x], y[i * step_y]
        out[i] = T(0) if xi == T(0) and yi >= T(0) else grad_out[i * step_g] * math.pow(xi, yi) * math.log(xi)


def maximum_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = a if a > b or a != a else b


def minimum_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = a if a < b or a != a else b


def maximum_backward_x(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = grad_out[i * step_g] * (T(1) if a > b or a != a else T(0.5) if a == b else T(0))


def maximum_backward_y(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = grad_out[i * step_g] * (T(1) if b > a or b != b else T(0.5) if a == b else T(0))


def minimum_backward_x(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = grad_out[i * step_g] * (T(1) if a < b or a != a else T(0.5) if a == b else T(0))


def minimum_backward_y(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = grad_out[i * step_g] * (T(1) if b < a or b != b else T(0.5) if a == b else T(0))


def eq_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] == y[i * step_y]


def ne_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] != y[i * step_y]


def lt_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] < y[i * step_y]


def le_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] <= y[i * step_y]


def gt_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] > y[i * step_y]


def ge_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] >= y[i * step_y]


def where_forward(condition, x, y, out, n, step_c, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] if condition[i * step_c] else y[i * step_y]


def atan2_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.atan2(x[i * step_x], y[i * step_y])


def atan2_backward_x(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = grad_out[i * step_g] * b / (a * a + b * b)


def atan2_backward_y(x, y, grad_out, out, n, step_x, step_y, step_g):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        out[i] = -grad_out[i * step_g] * a / (a * a + b * b)


def lerp_forward(x, end, weight, out, n, step_x, step_end, step_weight):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b, c = x[i * step_x], end[i * step_end], weight[i * step_weight]
        out[i] = a + c * (b - a) if abs(c) < T(0.5) else b - (T(1) - c) * (b - a)


def addcmul_forward(x, y, z, out, n, step_x, step_y, step_z, value):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] + T(value) * y[i * step_y] * z[i * step_z]


def addcdiv_forward(x, y, z, out, n, step_x, step_y, step_z, value):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] + T(value) * (y[i * step_y] / z[i * step_z])


def fmod_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.fmod(x[i * step_x], y[i * step_y])


def remainder_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = _remainder(x[i * step_x], y[i * step_y])


def floor_divide_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        a, b = x[i * step_x], y[i * step_y]
        r = math.fmod(a, b)
        whole = (a - r) / b  # but for rounding; nan and infinities where b is 0
        if r != T(0) and (r < T(0)) != (b < T(0)):
            whole -= T(1)
        out[i] = a / b if b == T(0) else math.rint(whole) if whole != T(0) else math.copysign(T(0), a / b)


def _remainder(a, b):
    """What is left of a / floor(a / b): of b's sign, as in Python."""
    r = math.fmod(a, b)
    if r == T(0):
        return math.copysign(r, b)
    return r + b if (r < T(0)) != (b < T(0)) else r


def logical_and_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] != 0 and y[i * step_y] != 0


def logical_or_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] != 0 or y[i * step_y] != 0


def logical_xor_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = (x[i * step_x] != 0) != (y[i * step_y] != 0)


def bitwise_and_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] & y[i * step_y]


def bitwise_or_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] | y[i * step_y]


def bitwise_xor_forward(x, y, out, n, step_x, step_y):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i * step_x] ^ y[i * step_y]


# ---- Functions of one operand; `v` is the saved element ----


def exp_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.exp(x[i])


def exp_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * y[i]


def exp2_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.exp2(x[i])


def exp2_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * y[i] * T(0.6931471805599453)


def expm1_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.expm1(x[i])


def expm1_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * (y[i] + T(1))


def log_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.log(x[i])


def log_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] / x[i]


def log2_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.log2(x[i])


def log2_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] / (x[i] * T(0.6931471805599453))


def log10_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.log10(x[i])


def log10_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] / (x[i] * T(2.302585092994046))


def log1p_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.log1p(x[i])


def log1p_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] / (x[i] + T(1))


def sqrt_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.sqrt(x[i])


def sqrt_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] / (v + v)


def rsqrt_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = T(1) / math.sqrt(x[i])


def rsqrt_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = T(-0.5) * grad_out[i] * v * v * v


def square_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v * v


def square_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * (v + v)


def reciprocal_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = T(1) / x[i]


def reciprocal_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = -grad_out[i] * v * v


def sin_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.sin(x[i])


def sin_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * math.cos(x[i])


def cos_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.cos(x[i])


def cos_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = -grad_out[i] * math.sin(x[i])


def tan_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.tan(x[i])


def tan_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] * (T(1) + v * v)


def asin_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.asin(x[i])


def asin_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / math.sqrt((T(1) - v) * (T(1) + v))


def acos_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.acos(x[i])


def acos_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = -grad_out[i] / math.sqrt((T(1) - v) * (T(1) + v))


def atan_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.atan(x[i])


def atan_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / (T(1) + v * v)


def sinh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.sinh(x[i])


def sinh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * math.cosh(x[i])


def cosh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.cosh(x[i])


def cosh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * math.sinh(x[i])


def asinh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.asinh(x[i])


def asinh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / math.sqrt(v * v + T(1))


def acosh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.acosh(x[i])


def acosh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / math.sqrt((v - T(1)) * (v + T(1)))


def atanh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.atanh(x[i])


def atanh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / ((T(1) - v) * (T(1) + v))


def erf_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.erf(x[i])


def erf_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * T(1.1283791670955126) * math.exp(-v * v)


def erfc_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.erfc(x[i])


def erfc_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = -grad_out[i] * T(1.1283791670955126) * math.exp(-v * v)


def abs_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.fabs(x[i])


def abs_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v > T(0) else -grad_out[i] if v < T(0) else T(0)


def neg_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = -x[i]


def neg_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = -grad_out[i]


def sign_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = T(1) if v > T(0) else T(-1) if v < T(0) else T(0)


def sign_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0)


def floor_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.floor(x[i])


def floor_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0)


def ceil_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.ceil(x[i])


def ceil_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0)


def round_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.rint(x[i])


def round_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0)


def trunc_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.trunc(x[i])


def trunc_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0)


def frac_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v - math.trunc(v)


def frac_backward(grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i]


def clamp_forward(x, out, n, lo, hi):
    lo = T(lo)
    hi = T(hi)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        v = lo if v < lo else v
        out[i] = hi if v > hi else v


def clamp_backward(x, grad_out, grad_x, n, lo, hi):
    lo = T(lo)
    hi = T(hi)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if lo <= v and v <= hi else T(0)


# ---- Casts: storing through a typed pointer converts; floats to integers are cut towards zero ----


def cast_to_float32(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i]


cast_to_float64 = cast_to_int64 = cast_to_int32 = cast_to_int8 = cast_to_uint8 = cast_to_float32


def cast_to_bool(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i] != 0
