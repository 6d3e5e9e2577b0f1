#!/usr/bin/env python3
"""Make the test data of this folder with HuggingFace `tokenizers` (0.23 was used).

Writes, under data/:
  tokenizer.json   a small GPT-NeoX-like tokenizer, trained on the text below
  vocab.gguf       the same vocabulary as a GGUF without tensors, with rows of padding behind it
  golden.json      seeded strings and their ids: `ids` with special tokens taken for text, `special` with them parsed

Only characters that Unicode had long ago are drawn (or such that are neither letter nor digit), so that the
answers do not
depend on which version of Unicode a library knows.
"""
import json
import pathlib
import random
import struct
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

DATA = pathlib.Path(__file__).parent / "data"
N_STRINGS = 500
N_PADDING = 12

TEXT = """\
The lighthouse keeper counted the waves, as he'd done each night since the others left. There wasn't much
else to count:
one lamp, two boots, three tins of tea, and the stairs, of which there were a hundred and twelve. "You'll go
mad up there,"
his sister had told him; "they've all gone mad." He hadn't. He'd grown quiet, that's all, and the quiet had
grown around him
like the weed around the landing stage. In the year 1874 the lamp had been made new; in 1899 they talked of
taking it down.

    for wave in waves:
        count += 1
        if count == 112:
            return None

On the thirtieth evening a boat came. It came without oars and without a sail, over water as flat as a plate,
and it stopped
where boats stop. The keeper went down, counting. Nobody was in it, but somebody had been: there was a coat,
still warm, and
in the coat a letter, and in the letter his own name, written in the hand that he'd had as a boy. We're
coming, it said.
I'm coming. Don't put out the light! He read it twice, then went up again, all the hundred and twelve, and
lit the lamp.

Der Wärter zählte die Wellen, wie jede Nacht. Café, naïve, façade, Übermut; il était une fois, señor, až příště.
Смотритель считал волны, как и каждую ночь. Ο φύλακας μετρούσε τα κύματα. 守る人は波を数えた。
"""
SPACES = ["\n\n", "\t\t", "\n \n"] * 20  # so that there are merges across them, which the pre-tokenizer must prevent
ADDED = ["<sep>", "cafe\u0301"]
SPECIAL = ["<|endoftext|>", "<|padding|>"]
CHAT = ["<|im_start|>", "<|im_end|>"]


def make_tokenizer():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.train_from_iterator([TEXT] + SPACES, trainer)
    tok.add_tokens([AddedToken(" " * n, special=False, normalized=True) for n in range(24, 1, -1)])
    tok.add_tokens([AddedToken(t, special=False, normalized=True) for t in ADDED])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CHAT])
    tok.save(str(DATA / "tokenizer.json"))
    return tok


def write_gguf(path, spec):
    """The keys that a tokenizer is read from; strings and arrays as GGUF version 3 has them."""
    def string(text):
        raw = text.encode()
        return struct.pack("<Q", len(raw)) + raw

    def array(element_type, items):
        return struct.pack("<IIQ", 9, element_type, len(items)) + b"".join(items)

    names = {i: t for t, i in spec["model"]["vocab"].items()}
    kinds = {}
    for added in spec["added_tokens"]:
        names[added["id"]] = added["content"]
        kinds[added["id"]] = 3 if added["special"] else 4
    n = len(names)
    for i in range(n, n + N_PADDING):
        names[i], kinds[i] = f"[PAD{i}]", 4 if i % 2 else 5
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    pairs = {
        "general.architecture": struct.pack("<I", 8) + string("mpt"),
        "tokenizer.ggml.model": struct.pack("<I", 8) + string("gpt2"),
        "tokenizer.ggml.pre": struct.pack("<I", 8) + string("mpt"),
        "tokenizer.ggml.tokens": array(8, [string(names[i]) for i in range(len(names))]),
        "tokenizer.ggml.token_type": array(5, [struct.pack("<i", kinds.get(i, 1)) for i in range(len(names))]),
        "tokenizer.ggml.merges": array(8, [string(m) for m in merges]),
    }
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
        for key, value in pairs.items():
            f.write(string(key) + value)


