"""Cases of convolution. A shape is that of input and weight, with a bias of fitting size if True."""

import kernelgrad as kg
from kernelgrad import ops
from kernelgrad.testing.case import OpCase

PASSES = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")


def _make(rng, shape):
    x, weight, bias = shape
    made = [rng.standard_normal(x), rng.standard_normal(weight) / weight[1] ** 0.5]
    return (*made, rng.standard_normal(weight[0])) if bias else tuple(made)


def _make_transposed(rng, shape):
    x, weight, outputs = shape
    made = [rng.standard_normal(x), rng.standard_normal(weight) / weight[0] ** 0.5]
    return (*made, rng.standard_normal(outputs)) if outputs else tuple(made)


def _flops(shape):
    """Of stride 1 with padding that keeps the size."""
    (n, _, h, w), (k, c, kh, kw), _ = shape
    return 2 * n * h * w * k * c * kh * kw


def _case(name, op="conv2d", make=_make, kernels=PASSES, grad=(0, 1, 2), flops=_flops, **options):
    function = getattr(ops, op)
    return OpCase(
        name,
        function,
        torch=f"nn.functional.{op}",
        make=make,
        kernels=kernels,
        grad=grad,
        flops=flops,
        arrays_moved=3,
        **options,
    )


def _wrong(op, x, weight, message, bias=None, exception=RuntimeError, **options):
    bias = None if bias is None else kg.ones(bias)
    return (lambda: op(kg.ones(*x), kg.ones(*weight), bias, **options), exception, message)


