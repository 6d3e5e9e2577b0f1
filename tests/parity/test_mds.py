"""MDS shards both ways between Quire and the Python package mosaicml-streaming.

What `quire tokenize --mds` writes is read by the package: the ids of every document are the same. What the package
writes is read by `quire train`: its token file holds the same ids. Texts, tokens of each integer type, with and without
zstd, with hashes, in several shards."""
import importlib.metadata
import json
import random
import struct

import numpy as np
from streaming import MDSWriter, StreamingDataset

import parity

PEER = "mosaicml-streaming " + importlib.metadata.version("mosaicml-streaming")
TOKENIZER = parity.SOURCE / "tests" / "tokenizer" / "data" / "tokenizer.json"
WORDS = "the keeper of the light wrote down the weather every evening caf\u00e9 \u201cnothing today\u201d he wrote".split()
CONFIG = {
    "model": {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 16},
    "global_train_batch_size": 1, "max_duration": "1ba", "scheduler": {"t_warmup": "1ba"}, "eval_interval": "0ba",
    "output": {"gguf": "none", "huggingface": "none"},
}


def make_texts(count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 200))) for _ in range(count)]


def quire_ids(path):
    return [int(word) for word in parity.quire("tokenize", "-q", "-m", TOKENIZER, path).split()]


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


def train_on(dataset, folder):
    """The documents that quire train found in a dataset."""
    config = dict(CONFIG, tokenizer={"name": str(TOKENIZER)}, save_folder=str(folder),
                  train_loader={"dataset": {"local": str(dataset)}})
    path = folder.with_suffix(".yaml")
    path.write_text(json.dumps(config))
    parity.quire("train", "-q", path)
    return list(read_token_file(next((folder / "tokens").glob("*.tokens"))))


def write_dataset(folder, texts, ids, column, encoding, compression):
    """A dataset of the package's own making: the texts, or their ids."""
    with MDSWriter(out=str(folder), columns={column: encoding, "number": "int"}, compression=compression,
                   hashes=["sha1", "xxh3_128", "xxh64"], size_limit=1 << 14) as writer:
        for i, tokens in enumerate(ids):
            value = (texts[i] if encoding == "str" else
                     np.array(tokens, np.int64).tobytes() if encoding == "bytes" else
                     np.array(tokens, np.uint16 if encoding.endswith("uint16") else np.int32))
            writer.write({column: value, "number": i})


class Shards(parity.Case):
    def setUp(self):
        super().setUp()
        self.texts = make_texts(60, 1)
        self.paths = [self.folder / f"{i:03}.txt" for i in range(len(self.texts))]
        for path, text in zip(self.paths, self.texts):
            path.write_text(text, encoding="utf-8")
        self.wanted = [quire_ids(path) for path in self.paths]

    def check(self, case, found):
        n_differ = abs(len(found) - len(self.wanted)) + sum(a != b for a, b in zip(found, self.wanted))
        self.record(PEER, case, "documents whose ids differ", n_differ, 0)

    def test_ours(self):
        parity.quire("tokenize", "-q", "-m", TOKENIZER, "--mds", self.folder / "ours", *self.paths)
        dataset = StreamingDataset(local=str(self.folder / "ours"), shuffle=False, batch_size=1, validate_hash="xxh64")
        self.check("quire's shards in the package", [dataset[i]["tokens"].tolist() for i in range(len(dataset))])
        self.check("quire's shards in quire train", train_on(self.folder / "ours", self.folder / "run"))

    def test_theirs(self):
        n = 0
        for compression in (None, "zstd:7"):
            for column, encoding in (("text", "str"), ("tokens", "bytes"), ("tokens", "ndarray:int32"),
                                     ("tokens", "ndarray:uint16"), ("tokens", "ndarray")):
                n += 1
                dataset = self.folder / f"theirs-{n}"
                write_dataset(dataset, self.texts, self.wanted, column, encoding, compression)
                self.check(f"{column} as {encoding}, compression {compression}",
                           train_on(dataset, self.folder / f"run-{n}"))


if __name__ == "__main__":
    parity.main()
