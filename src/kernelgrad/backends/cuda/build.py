"""Kernel function + signature + compute capability -> something the driver loads, kept on disk between runs.

With ``ptxas`` (of the CUDA toolkit) on the machine the result is a cubin; without, it is PTX, which the driver compiles
when it loads it. numba-cuda's own cache stamps only the kernel's file and misses edited helpers, so the key here is a
hash of all that decides the result: source of kernel and helpers, constants, signature, capability, tool versions.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

from kernelgrad.backends.cuda.rebind import source


@dataclass(frozen=True)
class Signature:
    """What a kernel is compiled for: the dtype `T` is, each array's dtype, and how many sizes and scalars follow."""

    key: str
    arrays: tuple[str, ...]
    sizes: int
    scalars: int


@dataclass(frozen=True)
class Binary:
    """A compiled kernel: `kind` is "cubin" or "ptx", `entry` the name to ask the driver for."""

    kind: str
    entry: str
    code: bytes


@dataclass(frozen=True)
class Usage:
    """What ptxas says of a kernel (``ptxas -v``). `remarks` are performance warnings of the C75xx kind."""

    registers: int
    stack: int
    spills: int
    remarks: tuple[str, ...]


def build(function: FunctionType, signature: Signature, capability: tuple[int, int]) -> Binary:
    """The compiled kernel, from the cache where it is there."""
    assembler = ptxas()
    kind = "ptx" if assembler is None else "cubin"
    path = cache_dir() / f"{function.__name__}-{_digest(function, signature, capability, assembler)}.{kind}"
    try:
        entry, _, code = path.read_bytes().partition(b"\n")
        return Binary(kind, entry.decode(), code)
    except OSError:
        pass
    text, entry_name = _ptx(function, signature, capability)
    code = text.encode() if assembler is None else assemble(text, capability)[0]
    _store(path, entry_name.encode() + b"\n" + code)
    return Binary(kind, entry_name, code)


def assemble(ptx: str, capability: tuple[int, int]) -> tuple[bytes, Usage]:
    """PTX to cubin with ptxas, and what it says of registers and spills."""
    assembler = ptxas()
    if assembler is None:
        raise RuntimeError("ptxas was not found: put the CUDA toolkit's bin folder on PATH")
    with tempfile.TemporaryDirectory(prefix="kernelgrad-") as folder:
        text, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(ptx)
        command = [assembler, "-v", f"-arch=sm_{capability[0]}{capability[1]}", str(text), "-o", str(cubin)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ptxas failed: {done.stderr.strip() or done.stdout.strip()}")
        return cubin.read_bytes(), usage(done.stderr)


def usage(report: str) -> Usage:
    """Read the report of ``ptxas -v``."""
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    registers = re.search(r"Used (\d+) registers", report)
    if frame is None or registers is None:
        raise RuntimeError(f"cannot read ptxas's report: {report.strip()}")
    return Usage(
        int(registers[1]), int(frame[1]), int(frame[2]) + int(frame[3]), tuple(re.findall(r"\bC75\d\d\b", report))
    )


@cache
def ptxas() -> str | None:
    """The path of ptxas: on PATH, under CUDA_HOME, or in the nvidia-cuda-nvcc wheel."""
    name = "ptxas.exe" if os.name == "nt" else "ptxas"
    if found := shutil.which(name):
        return found
    folders = [Path(home, "bin") for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")) if home]
    spec = find_spec("nvidia")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folders.append(Path(location, "cu13", "bin"))
    return next((str(folder / name) for folder in folders if (folder / name).exists()), None)


@cache
def _compiler() -> str:
    """What the PTX depends on besides the kernel; asked without importing the compiler."""
    versions = [f"{name} {version(name)}" for name in ("numba-cuda", "numba", "nvidia-nvvm")]
    return "\0".join([*versions, Path(__file__).with_name("ptx.py").read_text()])


@cache
def _ptxas_version(path: str) -> str:
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip().splitlines()[-1]


def cache_dir() -> Path:
    """Where compiled kernels are kept: KERNELGRAD_CACHE_DIR, else the user's cache folder."""
    if chosen := os.environ.get("KERNELGRAD_CACHE_DIR"):
        return Path(chosen, "cuda")
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "kernelgrad" / "cuda"


def _digest(function: FunctionType, signature: Signature, capability: tuple[int, int], assembler: str | None) -> str:
    tools = _compiler() + (_ptxas_version(assembler) if assembler else "")
    text = "\0".join((source(function), repr(signature), repr(capability), tools))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _ptx(function: FunctionType, signature: Signature, capability: tuple[int, int]) -> tuple[str, str]:
    from kernelgrad.backends.cuda.ptx import compile_ptx  # numba-cuda loads in half a second: not before it is needed

    return compile_ptx(function, signature.key, signature.arrays, signature.sizes, signature.scalars, capability)


def _store(path: Path, content: bytes) -> None:
    """Written beside and renamed: no process sees half a file. A folder that cannot be written costs only time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError:
        return
