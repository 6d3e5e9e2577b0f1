"""Writers of the small model files: safetensors, PyTorch and GGUF, with the rounding and quantisation that they need.

Each encoder takes a float64 array and returns the bytes of the file and the array that those bytes stand for, so that
the oracle computes with exactly what a reader of the file will see.
"""
import json
import struct
import zipfile

import numpy as np


def encode_f32(x):
    y = np.asarray(x, dtype="<f4")
    return y.tobytes(), y.astype(np.float64)


def encode_f16(x):
    y = np.asarray(x, dtype="<f2")
    return y.tobytes(), y.astype(np.float64)


def encode_bf16(x):
    bits = np.asarray(x, dtype="<f4").view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded.tobytes(), (rounded.astype("<u4") << 16).view("<f4").astype(np.float64)


def _blocks(x):
    x = np.asarray(x, dtype=np.float32)
    assert x.shape[-1] % 32 == 0, "a quantised row is made of blocks of 32"
    return x.reshape(-1, 32)


def _inverse(d):
    return np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)


def encode_q8_0(x):
    """32 weights: a half-precision scale and 32 int8."""
    b = _blocks(x)
    d = np.abs(b).max(1, keepdims=True) / np.float32(127)
    scaled = b * _inverse(d)
    q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    half = d.astype("<f2")
    data = b"".join(h.tobytes() + row.tobytes() for h, row in zip(half, q))
    return data, (half.astype(np.float64) * q).reshape(x.shape)


def encode_q4_0(x):
    """32 weights: a half-precision scale and 16 bytes; byte j holds weights j (low half) and j + 16 (high half)."""
    b = _blocks(x)
    peak = b[np.arange(len(b)), np.abs(b).argmax(1)][:, None]
    d = peak / np.float32(-8)
    q = np.minimum(15, np.trunc(b * _inverse(d) + np.float32(8.5))).astype(np.uint8)
    half = d.astype("<f2")
    data = b"".join(h.tobytes() + (row[:16] | row[16:] << 4).tobytes() for h, row in zip(half, q))
    return data, (half.astype(np.float64) * (q.astype(np.float64) - 8)).reshape(x.shape)


ENCODERS = {"F32": encode_f32, "F16": encode_f16, "BF16": encode_bf16, "Q8_0": encode_q8_0, "Q4_0": encode_q4_0}
GGML_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "BF16": 30}


def write_safetensors(path, tensors, dtype):
    """Writes the arrays in one type; returns them as the file holds them."""
    header, parts, stored, at = {"__metadata__": {"format": "pt"}}, [], {}, 0
    for name, x in tensors.items():
        data, stored[name] = ENCODERS[dtype](x)
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return stored


def write_sharded(folder, tensors, dtype, n_shards):
    """The same in several files with an index."""
    names, stored, where = list(tensors), {}, {}
    for i in range(n_shards):
        part = {name: tensors[name] for name in names[i::n_shards]}
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        stored.update(write_safetensors(folder / file, part, dtype))
        where.update(dict.fromkeys(part, file))
    total = sum((folder / f).stat().st_size for f in set(where.values()))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    return stored


def _pickle(shapes, storage):
    """The pickle of a dictionary of tensors, each in a storage of its own, as torch.save writes it."""
    def number(n):
        return b"J" + struct.pack("<i", n)

    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    def numbers(ns):
        return b"(" + b"".join(map(number, ns)) + b"t"

    out = b"\x80\x02ccollections\nOrderedDict\nq\x00)R("
    for key, (name, shape) in enumerate(shapes.items()):
        strides = [int(np.prod(shape[d + 1:])) for d in range(len(shape))]
        out += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + f"ctorch\n{storage}\n".encode()
        out += text(str(key)) + text("cpu") + number(int(np.prod(shape))) + b"tQ" + number(0)
        out += numbers(shape) + numbers(strides) + b"\x89h\x00)RtR"
    return out + b"u."


def write_torch_bin(path, tensors, dtype):
    """Writes the arrays in one type; returns them as the file holds them. Storages lie where they come to lie, unlike
    torch.save's, which begin at multiples of 64."""
    storage = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}[dtype]
    stored = {}
    with zipfile.ZipFile(path, "w") as archive:
        def add(name, data):
            archive.writestr(zipfile.ZipInfo("pytorch_model/" + name), data)

        add("data.pkl", _pickle({name: x.shape for name, x in tensors.items()}, storage))
        for key, (name, x) in enumerate(tensors.items()):
            data, stored[name] = ENCODERS[dtype](x)
            add(f"data/{key}", data)
        add("version", b"3\n")
    return stored


def gguf_name(name):
    """GGUF's name for a HuggingFace tensor."""
    for old, new in (("transformer.", ""), ("blocks.", "blk."), ("wte.", "token_embd."), ("wpe.", "position_embd."),
                     ("norm_1.", "attn_norm."), ("norm_2.", "ffn_norm."), ("norm_f.", "output_norm."),
                     ("attn.Wqkv.", "attn_qkv."), ("attn.out_proj.", "attn_output."), ("attn.q_ln.", "attn_q_norm."),
                     ("attn.k_ln.", "attn_k_norm."), ("ffn.up_proj.", "ffn_up."), ("ffn.down_proj.", "ffn_down."),
                     ("lm_head.", "output.")):
        name = name.replace(old, new)
    return name


def _text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def _pair(key, value):
    kind, number = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}.get(type(value), (8, None))
    return _text(key) + struct.pack("<I", kind) + (struct.pack(number, value) if number else _text(value))


def write_gguf(path, keys, tensors, dtype, version=3, alignment=32):
    """Writes matrices in one type, vectors in F32; returns the arrays as the file holds them."""
    directory, data, stored = b"", b"", {}
    for name, x in tensors.items():
        kind = dtype if x.ndim == 2 else "F32"
        part, stored[name] = ENCODERS[kind](x)
        directory += _text(gguf_name(name)) + struct.pack("<I", x.ndim) + struct.pack(f"<{x.ndim}Q", *x.shape[::-1])
        directory += struct.pack("<IQ", GGML_TYPES[kind], len(data))
        data += part + b"\0" * (-len(part) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    head += b"".join(_pair(key, value) for key, value in keys.items()) + directory
    path.write_bytes(head + b"\0" * (-len(head) % alignment) + data)
    return stored
