#!/usr/bin/env python3
"""Turn a folder of hard-wrapped books into clean text, and split it.

Every *.txt in BOOKS becomes OUT/train/SLUG.txt or OUT/heldout/SLUG.txt: one
line per paragraph, one blank line between paragraphs, NFC, no italics marks,
no front matter.  Verse and other short lines keep their line breaks.  The
split goes by a hash of the file name, so it does not depend on what else is
in the folder.
"""
import argparse
import hashlib
import pathlib
import re
import statistics
import unicodedata

SHORT_LINE = 50      # a block whose usual line is shorter keeps its line breaks
PROSE_CHARS = 200    # the first paragraph this long ends the front matter

PICTURE = re.compile(r"\[\s*(illustration|frontispiece|picture)[^\]]*\]", re.I)
NOTE_MARK = re.compile(r"\[\d+\]|\{\d+\}")
THE_END = re.compile(r"(the end|finis)\.?", re.I)


def is_held_out(slug):
    """About one book in six, always the same ones."""
    return int(hashlib.sha256(slug.encode()).hexdigest(), 16) % 6 == 0


def join_block(lines):
    """One block of the source (lines between blank lines) as clean text."""
    lines = [" ".join(line.split()) for line in lines]
    lines = [line for line in lines if line]
    if not lines:
        return ""
    full = lines[:-1]
    if full and statistics.median(map(len, full)) < SHORT_LINE:
        return "\n".join(lines)
    text = lines[0]
    for line in lines[1:]:
        hyphenated = re.search(r"\w-$", text) and line[0].isalpha()
        text += line if hyphenated else " " + line
    return text


def is_prose(block):
    return ("\n" not in block and len(block) >= PROSE_CHARS
            and block.rstrip("\"'”’)_ ")[-1:] in tuple(".!?:;"))


def drop_front_matter(blocks):
    """Start at the first long paragraph and the few headings right above it."""
    first = next((i for i, b in enumerate(blocks) if is_prose(b)), 0)
    start = first
    while start > 0 and first - start < 2 and len(blocks[start - 1]) < 60:
        start -= 1
    return blocks[start:]


def drop_back_matter(blocks):
    """Cut what follows a THE END near the end of the book."""
    for i in range(int(len(blocks) * 0.9), len(blocks)):
        if THE_END.fullmatch(blocks[i].strip()):
            return blocks[:i + 1]
    return blocks


def clean(text):
    text = unicodedata.normalize("NFC", text.lstrip("\ufeff"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = PICTURE.sub("", text)
    text = NOTE_MARK.sub("", text)
    raw = re.split(r"\n[ \t]*\n", text)
    blocks = [join_block(block.split("\n")) for block in raw]
    blocks = [block for block in blocks if re.search(r"\w", block)]
    blocks = drop_back_matter(drop_front_matter(blocks))
    text = "\n\n".join(blocks)
    text = re.sub(r"(?<!_)_(?!_)", "", text)
    return text + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("books", type=pathlib.Path, help="folder with one .txt file per book")
    ap.add_argument("out", type=pathlib.Path, help="folder to write to")
    args = ap.parse_args()

    rows = []
    for path in sorted(args.books.glob("*.txt")):
        part = "heldout" if is_held_out(path.stem) else "train"
        text = clean(path.read_text(encoding="utf-8"))
        target = args.out / part / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        rows.append((path.stem, part, len(text.encode())))
    with open(args.out / "split.tsv", "w", encoding="utf-8") as f:
        f.write("slug\tpart\n")
        f.writelines(f"{slug}\t{part}\n" for slug, part, _ in rows)
    for part in ("train", "heldout"):
        sizes = [size for _, p, size in rows if p == part]
        print(f"{part}: {len(sizes)} books, {sum(sizes):,} bytes")


if __name__ == "__main__":
    main()
