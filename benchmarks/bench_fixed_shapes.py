"""Each class of op at sizes that real networks have, forward and in training, against PyTorch's better layout.

The rows by which a kernel is judged from day to day; whether it holds for other shapes, `bench_random_shapes` asks.
"""

import calls
from calls import activation, arithmetic, convolution, linear, optimizer, pooling, product, random_numbers

ELEMENTS = (1 << 12, 1 << 20, 1 << 24)
OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")

ROWS = {
    "matrix product": [
        *(product(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)),
        product(1024, 1024, 1024, left=True),
        product(1024, 1024, 1024, right=True),
        *(product(m, 1024, 1024) for m in (1, 8, 64)),
        product(1, 1024, 1024, right=True),
    ],
    "batched product": [calls.batched_product(48, 64, 64, 64), calls.batched_product(48, 256, 64, 256)],
    "linear and activation": [
        linear(32, 13, 64, "Tanh"),
        linear(128, 784, 512, "ReLU"),
        linear(128, 512, 10),
        linear(256, 1024, 1024, "GELU"),
    ],
    "convolution 3x3": [
        convolution((64, 16, 32, 32), 16, 3),
        convolution((64, 32, 26, 26), 64, 3),
        convolution((16, 64, 56, 56), 64, 3),
        convolution((64, 64, 8, 8), 64, 3),
        convolution((16, 128, 28, 28), 128, 3),
        convolution((16, 256, 14, 14), 256, 3),
    ],
    "convolution 1x1": [convolution((16, 64, 56, 56), 256, 1), convolution((16, 256, 14, 14), 64, 1)],
    "convolution strided, large, dilated": [
        convolution((64, 32, 16, 16), 64, 3, stride=2),
        convolution((16, 64, 56, 56), 128, 3, stride=2),
        convolution((16, 32, 28, 28), 64, 5),
        convolution((8, 32, 28, 28), 32, 7),
        convolution((16, 64, 28, 28), 64, 3, dilation=2),
    ],
    "first convolution": [
        convolution((64, 1, 28, 28), 32, 3),
        convolution((64, 3, 32, 32), 16, 3),
        convolution((8, 3, 224, 224), 64, 7, stride=2),
    ],
    "convolution, depthwise": [
        convolution((64, 64, 16, 16), 64, 3, groups=64),
        convolution((16, 128, 56, 56), 128, 3, groups=128),
        convolution((16, 128, 14, 14), 128, 7, groups=128),
    ],
    "convolution, grouped": [
        convolution((16, 128, 28, 28), 128, 3, groups=4),
        convolution((16, 128, 28, 28), 128, 3, groups=32),
    ],
    "pooling": [
        pooling((64, 32, 32, 32), "MaxPool2d", 2, 2),
        pooling((64, 32, 32, 32), "MaxPool2d", 3, 2, 1),
        pooling((64, 32, 32, 32), "AvgPool2d", 2, 2),
        pooling((64, 512, 7, 7), "AdaptiveAvgPool2d", 1),
    ],
    "batch norm": [calls.batch_norm((64, 32, 16, 16)), calls.batch_norm((64, 32, 32, 32))],
    "layer norm": [calls.layer_norm(256, 512), calls.layer_norm(4096, 512)],
    "softmax": [calls.softmax(256, 1024), calls.softmax(4096, 512)],
    "cross entropy": [calls.cross_entropy(128, 10), calls.cross_entropy(512, 32000)],
    "activation": [activation(name, n) for name in ("relu", "tanh", "gelu", "silu") for n in ELEMENTS],
    "arithmetic": [arithmetic(name, n, 2) for name in ("add", "mul") for n in ELEMENTS],
    "random numbers": [random_numbers(name, n) for name in ("rand", "randn", "dropout") for n in ELEMENTS[1:]],
    "optimizer": [optimizer(name, sizes) for name in OPTIMIZERS for sizes in ([1 << 24], [1000] * 100)],
}


def tasks(session, function):
    training = function is bench_fixed_training
    for name, rows in ROWS.items():
        for call in rows:
            if call.trains or not training:
                yield calls.task(session, "fixed shapes", name, call, training)


def bench_fixed_forward(row):
    assert row.seconds > 0


def bench_fixed_training(row):
    assert row.seconds > 0
