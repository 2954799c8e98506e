"""What is special to matrix products: bits, kept packings, strides instead of copies; and the C checks below them."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import kernelgrad as kg
from kernelgrad import core
from kernelgrad.core import use_backend
from kernelgrad.ops.matmul import einsum, linear, linear_activation, matmul
from kernelgrad.testing import roofline

ROOT = Path(__file__).parents[1]
rng = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return kg.tensor(rng.standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("level", core.available_levels())
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (40, 784, 70),
        (5, 64, 1),
        (33, 100, 600),
        (7, 900, 33),
        (50, 450, 310),
        (20, 1100, 1000),
        (30, 900, 3),
        (150, 900, 5),
        (90, 1000, 1),
    ],
)
def test_a_row_alone_has_the_bits_of_its_batch(level, m, k, n):
    x, weight, bias = normal(m, k), normal(n, k), normal(n)
    with use_backend(f"simd:{level}"):
        batch = linear(x, weight, bias).numpy()
        for i in (0, m // 2, m - 1):
            assert (linear(x[i : i + 1], weight, bias).numpy() == batch[i]).all()
            assert (linear(x[i], weight, bias).numpy() == batch[i]).all()
        assert (linear(x[:3], weight, bias).numpy() == batch[:3]).all()


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (40, 450, 310),
        (600, 800, 700),
        (5, 450, 310),
        (150, 900, 5),
        (1100, 90, 1),
        (70, 1000, 1),
        (40, 3, 100),
        (30, 8, 96),
        (3, 100, 9),
        (2, 656, 2),
        (8, 801, 7),
        (1, 500, 3),
        (2, 450, 70),
        (3, 300, 40),
        (4, 1024, 100),
        (6, 100, 33),
        (7, 1000, 48),
        (8, 512, 512),
    ],
)
def test_bits_do_not_depend_on_layout_or_level(m, k, n):
    a, b = normal(m, k), normal(k, n)
    results = []
    for level in core.available_levels():
        if level == "generic":  # which has no fma
            continue
        with use_backend(f"simd:{level}"):
            for left in (a, a.t().contiguous().t()):
                for right in (b, b.t().contiguous().t()):
                    results.append(matmul(left, right).numpy())
            if n == 1:
                results.append(matmul(a, b[:, 0]).numpy()[:, None])
    for other in results[1:]:
        assert (other == results[0]).all()


@pytest.mark.parametrize("level", core.available_levels())
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 7, 8, 20])
def test_bits_do_not_depend_on_alignment(level, m):
    x, memory = normal(m, 400), normal(70 * 400 + 16)
    with use_backend(f"simd:{level}"):
        for offset in range(16):
            weight = memory[offset : offset + 70 * 400].reshape(70, 400)
            expected = linear(x, weight.clone()).numpy()
            assert (linear(x, weight).numpy() == expected).all()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_bits_do_not_depend_on_threads(threads):
    products = [(300, 500, 400), (9, 900, 700), (3000, 300, 1), (3000, 300, 4), (4, 3000, 300), (700, 2, 500)]
    # operands packed by each chunk, once for all, rows a memory page apart, several passes over k
    products += [(128, 512, 510), (193, 191, 110), (2000, 200, 96), (520, 1024, 1100), (1100, 2500, 1024)]
    pairs = [(normal(m, k), normal(k, n)) for m, k, n in products]
    pairs += [(a.t().contiguous().t(), b.t().contiguous().t()) for a, b in pairs]
    # cut into rows, fewer of them than threads; few products of a batch, each in parts
    pairs += [
        (normal(m, k), normal(k, n)) for m, k, n in [(253, 103, 83), (3, 300, 100), (64, 256, 64), (30, 380, 170)]
    ]
    pairs += [(normal(b, m, k), normal(b, k, n)) for b, m, k, n in [(3, 130, 60, 70), (2, 5, 300, 200), (5, 90, 50, 1)]]
    before = kg.get_num_threads()
    try:
        kg.set_num_threads(1)
        alone = [matmul(a, b).numpy() for a, b in pairs]
        kg.set_num_threads(threads)
        for _ in range(3):
            for (a, b), expected in zip(pairs, alone):
                assert (matmul(a, b).numpy() == expected).all()
    finally:
        kg.set_num_threads(before)


def test_transposes_are_not_copied():
    a, b = normal(30, 20).requires_grad_(), normal(40, 30).requires_grad_()
    seen = []
    before = core.set_observer(lambda kernel, arrays, backend: seen.append(kernel.name))
    try:
        matmul(a.t(), b.t()).backward(normal(20, 40))
    finally:
        core.set_observer(before)
    assert seen == ["gemm"] * 3


def test_a_changed_weight_is_packed_again():
    x, weight = normal(3, 64), normal(70, 64)
    for _ in range(3):
        expected = x.numpy() @ weight.numpy().T
        for _ in range(3):
            np.testing.assert_allclose(linear(x, weight).numpy(), expected, rtol=1e-4, atol=1e-4)
        weight.mul_(2)


def test_a_packing_is_read_by_the_instruction_set_that_made_it_alone():
    x, weight, expected = normal(9, 64), normal(70, 64), {}
    for level in core.available_levels():
        with use_backend(f"simd:{level}"):
            expected[level] = matmul(x, weight.t().contiguous()).numpy()
    for level in (*core.available_levels(), *core.available_levels()):
        with use_backend(f"simd:{level}"), kg.no_grad():
            for _ in range(3):
                assert (linear(x, weight).numpy() == expected[level]).all()


def test_packings_go_with_their_weights():
    from kernelgrad.core.products import kept_packings

    before = kept_packings()
    x, weight = normal(3, 64), normal(70, 64)
    linear(x, weight), linear(x, weight)
    assert kept_packings() == before + 1
    del weight
    assert kept_packings() == before


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"])
def test_a_fused_activation_has_the_bits_of_the_op(name):
    from kernelgrad.ops import activations

    x, weight, bias = normal(17, 30), normal(33, 30), normal(33)
    plain = linear(x, weight, bias)
    op = getattr(activations, name.removesuffix("_tanh"))
    expected = op(plain, approximate="tanh") if name == "gelu_tanh" else op(plain)
    assert (linear_activation(x, weight, bias, name).numpy() == expected.numpy()).all()


def test_large_product_against_float64():
    a, b = normal(1000, 1100), normal(1100, 900)
    exact = a.numpy().astype(float) @ b.numpy().astype(float)
    error = np.abs(matmul(a, b).numpy() - exact).max() / np.abs(exact).max()
    assert error < 2e-6


def test_einsum_rejects_what_does_not_fit():
    a, b = normal(2, 3), normal(3, 4)
    for equation, operands, message in [
        ("ij,jk->ik", (a,), "names 2 operands, got 1"),
        ("ijk,jk->ik", (a, b), "does not match the number of dimensions"),
        ("ij,jk->iz", (a, b), "output subscript z does not appear"),
        ("ij,jk->ii", (a, b), "appears more than once in the output"),
        ("i1,jk->ik", (a, b), "invalid subscript"),
        ("ij,ik->jk", (a, b), "subscript i has size 3"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            einsum(equation, *operands)
    with pytest.raises(TypeError, match="list of numbers"):
        einsum(a, [0, 1], b)


def test_peaks_are_plausible():
    gflops = roofline.measured_gflops(1, seconds=0.02)
    assert gflops > 0.5
    assert roofline.measured_bandwidth(4096, 1, seconds=0.01) > 0.5


# ---- The kernels themselves, in C ----

compiler = shutil.which("cc") or shutil.which("gcc")
RUNTIME = [ROOT / f"kernels/runtime/{name}.c" for name in ("pool", "threads", "memory", "pages", "scratch", "cpu")]


def sanitizer_works(tmp_path, sanitizer):
    source = tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }")
    built = subprocess.run([compiler, f"-fsanitize={sanitizer}", source, "-o", tmp_path / "empty"], capture_output=True)
    return built.returncode == 0 and subprocess.run([tmp_path / "empty"], capture_output=True).returncode == 0


@pytest.mark.skipif(compiler is None, reason="needs a C compiler")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined", None])
@pytest.mark.parametrize("check", ["pool_check", "memory_check"])
def test_c_check(check, sanitizer, tmp_path):
    if sanitizer and not sanitizer_works(tmp_path, sanitizer):
        pytest.skip(f"this compiler has no -fsanitize={sanitizer}")
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", f"-I{ROOT / 'kernels'}"]
    flags += [f"-fsanitize={sanitizer}"] if sanitizer else ["-Werror"]
    program = tmp_path / check
    subprocess.run([compiler, *flags, ROOT / f"tests/c/{check}.c", *RUNTIME, "-o", program, "-lpthread"], check=True)
    arguments = ["50"] if check == "pool_check" else []
    if sanitizer:  # whose own locks do not survive a fork while threads start
        arguments = ["50", "nofork"] if check == "pool_check" else ["nofork"]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok\n")


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
@pytest.mark.skipif(not {"avx2", "avx512"} & set(core.available_levels()), reason="reads x86-64 instructions")
def test_tiles_keep_their_accumulators_in_registers():
    """No vector goes to or from the stack in the loop of a tile, and no broadcast comes from a register: those of
    products are called tile_6x2, those of convolutions pair_6, single_6, half_6, listed_pair_6."""
    library = next(Path(core.array.__file__).parent.glob("*kernelgrad_kernels*"))
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    functions = re.findall(r"^[0-9a-f]+ <([\w.]+)>:\n(.*?)(?:\n\n|\Z)", listing, re.DOTALL | re.MULTILINE)
    loops = {"tile": 0, "pair": 0, "single": 0, "half": 0, "listed_pair": 0, "listed_single": 0, "listed_half": 0}
    for name, body in functions:  # each instruction set has its own of every name
        found = re.fullmatch(r"(tile|(?:listed_)?(?:pair|single|half))_(\d+)(?:x(\d+))?(?:\.\w+)*", name)
        if not found:
            continue
        kind, rows, vectors = found[1], int(found[2]), int(found[3] or (2 if found[1].endswith("pair") else 1))
        for loop in inner_loops(body):
            products = sum("vfmadd" in line for line in loop)
            if products == 0 or products % (rows * vectors):
                continue  # generic has no fma; some loops take several steps
            loops[kind] += 1
            spills = [line for line in loop if re.search(r"\(%r[sb]p[,)]", line) and re.search(r"%[xyz]mm", line)]
            assert not spills, f"{name}: {spills}"
            shuffled = [line for line in loop if re.search(r"vbroadcastss +%xmm", line)]
            assert not shuffled, f"{name}: {shuffled}"
    assert all(count >= 4 for count in loops.values()), loops


def inner_loops(body):
    """Instruction lists between a backward jump and its target, without jumps inside."""
    lines = [line.split("\t", 1) for line in body.splitlines() if "\t" in line]
    addresses = [line[0].strip().rstrip(":") for line in lines]
    code = [line[1] for line in lines]
    place = {address: i for i, address in enumerate(addresses)}
    found = []
    for i, instruction in enumerate(code):
        jump = re.match(r"j\w+\s+([0-9a-f]+)", instruction)
        if jump and jump[1] in place and place[jump[1]] < i:
            inside = code[place[jump[1]] : i]
            if not any(re.match(r"j\w+\s", line) for line in inside):
                found.append(inside)
    return found
