#!/usr/bin/env python3
"""MDS shards both ways between Quire and the Python package mosaicml-streaming.

    mds_parity.py QUIRE TOKENIZER.JSON

What `quire tokenize --mds` writes is read by the package: the ids of every document are the same. What the package
writes is read by `quire train`: its token file holds the same ids. Texts, tokens of each integer type, with and without
zstd, with hashes, in several shards. Exit status 77 where the package is not installed."""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from streaming import MDSWriter, StreamingDataset
except ImportError as missing:
    print(f"skip: {missing}")
    sys.exit(77)

WORDS = "the keeper of the light wrote down the weather every evening caf\u00e9 \u201cnothing today\u201d he wrote".split()
CONFIG = {
    "model": {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 16},
    "global_train_batch_size": 1, "max_duration": "1ba", "scheduler": {"t_warmup": "1ba"}, "eval_interval": "0ba",
    "output": {"gguf": "none", "huggingface": "none"},
}


def make_texts(count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 200))) for _ in range(count)]


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True)


def quire_ids(quire, tokenizer, path):
    return [int(word) for word in run(quire, "tokenize", "-q", "-m", tokenizer, path).stdout.split()]


def read_token_file(path):
    """The documents of a token file, after src/train/token_file.h."""
    data = path.read_bytes()
    magic, _, width, n_ids, n_documents, _, has_ends = struct.unpack_from("<8sIIQQQI", data)
    assert magic == b"QUIRETOK"
    ids = np.frombuffer(data, "<u2" if width == 2 else "<u4", n_ids, 128)
    table = 128 + (n_ids * width + 7) // 8 * 8
    for i in range(n_documents):
        first, n, _ = struct.unpack_from("<QQQ", data, table + 24 * i)
        yield ids[first:first + n - has_ends].tolist()


def train_on(quire, tokenizer, dataset, folder):
    """The documents that quire train found in a dataset."""
    config = dict(CONFIG, tokenizer={"name": str(tokenizer)}, save_folder=str(folder),
                  train_loader={"dataset": {"local": str(dataset)}})
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps(config))
    run(quire, "train", "-q", path)
    return list(read_token_file(next((folder / "tokens").glob("*.tokens"))))


def check(name, found, wanted):
    if found != wanted:
        sys.exit(f"{name}: differs ({len(found)} and {len(wanted)} documents)")
    print(f"ok   {name}")


def main():
    quire, tokenizer = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    texts = make_texts(60, 1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        paths = []
        for i, text in enumerate(texts):
            paths.append(scratch / f"{i:03}.txt")
            paths[-1].write_text(text, encoding="utf-8")
        wanted = [quire_ids(quire, tokenizer, path) for path in paths]

        run(quire, "tokenize", "-q", "-m", tokenizer, "--mds", scratch / "ours", *paths)
        dataset = StreamingDataset(local=str(scratch / "ours"), shuffle=False, batch_size=1, validate_hash="xxh64")
        check("the package reads our shards", [dataset[i]["tokens"].tolist() for i in range(len(dataset))], wanted)
        check("quire train reads our shards", train_on(quire, tokenizer, scratch / "ours", scratch / "run-0"), wanted)

        n = 0
        for compression in (None, "zstd:7"):
            for column, encoding in (("text", "str"), ("tokens", "bytes"), ("tokens", "ndarray:int32"),
                                     ("tokens", "ndarray:uint16"), ("tokens", "ndarray")):
                n += 1
                folder = scratch / f"theirs-{n}"
                with MDSWriter(out=str(folder), columns={column: encoding, "number": "int"}, compression=compression,
                               hashes=["sha1", "xxh3_128", "xxh64"], size_limit=1 << 14) as writer:
                    for i, ids in enumerate(wanted):
                        value = (texts[i] if encoding == "str" else
                                 np.array(ids, np.int64).tobytes() if encoding == "bytes" else
                                 np.array(ids, np.uint16 if encoding.endswith("uint16") else np.int32))
                        writer.write({column: value, "number": i})
                check(f"quire train reads {column} as {encoding}, compression {compression}",
                      train_on(quire, tokenizer, folder, scratch / f"run-{n}"), wanted)


if __name__ == "__main__":
    main()
