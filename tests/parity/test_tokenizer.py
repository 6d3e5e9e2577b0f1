"""The ids of HuggingFace tokenizers, on books, on what Unicode's normalisation can do, and on a million random strings;
and that decoding gives the normalised text back."""
import ctypes
import ctypes.util
import itertools
import re
import unicodedata

import tokenizers

import parity
import texts

PEER = "tokenizers " + tokenizers.__version__
SMALL = parity.SOURCE / "tests" / "tokenizer" / "data" / "tokenizer.json"
BATCH = 20000


def batches(strings):
    strings = iter(strings)
    while batch := list(itertools.islice(strings, BATCH)):
        yield batch


def known(text):
    return all(unicodedata.category(c) != "Cn" for c in text)


class Tokenizer(parity.Case):
    def setUp(self):
        super().setUp()
        library = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
        library.utf8proc_unicode_version.restype = ctypes.c_char_p
        self.versions = (f"Unicode {library.utf8proc_unicode_version().decode()} in utf8proc, "
                         f"{unicodedata.unidata_version} in Python")

    @staticmethod
    def normalised(peer, text, special):
        """NFC, of each stretch between special tokens; special: their names as a pattern, None where they are text."""
        if not special:
            return peer.normalizer.normalize_str(text)
        return "".join(part if special.fullmatch(part) else peer.normalizer.normalize_str(part)
                       for part in special.split(text))

    @staticmethod
    def given_back(decoded, respelled):
        """An added token that is matched in normalised text decodes to its own spelling, normalised or not."""
        text = decoded.decode()
        for spelling, normal in respelled:
            text = text.replace(spelling, normal)
        return text

    def check(self, case, path, strings, special=False):
        """Records how many strings differ; those with characters that Python's Unicode does not know on their own."""
        peer = tokenizers.Tokenizer.from_file(str(path))
        peer.encode_special_tokens = not special
        added = [t.content for t in peer.get_added_tokens_decoder().values() if t.normalized]
        respelled = [(t, peer.normalizer.normalize_str(t)) for t in added if peer.normalizer.normalize_str(t) != t]
        names = [re.escape(t.content) for t in peer.get_added_tokens_decoder().values() if t.special]
        pattern = re.compile("(" + "|".join(names) + ")") if special else None
        n = n_ids = 0
        wrong, lost, unknown = [], [], set()
        for batch in batches(strings):
            answers = parity.encode_many(path, batch, special)
            for text, want, (ids, decoded) in zip(batch, peer.encode_batch(batch, add_special_tokens=False), answers):
                n += 1
                n_ids += len(ids)
                if ids == want.ids and self.given_back(decoded, respelled) == self.normalised(peer, text, pattern):
                    continue
                if not known(text):
                    unknown.update(c for c in text if not known(c))
                elif ids != want.ids:
                    wrong.append((text, ids, want.ids))
                else:
                    lost.append((text, decoded))
        for text, *rest in (wrong + lost)[:20]:
            print(f"differs: {text!r}: {rest}")
        print(f"{case}: {n} strings, {n_ids} ids; {self.versions}")
        if unknown:
            print(f"{case}: {len(unknown)} characters newer than Python's Unicode are treated otherwise: "
                  + " ".join(f"U+{ord(c):04X}" for c in sorted(unknown)))
        self.record(PEER, case, f"strings of {n} with other ids", len(wrong), 0)
        self.record(PEER, case, f"texts of {n} not given back", len(lost), 0)

    def test_books(self):
        path = parity.test_data("tokenizer/20B_tokenizer.json")
        peer = tokenizers.Tokenizer.from_file(str(path))
        peer.encode_special_tokens = True
        books = sorted(parity.test_data("corpora/books").glob("*.txt"))
        n_ids, wrong = 0, []
        for book in books:
            ids = [int(line) for line in parity.quire("tokenize", "-q", "-m", path, book).split()]
            n_ids += len(ids)
            if ids != peer.encode(book.read_bytes().decode(), add_special_tokens=False).ids:
                wrong.append(book.name)
        print(f"books: {len(books)} books, {n_ids} ids; other ids in: {wrong}")
        self.record(PEER, "books", f"of {len(books)} with other ids", len(wrong), 0)

    def test_unicode(self):
        path = parity.test_data("tokenizer/20B_tokenizer.json")
        for case in ("every_code_point", "decompositions", "starters_and_marks", "pairs_of_marks", "hangul"):
            with self.subTest(case):
                self.check(case.replace("_", " "), path, getattr(texts, case)())

    def test_random(self):
        path = parity.test_data("tokenizer/20B_tokenizer.json")
        self.check("random, as text", path, texts.mixtures(500000, 1))
        self.check("random, special tokens parsed", path, texts.mixtures(500000, 2), special=True)

    def test_random_small_vocabulary(self):
        self.check("small vocabulary, as text", SMALL, texts.mixtures(50000, 3))
        self.check("small vocabulary, special tokens parsed", SMALL, texts.mixtures(50000, 4), special=True)


if __name__ == "__main__":
    parity.main()
