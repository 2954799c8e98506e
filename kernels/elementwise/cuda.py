"""CUDA twins of the elementwise kernels. A step of 0 repeats an operand's one element."""


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
