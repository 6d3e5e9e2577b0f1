"""Makes what the ordinary suite keeps of these comparisons, so that it needs none of the packages:

    tests/golden/hf-NAME/          checkpoints as transformers saves them, and what its MptForCausalLM computes
    tests/tokenizer/data/hard.json strings that are hard on a tokenizer, and the ids of HuggingFace tokenizers"""
import itertools
import json
import shutil
import unicodedata

import numpy as np
import tokenizers

import parity  # first: it finds the makers of golden models
import checkpoints
import make_golden
import reference
import texts

TINY = {"d_model": 16, "vocab_size": 40, "max_seq_len": 128}
CASES = {
    "plain-f32": ({**TINY, "n_layers": 1}, {}, "f32"),
    "heads-3-clip-bf16": ({**TINY, "d_model": 24, "n_heads": 3}, {"clip_qkv": 0.75}, "bf16"),
    "scale-untied-f16": ({**TINY, "tie_word_embeddings": False}, {"softmax_scale": 0.2}, "f16"),
    "sharded-bf16": (TINY, {}, "bf16"),
}
N_EACH = {"decompositions": 600, "starters_and_marks": 600, "pairs_of_marks": 600, "hangul": 200}
N_MIXTURES = 400


def make_checkpoint(name):
    config, weights, ids, dtype = checkpoints.case(CASES, name)
    ids = ids[:120]
    model = checkpoints.huggingface(config, weights, dtype)
    folder = make_golden.start("hf-" + name)
    model.save_pretrained(folder, max_shard_size="8KB" if "sharded" in name else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    logits = checkpoints.logits(model, ids)
    make_golden.write_numbers(folder / "tokens.txt", ids, "%d")
    make_golden.write_numbers(folder / "logprobs.txt", reference.logprobs(logits.astype(np.float64), ids), "%.6f")
    make_golden.write_numbers(folder / "logits.txt", logits[-1], "%.6f")


def old(text):
    """Only characters that Unicode had long ago: the answers do not depend on a library's version."""
    return all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text)


def strings():
    for name, n in N_EACH.items():
        every = [text for text in getattr(texts, name)() if old(text)]
        yield from every[::len(every) // n][:n]
    yield from itertools.islice(filter(old, texts.mixtures(10 * N_MIXTURES, 7)), N_MIXTURES)


def make_hard():
    data = parity.SOURCE / "tests" / "tokenizer" / "data"
    peer = tokenizers.Tokenizer.from_file(str(data / "tokenizer.json"))
    rows = []
    for text in strings():
        row = {"text": text}
        for key, as_text in (("ids", True), ("special", False)):
            peer.encode_special_tokens = as_text
            row[key] = peer.encode(text, add_special_tokens=False).ids
        if row["special"] == row["ids"]:
            del row["special"]
        rows.append(json.dumps(row, ensure_ascii=True, separators=(",", ":")))
    (data / "hard.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="ascii")


def main():
    for folder in (parity.SOURCE / "tests" / "golden").glob("hf-*"):
        shutil.rmtree(folder)
    for name in CASES:
        make_checkpoint(name)
    make_hard()


if __name__ == "__main__":
    main()
