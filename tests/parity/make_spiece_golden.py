#!/usr/bin/env python3
"""Trains small SentencePiece models and writes what SentencePiece itself makes of seeded random texts, for
tests/tokenizer/test_spiece.c; or compares a build with it on many more.

    make_spiece_golden.py FOLDER                         writes FOLDER/NAME.model and FOLDER/golden.json
    make_spiece_golden.py FOLDER --compare LIBRARY [N]   N random texts for each model of FOLDER, through libquire.so

Needs the package sentencepiece (and protobuf). Trained on what is in this repository, so that anyone gets the same."""
import ctypes
import io
import json
import pathlib
import random
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protobuf

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFINED = ["<tab>", "==", "na\u00efve", "the"]
SETTINGS = {
    # As a tokenizer of code: nothing is added or taken away, pieces may go across spaces.
    "code": dict(add_dummy_prefix=False, remove_extra_whitespaces=False, split_by_whitespace=False, vocab_size=420,
                 bos_id=-1, eos_id=1, eos_piece="<|endoftext|>", pad_id=2, pad_piece="<|pad|>", unk_id=0),
    "bytes": dict(add_dummy_prefix=True, remove_extra_whitespaces=False, byte_fallback=True, vocab_size=640),
    "squeeze": dict(add_dummy_prefix=True, remove_extra_whitespaces=True, vocab_size=340,
                    user_defined_symbols=DEFINED, unk_surface=" ?? "),
    "plain": dict(add_dummy_prefix=False, remove_extra_whitespaces=True, vocab_size=300, control_symbols=["<sep>"]),
}
ALPHABETS = ["etaoin shrdlu", "abcdefghijklmnopqrstuvwxyz ABC", " ", "  \n\t", "\u2581 a", "0123456789.,;:()[]{}=+-*/ ",
             "\u00e9\u00e8\u00fc\u00df\u0301\u0308 ", "\u4e2d\u6587\u5b57 ", "\U0001f600\U0001f468\u200d\u2764 ",
             "\u0645\u0631\u062d ", "\x00\x01\x7f", "aa", "==", "\ufffd\ufeff"]
WORDS = ["the", "light", "keeper", "static", "return", "status", "err", "quire_status", "if (", "na\u00efve", "<tab>",
         "==", "</s>", "<|endoftext|>", "<sep>", "<unk>", "<0x41>", "\n    ", "the lamp", "size_t"]


def texts_to_train_on():
    """Texts of this repository that do not change."""
    lines = []
    for path in ("corpora/sample/the-lamplighter.txt", "LICENSE"):
        lines += (ROOT / path).read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.strip()]


def train(name):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts_to_train_on()), model_writer=model, model_type="unigram", num_threads=1,
        normalization_rule_name="identity", character_coverage=0.995, minloglevel=2, **SETTINGS[name])
    proto = protobuf.ModelProto.FromString(model.getvalue())
    if name == "plain":  # pieces that no text gives, which no trainer makes
        for piece in proto.pieces[40:50]:
            piece.type = protobuf.ModelProto.SentencePiece.UNUSED
    return proto.SerializeToString()


def random_text(rng, sentences):
    parts = []
    for _ in range(rng.randrange(1, 9)):
        kind = rng.randrange(4)
        if kind == 0:
            parts.append(rng.choice(WORDS))
        elif kind == 1:
            start = rng.randrange(len(sentences))
            parts.append(sentences[start][rng.randrange(20):rng.randrange(20, 60)])
        elif kind == 2:
            parts.append(" " * rng.randrange(1, 6))
        else:
            alphabet = rng.choice(ALPHABETS)
            parts.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12))))
    return "".join(parts)


def hash_of(ids):
    value = 0
    for i in ids:
        value = (value * 31 + i + 1) % 2 ** 32
    return value


def write_golden(folder):
    folder.mkdir(parents=True, exist_ok=True)
    sentences, golden, long = texts_to_train_on(), {}, {}
    story = (ROOT / "corpora/sample/the-lamplighter.txt").read_text(encoding="utf-8") * 12
    for name in SETTINGS:
        model = train(name)
        (folder / f"{name}.model").write_bytes(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        rng = random.Random(1)
        texts = ["", " ", "  a  b ", "\u2581", " \u2581 a\u2581"] + [random_text(rng, sentences) for _ in range(120)]
        golden[name] = [{"text": text, "ids": (ids := processor.encode(text)), "decoded": processor.decode(ids)}
                        for text in texts]
        ids = processor.encode(story)
        long[name] = {"n": len(ids), "hash": hash_of(ids)}
    rows = (f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "]" for name, cases in golden.items())
    (folder / "golden.json").write_text("{" + ",\n".join(rows) + f',\n"long": {json.dumps(long)}}}\n', encoding="utf-8")


def compare(folder, library, n):
    quire = ctypes.CDLL(library)
    n_failed, sentences = 0, texts_to_train_on()
    for path in sorted(folder.glob("*.model")):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        tokenizer = ctypes.c_void_p()
        if quire.quire_tokenizer_open_path(ctypes.byref(tokenizer), str(path).encode(), None) != 0:
            sys.exit(f"{path}: refused")
        rng = random.Random(2)
        for i in range(n):
            text = random_text(rng, sentences)
            if i % 1000 == 0:
                text *= 3000
            raw = text.encode()
            ids, n_ids = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
            status = quire.quire_encode(tokenizer, raw, ctypes.c_size_t(len(raw)), False, ctypes.byref(ids),
                                        ctypes.byref(n_ids), None)
            if status != 0 or ids[:n_ids.value] != processor.encode(text):
                n_failed += 1
                if n_failed < 5:
                    print(path.name, repr(text)[:200], ids[:n_ids.value][:60], processor.encode(text)[:60])
            ctypes.CDLL(None).free(ids)
        print(f"{path.name}: {n} texts, {n_failed} differ so far")
    return n_failed > 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if len(sys.argv) > 3 and sys.argv[2] == "--compare":
        sys.exit(compare(pathlib.Path(sys.argv[1]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 100000))
    write_golden(pathlib.Path(sys.argv[1]))
