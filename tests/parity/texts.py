"""Texts that are hard on a tokenizer: what Unicode's normalisation can do, and seeded mixtures of everything.

Only code points that this Python's Unicode knows are drawn; others are the business of every_code_point()."""
import itertools
import random
import sys
import unicodedata

ALL = [c for c in map(chr, range(sys.maxunicode + 1)) if not "\ud800" <= c <= "\udfff"]
ASSIGNED = [c for c in ALL if unicodedata.category(c) != "Cn"]
MARKS = [c for c in ASSIGNED if unicodedata.combining(c)]
DECOMPOSED = [c for c in ASSIGNED if unicodedata.decomposition(c)]
SPACES = [c for c in ASSIGNED if c.isspace()]


def every_code_point():
    """Alone, and where the class of the character decides how its neighbours are cut."""
    for c in ALL:
        yield c
    for c in ALL:
        yield f"a{c}1 {c}b{c}{c} "


def decompositions():
    """Every character that has one, in all four forms, alone and between others; and its decomposition reordered."""
    for c in DECOMPOSED:
        forms = {c} | {unicodedata.normalize(form, c) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        for form in sorted(forms):
            yield form
            yield f"x{form}\u0301 {form}\u0323\u0308"
        parts = unicodedata.normalize("NFD", c)
        if len(parts) > 2:
            yield from (parts[0] + "".join(order) for order in itertools.permutations(parts[1:]))


def starters_and_marks():
    """Every starter that composes with something, followed by every combining mark."""
    starters = sorted({unicodedata.normalize("NFD", c)[0] for c in DECOMPOSED if unicodedata.normalize("NFD", c) != c})
    for starter in starters:
        for mark in MARKS:
            yield starter + mark


def pairs_of_marks():
    """Every pair of combining marks behind a letter that many of them compose with: reordering and blocking."""
    for first in MARKS:
        for second in MARKS:
            yield "o" + first + second


def hangul():
    """Leading, vowel and trailing jamo, and syllables before them, at and just outside the ranges that compose."""
    leading = [chr(c) for c in range(0x10FF, 0x1115)]
    vowels = [chr(c) for c in range(0x1160, 0x1178)]
    trailing = [chr(c) for c in range(0x11A7, 0x11C5)]
    yield from ("".join(t) for t in itertools.product(leading, vowels))
    yield from ("".join(t) for t in itertools.product(leading, vowels, trailing))
    for syllable in ("\uac00", "\uac01", "\ud788", "\ud7a3", "\ud7a4"):
        yield from (syllable + t for t in leading + vowels + trailing)
        yield from (syllable + "\u0323" + t for t in trailing)


WORDS = ("the of and I'll we're they've he'd don't 'tis 'S 'LL it's naïve Übermut señor keeper 1874 3.14 x86_64 "
         "http://a.b/c?d=e if(x){return y;} <html> \\n $5.00 50% ---- ... !? «quoted» \u201cso\u201d").split(" ")
SCRIPTS = [(0x20, 0x7E), (0xA1, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F),
           (0x5D0, 0x5F2), (0x621, 0x6D3), (0x904, 0x96F), (0x985, 0x9E3), (0xB85, 0xBD7), (0xE01, 0xE5B),
           (0xF40, 0xFBC), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13F5), (0x1780, 0x17F9),
           (0x1E00, 0x1FFE), (0x2010, 0x2070), (0x2070, 0x218B), (0x2190, 0x23FF), (0x3041, 0x30FF),
           (0x3300, 0x33FF), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFB4F),
           (0xFE20, 0xFE2F), (0xFF01, 0xFFEE), (0x10330, 0x1034A), (0x1D15E, 0x1D1C0), (0x1D400, 0x1D7FF),
           (0x20000, 0x20100), (0x2F800, 0x2FA1D)]
SCRIPTS = [[c for c in map(chr, range(low, high + 1)) if unicodedata.category(c) != "Cn"] for low, high in SCRIPTS]
EMOJI = ["\U0001F999", "\U0001F680", "\U0001F636\u200d\U0001F32B\ufe0f", "\u2705", "\U0001F1E9\U0001F1EA", "\u2764\ufe0f",
         "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F44D\U0001F3FD", "1\ufe0f\u20e3"]
SPECIAL = ["<|endoftext|>", "<|padding|>", "<|im_start|>", "<|im_end|>"]
LOOK_ALIKES = ["<|endoftext", "endoftext|>", "<|", "|>", "<|<|endoftext|>", "<|endoftext|>|>", "< |endoftext|>",
               "<|ENDOFTEXT|>", "<|endoftext\u200b|>", "<|endo\u0301ftext|>", "\uff1c|endoftext|>", "<|padding|", "<|im_",
               "<|endoftext|\u0338>", "<\u0338|endoftext|>", "<sep>", "cafe\u0301", "caf\u00e9"]


def mixtures(n, seed):
    """n strings of one to twelve pieces."""
    rng = random.Random(seed)
    choice = rng.choice
    makers = [
        lambda: choice(WORDS), lambda: choice(WORDS), lambda: " ", lambda: " ",
        lambda: " " * rng.randint(1, 40),
        lambda: "".join(rng.choices(SPACES, k=rng.randint(1, 4))),
        lambda: "\n" * rng.randint(1, 3) + " " * rng.randint(0, 9),
        lambda: "".join(rng.choices(choice(SCRIPTS), k=rng.randint(1, 6))),
        lambda: "".join(rng.choices(choice(SCRIPTS), k=rng.randint(1, 6))),
        lambda: choice(choice(SCRIPTS)) + "".join(rng.choices(MARKS, k=rng.randint(1, 5))),
        lambda: "".join(rng.choices(MARKS, k=choice((1, 2, 3, 40)))),
        lambda: unicodedata.normalize("NFD", choice(DECOMPOSED)),
        lambda: choice(DECOMPOSED),
        lambda: choice(EMOJI),
        lambda: "".join(map(chr, rng.choices(range(0x20), k=rng.randint(1, 3)))) + chr(rng.randint(0x7F, 0x9F)),
        lambda: choice(SPECIAL),
        lambda: choice(LOOK_ALIKES),
        lambda: choice("'\u2019") + choice(["s", "t", "re", "ve", "m", "ll", "d", "S", "RE", "\u017f", "x"]),
        lambda: "".join(rng.choices("0123456789", k=rng.randint(1, 9))),
        lambda: "".join(rng.choices(ASSIGNED, k=rng.randint(1, 3))),
    ]
    for _ in range(n):
        yield "".join(choice(makers)() for _ in range(rng.randint(1, 12)))
