"""CUDA twins of the activations: the formulas of reference.py. `v` is the saved element."""

SCALE, SCALE_ALPHA = 1.0507009873554805, 1.7580993408473766  # of selu: Klambauer et al. (2017)
DENSITY = 0.3989422804014327  # 1 / sqrt(2 pi)


def _sigmoid(x):
    return T(1) / (T(1) + math.exp(-x))


def _softplus(x):
    return (T(0) if x < T(0) else x) + math.log1p(math.exp(-math.fabs(x)))


def _bounded(x):
    """x, or a number that stands for infinity where 0 times infinity would not give the limit."""
    return T(-1e30) if x < T(-1e30) else T(1e30) if x > T(1e30) else x


def _hard(x):
    return T(0) if x < T(-3) else T(6) if x > T(3) else x + T(3)


def _normal_cdf(x):
    return T(0.5) * math.erfc(T(-0.7071067811865476) * x)


def _mish_gate(x):
    return math.tanh(_softplus(x))


def _gelu_gate(x):
    return _sigmoid(T(1.5957691216057308) * (x + T(0.044715) * x * x * x))


def _gelu_bend(x):
    """x times the slope of the gate's argument, of an x beyond which the gate is flat."""
    v = T(-1e6) if x < T(-1e6) else T(1e6) if x > T(1e6) else x
    return v * T(1.5957691216057308) * (T(1) + T(0.134145) * v * v)


def relu_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = T(0) if v < T(0) else v


def relu_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0) if y[i] <= T(0) else grad_out[i]


def leaky_relu_forward(x, out, n, negative_slope):
    negative_slope = T(negative_slope)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v if v > T(0) else v * negative_slope


def leaky_relu_backward(x, grad_out, grad_x, n, negative_slope):
    negative_slope = T(negative_slope)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] if x[i] > T(0) else grad_out[i] * negative_slope


def threshold_forward(x, out, n, threshold, value):
    threshold = T(threshold)
    value = T(value)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = value if v <= threshold else v


def threshold_backward(x, grad_out, grad_x, n, threshold, value):
    threshold = T(threshold)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = T(0) if x[i] <= threshold else grad_out[i]


def hardtanh_forward(x, out, n, min_val, max_val):
    min_val = T(min_val)
    max_val = T(max_val)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = min_val if v < min_val else max_val if v > max_val else v


def hardtanh_backward(y, grad_out, grad_x, n, min_val, max_val):
    min_val = T(min_val)
    max_val = T(max_val)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] if min_val < v and v < max_val else T(0)


def relu6_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = T(0) if v < T(0) else T(6) if v > T(6) else v


def relu6_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] if T(0) < v and v < T(6) else T(0)


def hardsigmoid_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = _hard(x[i]) / T(6)


def hardsigmoid_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / T(6) if T(-3) < v and v < T(3) else T(0)


def hardswish_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = (T(-3) if v < T(-3) else v) * (_hard(v) / T(6))


def hardswish_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = T(0) if v <= T(-3) else grad_out[i] if v >= T(3) else grad_out[i] * (v / T(3) + T(0.5))


def hardshrink_forward(x, out, n, lambd):
    lambd = T(lambd)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = T(0) if -lambd <= v and v <= lambd else v


def hardshrink_backward(x, grad_out, grad_x, n, lambd):
    lambd = T(lambd)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v < -lambd or v > lambd else T(0)


def softshrink_forward(x, out, n, lambd):
    lambd = T(lambd)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v - lambd if v > lambd else v + lambd if v < -lambd else v - v


def softshrink_backward(x, grad_out, grad_x, n, lambd):
    lambd = T(lambd)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v < -lambd or v > lambd else T(0)


def elu_forward(x, out, n, alpha):
    alpha = T(alpha)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v if v > T(0) else alpha * math.expm1(v)


def elu_backward(x, grad_out, grad_x, n, alpha):
    alpha = T(alpha)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v > T(0) else grad_out[i] * alpha * math.exp(v)


def celu_forward(x, out, n, alpha):
    alpha = T(alpha)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v if v > T(0) else alpha * math.expm1(v / alpha)


def celu_backward(x, grad_out, grad_x, n, alpha):
    alpha = T(alpha)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v > T(0) else grad_out[i] * math.exp(v / alpha)


def selu_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = T(SCALE) * v if v > T(0) else T(SCALE_ALPHA) * math.expm1(v)


def selu_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * T(SCALE) if v > T(0) else grad_out[i] * T(SCALE_ALPHA) * math.exp(v)


def sigmoid_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = _sigmoid(x[i])


def sigmoid_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] * v * (T(1) - v)


def tanh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.tanh(x[i])


def tanh_backward(y, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = y[i]
        grad_x[i] = grad_out[i] * (T(1) - v * v)


def tanhshrink_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v - math.tanh(v)


def tanhshrink_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * math.tanh(v) * math.tanh(v)


def logsigmoid_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = T(0) - _softplus(-x[i])


def logsigmoid_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        grad_x[i] = grad_out[i] * _sigmoid(-x[i])


def softplus_forward(x, out, n, beta, threshold):
    beta = T(beta)
    threshold = T(threshold)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = v if v * beta > threshold else _softplus(v * beta) / beta


def softplus_backward(x, grad_out, grad_x, n, beta, threshold):
    beta = T(beta)
    threshold = T(threshold)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] if v * beta > threshold else grad_out[i] * _sigmoid(v * beta)


def softsign_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = _bounded(v) / (T(1) + math.fabs(_bounded(v)))


def softsign_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] / ((T(1) + math.fabs(v)) * (T(1) + math.fabs(v)))


def silu_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = (T(-1e30) if v < T(-1e30) else v) * _sigmoid(v)


def silu_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * (_sigmoid(v) + _bounded(v) * _sigmoid(v) * _sigmoid(-v))


def mish_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = (T(-1e30) if v < T(-1e30) else v) * math.tanh(_softplus(v))


def mish_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * (_mish_gate(v) + _bounded(v) * _sigmoid(v) * (T(1) - _mish_gate(v) * _mish_gate(v)))


def gelu_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = (T(-1e30) if v < T(-1e30) else v) * _normal_cdf(v)


def gelu_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * (_normal_cdf(v) + _bounded(v) * T(DENSITY) * math.exp(T(-0.5) * v * v))


def gelu_tanh_forward(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        out[i] = (T(-1e30) if v < T(-1e30) else v) * _gelu_gate(v)


def gelu_tanh_backward(x, grad_out, grad_x, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        v = x[i]
        grad_x[i] = grad_out[i] * (_gelu_gate(v) + _gelu_gate(v) * (T(1) - _gelu_gate(v)) * _gelu_bend(v))
