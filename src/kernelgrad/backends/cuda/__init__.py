"""NVIDIA GPUs, through numba-cuda and cuda-core; and a simulated one for machines without. See docs/cuda.md."""
