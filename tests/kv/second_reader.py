#!/usr/bin/env python3
"""A second reader of the KV store, by quire-kv(5) alone: checks the hash of all that is committed or in flight.

    second_reader.py STORE    77 where there is no libxxhash to load
"""
import ctypes
import ctypes.util
import math
import pathlib
import struct
import sys

BLOCK = 64
SIDES = ["tail", "logits", "flight", "residual"]


def groups(dim):
    return (dim + 31) // 32


def side_bytes(kind, dim):
    """Bytes of one side of a block: rows, then scales."""
    row = {0: 4 * dim, 1: 2 * dim, 2: 2 * dim, 3: dim + 2, 4: groups(dim) * (16 + 2)}
    return BLOCK * row[kind]


def bf16(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def numbers(side, kind, dim, row):
    """The channels of a row."""
    if kind == 0:
        return struct.unpack_from(f"<{dim}f", side, row * 4 * dim)
    if kind == 1:
        return struct.unpack_from(f"<{dim}e", side, row * 2 * dim)
    if kind == 2:
        return [bf16(bits) for bits in struct.unpack_from(f"<{dim}H", side, row * 2 * dim)]
    if kind == 3:
        scale = bf16(struct.unpack_from("<H", side, BLOCK * dim + 2 * row)[0])
        return [scale * n for n in struct.unpack_from(f"<{dim}b", side, row * dim)]
    n = groups(dim)
    data = side[row * 16 * n:][:16 * n]
    scales = [bf16(bits) for bits in struct.unpack_from(f"<{n}H", side, BLOCK * 16 * n + 2 * n * row)]
    found = []
    for c in range(dim):
        pair = data[c // 32 * 16 + c % 16]
        found.append(scales[c // 32] * ((pair & 15 if c % 32 < 16 else pair >> 4) - 8))
    return found


def check_norm(block, kind, dim, norm, where):
    keys = block[:side_bytes(kind, dim)]
    largest = max(math.sqrt(sum(x * x for x in numbers(keys, kind, dim, row))) for row in range(BLOCK))
    expect(largest <= norm <= largest * (1 + 2 ** -22), f"the norm of {where}")


def load_hash():
    name = ctypes.util.find_library("xxhash")
    if not name:
        print("skip: no libxxhash")
        sys.exit(77)
    call = ctypes.CDLL(name).XXH3_64bits_withSeed
    call.restype = ctypes.c_uint64
    call.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return lambda data, seed=0: call(data, len(data), seed)


def expect(condition, what):
    if not condition:
        sys.exit(f"second reader: {what}")


def chains(data, start, n_ids, xxh3):
    """The chain after n_ids tokens, checking the records that are full."""
    for first in range(0, n_ids, BLOCK):
        record = data[first // BLOCK * 264:][:264]
        n = min(BLOCK, n_ids - first)
        start = xxh3(record[:4 * n], start)
        if n == BLOCK:
            expect(struct.unpack_from("<Q", record, 256)[0] == start, f"the chain in record {first // BLOCK}")
    return start


def read_book(folder, xxh3):
    m = (folder / "manifest").read_bytes()
    expect(len(m) == 1152 and m[:8] == b"QUIREKVM", "size or magic of the manifest")
    expect(struct.unpack_from("<Q", m, 1144)[0] == xxh3(m[:1144]), "checksum of the manifest")
    version, _, book, _ = struct.unpack_from("<IIQQ", m, 8)
    layers, heads, dim, kind = struct.unpack_from("<4I", m, 32)
    capacity, _, base, base_hash, frontier, frontier_hash, n_ids, ids_hash, _ = struct.unpack_from("<9Q", m, 48)
    identity = m[264:1032].split(b"\0")[0]
    expect(version == 2 and f"{book:016x}" == folder.name, "version or id")

    tokens = (folder / "tokens").read_bytes()
    start = xxh3(identity, xxh3(m[32:48]))
    for n, wanted in ((frontier, frontier_hash), (n_ids, ids_hash), (base, base_hash)):
        expect(chains(tokens, start, n, xxh3) == wanted, f"the chain after {n} tokens")

    block_bytes = 2 * side_bytes(kind, dim)
    stored = [frontier] * layers
    for i, side in enumerate(SIDES):
        generation, n_bytes, wanted = struct.unpack_from("<3Q", m, 168 + 24 * i)
        if generation == 0:
            continue
        data = (folder / f"{side}.{generation}").read_bytes()
        expect(len(data) == n_bytes, f"size of {side}")
        if side in ("tail", "flight"):
            n_counts = 8 * layers if side == "flight" else 0
            pieces = [data[at:at + 8] for at in range(0, n_counts, 8)]
            pieces += [data[at:at + block_bytes] for at in range(n_counts, n_bytes, block_bytes)]
        else:
            pieces = [data]
        if side == "flight":
            stored = struct.unpack_from(f"<{layers}Q", data)
        found = 0
        for piece in pieces:
            found = xxh3(piece, found)
        expect(found == wanted, f"hash of {side}")

    n_blocks = 0
    for layer in range(layers):
        summary = (folder / f"summary.{layer:03d}").read_bytes()
        with open(folder / f"layer.{layer:03d}", "rb") as file:
            for head in range(heads):
                file.seek(head * capacity * block_bytes)
                for block in range((stored[layer] - base) // BLOCK):
                    checksum, norm, flags = struct.unpack_from("<QfI", summary, (head * capacity + block) * 16)
                    data = file.read(block_bytes)
                    where = f"layer {layer}, head {head}, block {block}"
                    expect(checksum == xxh3(data) and flags == 0, where)
                    check_norm(data, kind, dim, norm, where)
                    n_blocks += 1

    print(f"{folder.name}: {frontier} tokens, {n_blocks} blocks")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    xxh3 = load_hash()
    store = pathlib.Path(sys.argv[1])
    expect((store / "store").read_text(encoding="ascii") == "quire kv store\nformat 2\n", "the version file")
    books = [path for path in sorted((store / "books").iterdir()) if (path / "manifest").exists()]
    expect(books, "no books")
    for book in books:
        read_book(book, xxh3)


if __name__ == "__main__":
    main()
