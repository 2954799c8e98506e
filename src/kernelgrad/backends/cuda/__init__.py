"""NVIDIA GPUs, through numba-cuda and cuda-core; and a simulated one for machines without. docs/cuda.md is the way in."""
