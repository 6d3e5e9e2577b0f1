#!/usr/bin/env python3
"""Makes tests/base/data: what llama.cpp's library says of every block type of GGUF.

    make_blocks_golden.py LIBGGML_BASE

LIBGGML_BASE is the path of libggml-base.so, as the Python package llama-cpp-python brings it (or a build of llama.cpp).
Needs numpy and the package gguf, whose own conversions must agree with the library's, bit for bit.

TYPE.blocks holds N blocks and then their numbers as float32. Bytes of the blocks are random; their halves (scales and
offsets) are ordinary in the first block, and by turns the smallest and largest that there are, zeros, and negative ones
in the others.

quality.txt has one line for each type that Quire writes: the type, the kind of rows, and the mean squared error that the
library's quantiser makes of them. The rows are ROWS rows of COLUMNS numbers: "normal" ones (the sum of twelve numbers of
tests/test.h's generator each), and "trained" ones, trained.q8_0: the first of four tensors of a small model, as Q8_0.
"""
import ctypes
import pathlib
import sys

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/base/data"
ROWS, COLUMNS = 64, 1024
# name, where the halves of a block are, blocks to make
TYPES = [("Q8_0", [0], 16), ("Q4_0", [0], 16), ("Q4_1", [0, 2], 24), ("Q5_0", [0], 16), ("Q5_1", [0, 2], 24),
         ("Q2_K", [80, 82], 6), ("Q3_K", [108], 6), ("Q4_K", [0, 2], 6), ("Q5_K", [0, 2], 6), ("Q6_K", [208], 6),
         ("IQ4_NL", [0], 16), ("IQ4_XS", [0], 6)]
PACKED = ["Q8_0", "Q4_0", "Q4_K", "Q6_K"]
HALVES = [0x0001, 0x7BFF, 0x83FF, 0x8000, 0xFBFF, 0x0400, 0x3555, 0x0000, 0xA1B2, 0x03FF]


def random_words(seed, n):
    """test_random() of tests/test.h, n times."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def normal_rows():
    uniform = ((random_words(7, ROWS * COLUMNS * 12) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1).astype(np.float32)
    total = np.zeros(ROWS * COLUMNS)
    for i in range(12):
        total += uniform[i::12].astype(np.float64)
    return (total / 2).astype(np.float32)


def trained_rows():
    return gguf.quants.dequantize(np.fromfile(OUT / "trained.q8_0", np.uint8), gguf.GGMLQuantizationType.Q8_0)


def call(library, name, source, target, n):
    function = getattr(library, name)
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    function(source.ctypes.data, target.ctypes.data, n)


def main():
    library = ctypes.CDLL(sys.argv[1])
    OUT.mkdir(exist_ok=True)
    for t, (name, halves, n) in enumerate(TYPES):
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        words = random_words(100 + t, n * size)
        blocks = (words >> np.uint64(56)).astype(np.uint8).reshape(n, size)
        for b in range(n):
            for h, at in enumerate(halves):
                half = np.float16(0.01 + 0.02 * h) if b == 0 else np.uint16(HALVES[(b * (1 + 2 * h) + 3 * h) % len(HALVES)])
                blocks[b, at:at + 2] = np.frombuffer(half.tobytes(), np.uint8)
        numbers = np.empty(n * elements, np.float32)
        call(library, f"dequantize_row_{name.lower().replace('_k', '_K')}", blocks, numbers, n * elements)
        second = gguf.quants.dequantize(blocks, kind).reshape(-1)
        assert np.isfinite(numbers).all() and (numbers == second).all(), name
        (OUT / f"{name.lower()}.blocks").write_bytes(blocks.tobytes() + numbers.tobytes())
    lines = []
    for name in PACKED:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        for what, rows in (("normal", normal_rows()), ("trained", trained_rows())):
            blocks, numbers = np.empty(len(rows) // elements * size, np.uint8), np.empty(len(rows), np.float32)
            call(library, f"quantize_row_{name.lower().replace('_k', '_K')}_ref", rows, blocks, len(rows))
            call(library, f"dequantize_row_{name.lower().replace('_k', '_K')}", blocks, numbers, len(rows))
            error = np.mean((numbers.astype(np.float64) - rows.astype(np.float64))**2)
            lines.append(f"{name.lower()} {what} {error:.9e}\n")
    (OUT / "quality.txt").write_text("".join(lines))


main()