CASES = [
    _case(
        "conv2d",
        shapes=[
            ((1, 1, 1, 1), (1, 1, 1, 1), True),
            ((2, 3, 7, 8), (5, 3, 3, 3), True),
            ((3, 7, 8), (5, 3, 3, 2), False),
            ((2, 17, 6, 9), (33, 17, 2, 3), True),
            ((0, 3, 6, 6), (4, 3, 3, 3), True),
        ],
        kwargs=[{"padding": 1}, {"stride": (2, 3), "padding": (1, 2)}, {"dilation": (1, 2), "padding": (0, 2)}],
        errors=[
            _wrong(ops.conv2d, (1, 2, 5, 5), (4, 3, 3, 3), "to have 3 channels, but got 2"),
            _wrong(ops.conv2d, (1, 3, 2, 5), (4, 3, 3, 3), r"Calculated padded input size per channel: \(2 x 5\)"),
            _wrong(ops.conv2d, (3, 5), (4, 3, 3, 3), "Expected 3D"),
            _wrong(ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "expected bias to be 1-dimensional with 4", bias=3),
            _wrong(ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "non-positive stride", stride=0),
            _wrong(ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "negative padding", padding=-1),
            _wrong(ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "Invalid padding string", padding="half"),
            _wrong(ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "'same' is not supported", padding="same", stride=2),
            _wrong(ops.conv2d, (1, 4, 5, 5), (5, 2, 3, 3), "divisible by groups", groups=2),
            _wrong(
                ops.conv2d, (1, 3, 5, 5), (4, 3, 3, 3), "expected stride to be an int", exception=TypeError, stride=1.5
            ),
        ],
    ),
    _case(
        "conv2d_3x3",  # Winograd where 16 channels and more come in and go out
        shapes=[
            ((2, 16, 4, 4), (16, 16, 3, 3), True),
            ((1, 20, 9, 10), (33, 20, 3, 3), True),
            ((3, 64, 7, 7), (48, 64, 3, 3), False),
            ((1, 128, 14, 13), (16, 128, 3, 3), True),
            ((1, 160, 7, 6), (110, 160, 3, 3), True),  # few tiles
        ],
        kwargs=[{"padding": 1}, {}, {"padding": (0, 2)}],
        tolerance=4,
        bench=[
            ((64, 32, 14, 14), (64, 32, 3, 3), True),
            ((64, 16, 32, 32), (16, 16, 3, 3), True),
            ((64, 32, 16, 16), (32, 32, 3, 3), True),
            ((64, 64, 8, 8), (64, 64, 3, 3), True),
            ((16, 64, 56, 56), (64, 64, 3, 3), True),
            ((16, 256, 14, 14), (256, 256, 3, 3), True),
        ],
    ),
    _case(
        "conv2d_first_layer",
        shapes=[((5, 1, 28, 28), (32, 1, 3, 3), True), ((2, 3, 33, 31), (16, 3, 7, 7), True)],
        kwargs=[{"padding": 1}, {"stride": 2, "padding": 3}],
        tolerance=2,
        bench=[((64, 1, 28, 28), (32, 1, 3, 3), True), ((64, 3, 32, 32), (16, 3, 3, 3), True)],
    ),
    _case(
        "conv2d_long_sums",  # more than one part of the reduction, with and without gathering
        shapes=[((1, 64, 10, 9), (34, 64, 3, 2), True), ((2, 200, 5, 5), (20, 200, 2, 2), True)],
        kwargs=[{"stride": 2, "padding": 1}],
        tolerance=2,
    ),
    _case(
        "conv2d_few_pixels",  # the gradient of a large weight, some input channels at a time
        shapes=[((1, 70, 11, 6), (100, 70, 7, 7), True), ((2, 150, 4, 5), (224, 150, 3, 3), False)],
        kwargs=[{"stride": 2, "padding": 3}],
        tolerance=2,
    ),
    _case(
        "conv2d_many_phases",  # of backward data, more than are packed together, some without a tap; more than 64 taps
        shapes=[((1, 20, 23, 26), (18, 20, 3, 9), True), ((1, 17, 24, 25), (20, 17, 8, 9), False)],
        kwargs=[{"stride": (4, 5), "padding": (1, 2)}, {"stride": 2, "dilation": (2, 1), "padding": (3, 4)}],
        tolerance=2,
    ),
    _case(
        "conv2d_narrow",  # few channels in or out: pixels take the place of channels in the vectors
        shapes=[
            ((2, 3, 9, 20), (17, 3, 3, 3), True),
            ((1, 20, 7, 5), (3, 20, 3, 5), True),
            ((2, 16, 18, 33), (1, 16, 5, 5), True),
            ((1, 100, 9, 34), (10, 100, 3, 5), True),
            ((1, 6, 9, 34), (24, 6, 3, 3), True),
            ((1, 20, 30, 6), (7, 20, 3, 3), True),
        ],
        kwargs=[
            {"padding": 1},
            {"padding": (2, 0)},
            {"stride": (2, 3), "padding": 1},
            {"dilation": (1, 2), "padding": 4},
        ],
        tolerance=2,
    ),
    _case(
        "conv2d_taps_off_the_image",  # tiles of many small images, columns of rows, tall images, few channels out
        shapes=[
            ((9, 17, 5, 6), (20, 17, 5, 5), True),
            ((6, 32, 7, 7), (9, 32, 5, 5), True),
            ((1, 18, 11, 8), (33, 18, 5, 5), True),
            ((1, 20, 20, 4), (17, 20, 5, 3), True),
        ],
        kwargs=[{"padding": 2}, {"padding": 3, "dilation": (2, 1)}],
        tolerance=2,
    ),
    _case(
        "conv2d_1x1",
        shapes=[((2, 64, 6, 5), (70, 64, 1, 1), True), ((1, 512, 3, 3), (40, 512, 1, 1), False)],
        kwargs=[{}, {"stride": 2}],
        tolerance=2,
        bench=[((16, 64, 56, 56), (256, 64, 1, 1), True), ((16, 256, 56, 56), (64, 256, 1, 1), True)],
    ),
    _case(
        "conv2d_1x1_blocks",  # more pixels than a block, image rows of strided ones, rows that meet in the cache, parts
        shapes=[
            ((2, 20, 25, 24), (70, 20, 1, 1), True),
            ((1, 512, 3, 40), (40, 512, 1, 1), True),
            ((3, 400, 2, 31), (33, 400, 1, 1), False),
        ],
        kwargs=[{}, {"stride": 2}, {"stride": (1, 3)}, {"stride": (2, 1)}],
        tolerance=2,
    ),
    _case(
        "conv2d_same",
        shapes=[((2, 4, 6, 7), (6, 4, 1, 3), True), ((4, 6, 7), (6, 4, 3, 5), False)],
        kwargs=[{"padding": "same"}, {"padding": "same", "dilation": 2}],
    ),
    OpCase(  # PyTorch warns of these
        "conv2d_same_even",
        ops.conv2d,
        make=_make,
        shapes=[((2, 4, 6, 7), (6, 4, 2, 4), True)],
        kwargs=[{"padding": "same"}],
        kernels=PASSES,
        grad=(0, 1, 2),
    ),
    _case(
        "conv2d_grouped",
        shapes=[
            ((1, 16, 6, 9), (8, 4, 3, 3), True),
            ((2, 8, 7, 6), (12, 2, 3, 3), True),
            ((2, 24, 6, 13), (20, 6, 3, 3), True),
        ],
        kwargs=[{"padding": 1, "groups": 4}, {"stride": 2, "groups": 4}, {"padding": 2, "dilation": 2, "groups": 4}],
    ),
    _case(
        "conv2d_grouped_far",  # many inputs to an output: those of one vector lie in up to eight pairs of vectors
        shapes=[
            ((2, 100, 4, 9), (20, 5, 3, 3), True),
            ((1, 320, 4, 3), (20, 16, 3, 3), False),
            ((1, 240, 3, 8), (60, 12, 2, 3), True),
        ],
        kwargs=[{"padding": 1, "groups": 20}],
        tolerance=2,
    ),
    _case(
        "conv2d_grouped_products",  # rows and images side by side, sorted by taps; half vectors, panels, parts of sums
        shapes=[
            ((7, 40, 5, 6), (100, 10, 3, 3), True),
            ((1, 32, 12, 31), (32, 8, 3, 3), True),
            ((5, 48, 4, 15), (56, 12, 5, 3), False),
            ((6, 124, 3, 4), (36, 31, 5, 3), True),
            ((2, 36, 40, 37), (52, 9, 2, 2), True),
        ],
        kwargs=[
            {"padding": 1, "groups": 4},
            {"padding": 3, "stride": 2, "groups": 4},
            {"padding": (4, 2), "dilation": (2, 1), "groups": 4},
        ],
        tolerance=2,
    ),
    _case(
        "conv2d_grouped_3x3",  # Winograd for each group
        shapes=[
            ((2, 40, 9, 10), (36, 20, 3, 3), True),
            ((3, 32, 18, 14), (66, 16, 3, 3), False),
            ((1, 64, 5, 4), (48, 32, 3, 3), True),
        ],
        kwargs=[{"padding": 1, "groups": 2}, {"padding": (0, 2), "groups": 2}],
        tolerance=4,
    ),
    _case(
        "conv2d_grouped_taps",  # kernels with and without loops of their own
        shapes=[((1, 28, 9, 12), (28, 7, 5, 5), True), ((1, 12, 8, 9), (16, 3, 2, 4), True)],
        kwargs=[{"padding": 2, "groups": 4}, {"stride": (2, 3), "groups": 4}],
    ),
    _case(
        "conv2d_grouped_rows",  # few rows, the last two longer than a block
        shapes=[
            ((1, 16, 1, 140), (8, 4, 1, 3), True),
            ((1, 8, 2, 400), (12, 2, 1, 3), True),
            ((1, 24, 2, 530), (28, 6, 2, 1), False),
            ((1, 48, 1, 1050), (60, 12, 2, 3), True),
        ],
        kwargs=[{"padding": 1, "groups": 4}, {"padding": (1, 4), "stride": (1, 2), "dilation": (1, 3), "groups": 4}],
        tolerance=2,
    ),
    _case(
        "conv2d_depthwise",
        shapes=[
            ((2, 18, 7, 9), (18, 1, 3, 3), True),
            ((1, 18, 5, 5), (18, 1, 5, 4), True),
            ((1, 18, 12, 13), (18, 1, 5, 7), True),
        ],
        kwargs=[{"padding": 1, "groups": 18}, {"stride": 2, "padding": 2, "groups": 18, "dilation": (1, 2)}],
        bench=[((16, 128, 56, 56), (128, 1, 3, 3), True)],
        bench_kwargs={"padding": 1, "groups": 128},
    ),
    _case(
        "conv2d_depthwise_tiles",  # rows of a few pixels and more, kernels with and without tiles, phases without taps
        shapes=[
            ((2, 20, 9, 21), (20, 1, 7, 7), True),
            ((1, 20, 8, 7), (20, 1, 3, 3), False),
            ((1, 20, 7, 10), (20, 1, 6, 5), True),
        ],
        kwargs=[
            {"padding": 3, "groups": 20},
            {"stride": 2, "padding": 3, "groups": 20},
            {"stride": 2, "padding": (6, 4), "dilation": 2, "groups": 20},
            {"stride": (3, 1), "padding": (2, 0), "groups": 20},
        ],
    ),
    _case(
        "conv2d_depthwise_few",
        shapes=[((2, 5, 6, 9), (5, 1, 3, 3), True), ((1, 5, 7, 7), (5, 1, 5, 7), True)],
        kwargs=[{"padding": 3, "groups": 5}, {"stride": 2, "padding": 3, "groups": 5}],
    ),
    _case(
        "conv1d",
        op="conv1d",
        shapes=[((2, 3, 17), (5, 3, 3), True), ((3, 17), (5, 3, 5), False)],
        kwargs=[{"padding": 1}, {"stride": 2, "padding": 3, "dilation": 2}, {"padding": "same"}],
        flops=None,
    ),
    _case(
        "conv1d_grouped",
        op="conv1d",
        shapes=[((1, 16, 256), (16, 4, 3), True), ((2, 8, 1100), (12, 2, 1), True)],
        kwargs=[{"padding": 1, "groups": 4}],
        flops=None,
        tolerance=2,
    ),
    _case(
        "conv_transpose2d",
        op="conv_transpose2d",
        make=_make_transposed,
        kernels=("conv_transpose2d_forward", "conv2d_forward", "conv2d_backward_weight", "conv_backward_bias"),
        shapes=[
            ((2, 6, 5, 4), (6, 4, 3, 3), 4),
            ((6, 5, 4), (6, 3, 2, 4), None),
            ((1, 32, 4, 5), (32, 17, 3, 3), 17),
        ],
        kwargs=[
            {"padding": 1},
            {"stride": 2, "output_padding": 1},
            {"stride": (1, 3), "dilation": 2, "padding": (1, 0)},
        ],
        tolerance=4,
        errors=[
            _wrong(ops.conv_transpose2d, (1, 3, 5, 5), (4, 3, 3, 3), "to have 4 channels, but got 3"),
            _wrong(ops.conv_transpose2d, (1, 4, 5, 5), (4, 3, 3, 3), "output padding must be", output_padding=1),
            _wrong(ops.conv_transpose2d, (1, 4, 1, 1), (4, 3, 1, 1), "Output size is too small", padding=1),
        ],
    ),
    _case(
        "conv_transpose2d_1x1",  # the bias where no pixel reaches
        op="conv_transpose2d",
        make=_make_transposed,
        shapes=[((2, 18, 3, 12), (18, 35, 1, 1), 35), ((1, 6, 4, 11), (6, 5, 1, 1), None)],
        kwargs=[{}, {"stride": 2}, {"stride": (3, 2), "output_padding": (2, 1)}, {"dilation": 3, "output_padding": 2}],
        kernels=("conv_transpose2d_forward",),
        tolerance=2,
    ),
    _case(
        "conv_transpose1d",
        op="conv_transpose1d",
        make=_make_transposed,
        kernels=("conv_transpose2d_forward",),
        shapes=[((2, 4, 6), (4, 3, 3), 3)],
        kwargs=[{"stride": 2, "padding": 1}],
        flops=None,
    ),
    _case(
        "conv_transpose1d_grouped",
        op="conv_transpose1d",
        make=_make_transposed,
        kernels=("conv_transpose2d_forward",),
        shapes=[((1, 8, 300), (8, 3, 3), 6), ((1, 8, 700), (8, 4, 3), None)],
        kwargs=[{"padding": 1, "groups": 2}],
        flops=None,
        tolerance=2,
    ),
]
