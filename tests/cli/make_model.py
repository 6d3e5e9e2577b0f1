#!/usr/bin/env python3
"""Writes a small random MPT as a HuggingFace folder, with a tokenizer of single bytes and a few merges, for tests of
the program: make_model.py FOLDER [--chat]

Python's library alone. Rows of the embedding that stand for bytes outside ASCII letters and spaces are zero, so that
what the model writes is mostly text."""
import json
import pathlib
import random
import struct
import sys

D, HEADS, LAYERS, RATIO = 32, 4, 2, 4
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("a", "n"), ("an", "d"), ("Ġ", "and")]


def byte_alphabet():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in kept]
    return {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def tokenizer(chat):
    alphabet = byte_alphabet()
    added = ["<|endoftext|>", "<|padding|>"]
    words = added + [alphabet[b] for b in range(256)] + [a + b for a, b in MERGES]
    vocabulary = {word: i for i, word in enumerate(words)}
    extra = ["<|im_start|>", "<|im_end|>"] if chat else []
    specials = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                 "special": True}
                for i, text in [*enumerate(added), *[(len(words) + i, text) for i, text in enumerate(extra)]]]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": specials,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocabulary,
                  "merges": [f"{a} {b}" for a, b in MERGES]},
    }, words + extra


def tensors(words, n_rows):
    rng = random.Random(20)
    alphabet = byte_alphabet()
    likely = {alphabet[b] for b in b"abcdefghijklmnopqrstuvwxyz ,."}

    def matrix(rows, columns):
        return [[rng.gauss(0, 1 / columns ** 0.5) for _ in range(columns)] for _ in range(rows)]

    embedding = [[rng.gauss(0, 0.5) for _ in range(D)] if i < len(words) and words[i] in likely else [0.0] * D
                 for i in range(n_rows)]
    yield "transformer.wte.weight", embedding
    for layer in range(LAYERS):
        block = f"transformer.blocks.{layer}."
        yield block + "norm_1.weight", [[1.0] * D]
        yield block + "attn.Wqkv.weight", matrix(3 * D, D)
        yield block + "attn.out_proj.weight", matrix(D, D)
        yield block + "norm_2.weight", [[1.0] * D]
        yield block + "ffn.up_proj.weight", matrix(RATIO * D, D)
        yield block + "ffn.down_proj.weight", matrix(D, RATIO * D)
    yield "transformer.norm_f.weight", [[1.0] * D]


def main():
    folder, chat = pathlib.Path(sys.argv[1]), "--chat" in sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, words = tokenizer(chat)
    n_rows = 272
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["MPTForCausalLM"], "model_type": "mpt", "d_model": D, "n_heads": HEADS, "n_layers": LAYERS,
        "expansion_ratio": RATIO, "max_seq_len": 256, "vocab_size": n_rows, "no_bias": True, "learned_pos_emb": True,
        "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "clip_qkv": None, "qk_ln": False,
                        "softmax_scale": None},
        "logit_scale": None, "norm_type": "low_precision_layernorm", "tie_word_embeddings": True,
    }), encoding="utf-8")
    header, data = {}, bytearray()
    for name, rows in tensors(words, n_rows):
        values = [v for row in rows for v in row]
        shape = [D] if "norm" in name else [len(rows), len(rows[0])]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main()
