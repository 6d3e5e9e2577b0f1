#!/usr/bin/env python3
"""Writes a long synthetic text from a seed: chapters of plain English sentences, the same bytes on every machine.

    generate.py --words 60000 > novel.txt
    generate.py --words 60000 --needle 0.25 --needle 0.75 > haystack.txt

A needle is a sentence with a number that nothing else in the text tells, at a fraction of its length; the needles and where
they stand are listed on standard error. For benchmarks and tests of long contexts, not for reading.
"""
import argparse
import random
import sys

NAMES = ("Agnes Barnaby Clara Dorian Edith Frederick Gwendolen Horace Isabel Jasper Lydia Matthew Nora Oliver Phoebe "
         "Rupert Sybil Tobias Ursula Walter").split()
PLACES = ("harbour orchard library kitchen churchyard railway mill garden staircase market lighthouse attic bridge "
          "schoolroom ferry workshop meadow cellar parlour stable").split()
THINGS = ("lantern letter clock ledger umbrella key portrait kettle map violin ladder trunk candle basket mirror ribbon "
          "compass blanket bell almanac").split()
QUALITIES = ("old narrow silent bright broken heavy forgotten polished crooked yellow damp cheerful borrowed curious "
             "faded iron patient small careful dusty").split()
VERBS = ("carried hid mended remembered dropped admired borrowed lost examined counted covered promised wrapped weighed "
         "recognised described").split()
WHEN = ["In the morning", "Before supper", "When the tide had turned", "Some weeks afterwards", "Towards midnight",
        "On the following day", "While it rained", "After the fair", "At the end of the winter", "Long before that"]
HOW = ["slowly", "at once", "without a word", "in spite of the rain", "with great care", "for the second time",
       "as if in a dream", "to everyone's surprise", "and thought no more of it", "and laughed"]


def sentence(rng):
    name, other = rng.sample(NAMES, 2)
    thing = f"the {rng.choice(QUALITIES)} {rng.choice(THINGS)}"
    place = f"the {rng.choice(QUALITIES)} {rng.choice(PLACES)}"
    verb, how = rng.choice(VERBS), rng.choice(HOW)
    kind = rng.randrange(6)
    if kind == 0:
        return f"{name} {verb} {thing} in {place}, {how}."
    if kind == 1:
        return f"{rng.choice(WHEN)}, {name} and {other} went down to {place}, where {thing} was waiting for them."
    if kind == 2:
        return f'"I have not seen {thing} since we left {place}," said {name}, {how}.'
    if kind == 3:
        return f"{rng.choice(WHEN)} {other} {verb} {thing}, and {name} never asked why."
    if kind == 4:
        return f'"And who {verb} it?" asked {other}. "{name} did," was the answer.'
    return f"There was {rng.choice(['a light', 'no one', 'a smell of smoke', 'a sound of bells'])} in {place} that night."


def text(rng, n_words, needles):
    """Yields paragraphs; needles are (fraction, sentence), ascending."""
    written, chapter, pending = 0, 0, list(needles)
    while written < n_words:
        if written >= chapter * 4000:
            chapter += 1
            yield f"CHAPTER {chapter}"
        sentences = [sentence(rng) for _ in range(rng.randint(2, 7))]
        if pending and written >= pending[0][0] * n_words:
            sentences.insert(rng.randrange(len(sentences) + 1), pending.pop(0)[1])
        paragraph = " ".join(sentences)
        written += len(paragraph.split())
        yield paragraph


def fraction(value):
    number = float(value)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError("expected a number from 0 up to, but not, 1")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--words", type=int, default=60000, help="length (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another text (%(default)s)")
    parser.add_argument("--needle", type=fraction, action="append", default=[], metavar="FRACTION",
                        help="plant a needle there; may be repeated")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    needles = []
    for position in sorted(args.needle):
        name, number = rng.choice(NAMES), rng.randint(10000, 99999)
        needles.append((position, f"The secret number of {name} is {number}."))
        print(f"{position}\t{needles[-1][1]}", file=sys.stderr)
    for paragraph in text(rng, args.words, needles):
        sys.stdout.write(paragraph + "\n\n")


if __name__ == "__main__":
    main()