def strings():
    rng = random.Random(20240501)
    old = unicodedata.ucd_3_2_0
    known = [c for c in range(0x110000) if old.category(chr(c)) not in ("Cn", "Cs", "Co")]
    marks = [c for c in known if old.category(chr(c))[0] == "M"]
    composed = [c for c in known if old.decomposition(chr(c)) and not old.decomposition(chr(c)).startswith("<")]
    spaces = [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
    late_marks = [0x1DF6, 0x08D3, 0x0EBA, 0x1E2EC, 0x11938, 0x11930, 0x16D67, 0x1E4EC]
    scripts = [(0x20, 0x7E), (0xA1, 0x17F), (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A),
               (0x905, 0x94D), (0xE01, 0xE3A), (0x1100, 0x1112), (0x1161, 0x1175), (0x11A7, 0x11C2), (0x3041, 0x3093),
               (0x4E00, 0x9FA5),
               (0xAC00, 0xD7A3), (0x2010, 0x2026), (0x2070, 0x208E), (0x660, 0x669), (0x2160, 0x2183)]
    words = TEXT.split() + ["'s", "'S", "'re", "'ve", "'ll", "'d", "'m", "'t", "'r", "'v", "'l", "''s", "x's", "I'LL",
                            "'"]
    looks = SPECIAL + CHAT + ADDED + ["caf\u00e9", "<|endoftext", "|>", "<|", "<|im_", "<sep", "sep>",
                                      "<|<|im_end|>", "\u0338"]
    emoji = ["\U0001F999", "\U0001F680", "\U0001F636\u200D\U0001F32B\uFE0F", "\u2705", "\U0001F1E9\U0001F1EA"]

    def piece():
        kind = rng.randrange(13)
        if kind < 3:
            return rng.choice(words)
        if kind == 3:
            return " " * rng.randint(1, 40)
        if kind == 4:
            return " "
        if kind == 5:
            return "".join(chr(rng.choice(spaces)) for _ in range(rng.randint(1, 3)))
        if kind == 6:
            return "".join(chr(rng.choice(marks + 20 * late_marks)) for _ in range(rng.choice((1, 2, 3, 25))))
        if kind == 7:
            return unicodedata.normalize("NFD", chr(rng.choice(composed)))
        if kind == 8:
            return chr(rng.choice(composed))
        if kind == 9:
            return rng.choice(looks)
        if kind == 10:
            low, high = rng.choice(scripts)
            return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 5)))
        if kind == 11:
            return rng.choice(emoji)
        return "".join(chr(rng.randrange(0x20)) for _ in range(rng.randint(1, 3)))

    fixed = ["", " ", "  ", "\n", "a", "'", "'r", "<", "<|endoftext|>", "\u0301", "e\u0301", "\u212b", "\ufb01",
             "a \u0301", " " * 24, " " * 25, " " * 49, "x" + " " * 40 + "y", "\n  x", "  \n", "\uac00\u11a8",
             "\uac00\u11a7", "\ufeffBOM", "\t\tx", "\n\nx", "\n\n x", "\t\t\tx", "\n \nx", "\n \n"]
    return fixed + ["".join(piece() for _ in range(rng.randint(1, 12))) for _ in range(N_STRINGS - len(fixed))]


def main():
    DATA.mkdir(exist_ok=True)
    tok = make_tokenizer()
    write_gguf(DATA / "vocab.gguf", json.loads((DATA / "tokenizer.json").read_text()))
    cases = []
    for text in strings():
        tok.encode_special_tokens = True
        ids = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        cases.append({"text": text, "ids": ids, "special": tok.encode(text, add_special_tokens=False).ids})
    with open(DATA / "golden.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(f"{tok.get_vocab_size()} tokens, {len(cases)} strings")


if __name__ == "__main__":
    main()
