#!/usr/bin/env python3
"""Writes a small random MPT as a HuggingFace folder, with a tokenizer of single bytes and a few merges, for tests of
the program: make_model.py FOLDER [--chat] [--loud] [--spiece] [--gguf] [--breaks]

--loud: the rows behind the vocabulary, which stand for no token, are the likeliest. --spiece: a SentencePiece vocabulary
of single characters instead. --gguf: FOLDER/model.gguf instead, with tokens for those rows as converters make them. --breaks: learned positions, which from BREAKS_AT on are no numbers.

Python's library alone. Rows of the embedding that stand for bytes outside ASCII letters and spaces are zero, so that
what the model writes is mostly text."""
import json
import pathlib
import random
import struct
import sys

D, HEADS, LAYERS, RATIO = 32, 4, 2, 4
MAX_SEQ_LEN = 256
BREAKS_AT = 40
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


PIECES = [("<unk>", 0.0, 2), ("<|endoftext|>", 0.0, 3), ("\u2581", -1.0, 1),
          *[(chr(c), -2.0 - c / 100, 1) for c in range(0x61, 0x7B)], (".", -4.0, 1), (",", -4.0, 1)]


def spiece():
    """The bytes of a spiece.model: pieces, then a normaliser that does nothing to spaces."""
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data
    message = b""
    for text, score, kind in PIECES:
        message += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))
    return message + field(3, bytes([0x18, 0, 0x20, 0]))


def tensors(words, n_rows, loud, breaks):
    rng = random.Random(20)
    alphabet = byte_alphabet()
    likely = {alphabet[b] for b in b"abcdefghijklmnopqrstuvwxyz ,."} | {"\u2581"}

    def matrix(rows, columns):
        return [[rng.gauss(0, 1 / columns ** 0.5) for _ in range(columns)] for _ in range(rows)]

    embedding = [[rng.gauss(0, 0.5) for _ in range(D)] if i < len(words) and words[i] in likely else
                 [rng.gauss(0, 20) for _ in range(D)] if i >= len(words) and loud else [0.0] * D
                 for i in range(n_rows)]
    yield "transformer.wte.weight", embedding
    if breaks:
        yield "transformer.wpe.weight", [[0.0 if i < BREAKS_AT else float("nan")] * D for i in range(MAX_SEQ_LEN)]
    for layer in range(LAYERS):
        block = f"transformer.blocks.{layer}."
        yield block + "norm_1.weight", [[1.0] * D]
        yield block + "attn.Wqkv.weight", matrix(3 * D, D)
        yield block + "attn.out_proj.weight", matrix(D, D)
        yield block + "norm_2.weight", [[1.0] * D]
        yield block + "ffn.up_proj.weight", matrix(RATIO * D, D)
        yield block + "ffn.down_proj.weight", matrix(D, RATIO * D)
    yield "transformer.norm_f.weight", [[1.0] * D]


def write_folder(folder, rows_of, vocabulary, n_rows, alibi):
    if vocabulary:
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    else:
        (folder / "spiece.model").write_bytes(spiece())
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["MPTForCausalLM"], "model_type": "mpt", "d_model": D, "n_heads": HEADS, "n_layers": LAYERS,
        "expansion_ratio": RATIO, "max_seq_len": MAX_SEQ_LEN, "vocab_size": n_rows, "no_bias": True, "learned_pos_emb": True,
        "attn_config": {"alibi": alibi, "alibi_bias_max": 8, "attn_impl": "torch", "clip_qkv": None, "qk_ln": False,
                        "softmax_scale": None},
        "logit_scale": None, "norm_type": "low_precision_layernorm", "tie_word_embeddings": True,
    }), encoding="utf-8")
    header, data = {}, bytearray()
    for name, rows in rows_of:
        values = [v for row in rows for v in row]
        shape = [D] if "norm" in name else [len(rows), len(rows[0])]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_gguf(folder, rows_of, words, n_rows, is_spiece):
    def text(s):
        return struct.pack("<Q", len(s.encode())) + s.encode()

    def array(kind, items):
        return struct.pack("<IQ", kind, len(items)) + b"".join(items)

    def number(value):
        return struct.pack("<I", value)

    n_padding = n_rows - len(words)
    # Old converters call the padding user-defined, newer ones unused.
    padding = [(f"[PAD{len(words) + i}]", 4 if i % 2 else 5) for i in range(n_padding)]
    kinds = [kind for _, _, kind in PIECES] if is_spiece else [3 if w.startswith("<|") else 1 for w in words]
    pairs = {"general.architecture": (8, text("mpt")), "mpt.context_length": (4, number(MAX_SEQ_LEN)),
             "mpt.embedding_length": (4, number(D)), "mpt.block_count": (4, number(LAYERS)),
             "mpt.feed_forward_length": (4, number(RATIO * D)), "mpt.attention.head_count": (4, number(HEADS)),
             "mpt.attention.layer_norm_epsilon": (6, struct.pack("<f", 1e-5)),
             "mpt.attention.max_alibi_bias": (6, struct.pack("<f", 8)),
             "tokenizer.ggml.model": (8, text("t5" if is_spiece else "gpt2")),
             "tokenizer.ggml.tokens": (9, array(8, [text(w) for w in words + [p for p, _ in padding]])),
             "tokenizer.ggml.token_type": (9, array(5, [number(k) for k in kinds + [k for _, k in padding]]))}
    if is_spiece:
        scores = [score for _, score, _ in PIECES] + [0.0] * n_padding
        pairs["tokenizer.ggml.scores"] = (9, array(6, [struct.pack("<f", s) for s in scores]))
        pairs["tokenizer.ggml.add_space_prefix"] = (7, b"\0")
    else:
        pairs["tokenizer.ggml.merges"] = (9, array(8, [text(f"{a} {b}") for a, b in MERGES]))
    directory, data, n = b"", bytearray(), 0
    for name, rows in rows_of:
        for old, new in (("transformer.", ""), ("blocks.", "blk."), ("wte", "token_embd"), ("norm_f", "output_norm"),
                         ("norm_1", "attn_norm"), ("norm_2", "ffn_norm"), ("attn.Wqkv", "attn_qkv"),
                         ("attn.out_proj", "attn_output"), ("ffn.up_proj", "ffn_up"), ("ffn.down_proj", "ffn_down")):
            name = name.replace(old, new)
        values = [v for row in rows for v in row]
        dims = [D] if "norm" in name else [len(rows[0]), len(rows)]
        directory += text(name) + number(len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        directory += struct.pack("<IQ", 0, len(data))
        data += struct.pack(f"<{len(values)}f", *values)
        data += b"\0" * (-len(data) % 32)
        n += 1
    head = b"GGUF" + struct.pack("<IQQ", 3, n, len(pairs))
    head += b"".join(text(key) + number(kind) + value for key, (kind, value) in pairs.items()) + directory
    (folder / "model.gguf").write_bytes(head + b"\0" * (-len(head) % 32) + data)


def main():
    folder, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, words = tokenizer("--chat" in options)
    if "--spiece" in options:
        vocabulary, words = None, [text for text, _, _ in PIECES]
    n_rows = 272
    rows_of = tensors(words, n_rows, "--loud" in options, "--breaks" in options)
    if "--gguf" in options:
        write_gguf(folder, rows_of, words, n_rows, not vocabulary)
    else:
        write_folder(folder, rows_of, vocabulary, n_rows, "--breaks" not in options)


if __name__ == "__main__":
    main()
