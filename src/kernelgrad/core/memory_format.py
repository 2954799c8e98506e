"""How the elements of an array lie in memory, by PyTorch's names."""


class memory_format:
    """`contiguous_format` (C order), `channels_last` (N, H, W, C order of a 4-d array) or `preserve_format`."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"kernelgrad.{self.name}"

    def __reduce__(self):
        return self.name  # one object each: pickled by name


contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
preserve_format = memory_format("preserve_format")
