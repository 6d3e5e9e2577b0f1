#!/usr/bin/env python3
"""Fetches public-domain books named in MANIFEST.tsv from Project Gutenberg into corpora/books/.

    fetch.py                   every book of the manifest that is not there yet
    fetch.py SLUG...           those named
    fetch.py --list            what the manifest has

The licence header and footer are cut off; the text is otherwise as the archive has it. Needs internet access. Be gentle:
it waits between books.
"""
import argparse
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ADDRESS = "https://www.gutenberg.org/cache/epub/{id}/pg{id}.txt"
START = re.compile(r"^\*\*\* ?START OF TH(E|IS) PROJECT GUTENBERG EBOOK.*$", re.M)
END = re.compile(r"^\*\*\* ?END OF TH(E|IS) PROJECT GUTENBERG EBOOK.*$", re.M)


def read_manifest():
    lines = (HERE / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()
    keys = lines[0].split("\t")
    return [dict(zip(keys, line.split("\t"))) for line in lines[1:]]


def cut(text):
    """The book between the archive's two marks."""
    start, end = START.search(text), END.search(text)
    if not start or not end or end.start() < start.end():
        raise ValueError("the marks around the text are missing")
    return text[start.end():end.start()].strip() + "\n"


def fetch(book, folder):
    with urllib.request.urlopen(ADDRESS.format(id=book["gutenberg_id"]), timeout=60) as answer:
        text = answer.read().decode("utf-8-sig").replace("\r\n", "\n")
    path = folder / (book["slug"] + ".txt")
    partial = path.with_suffix(".partial")
    partial.write_text(cut(text), encoding="utf-8")
    partial.rename(path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("slug", nargs="*", help="books to fetch (default: all)")
    parser.add_argument("--list", action="store_true", help="print the manifest and stop")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE / "books", help="where books go (%(default)s)")
    args = parser.parse_args()
    books = read_manifest()
    if args.list:
        for book in books:
            print(f"{book['slug']:45} {book['author']}: {book['title']}")
        return 0
    unknown = set(args.slug) - {book["slug"] for book in books}
    if unknown:
        parser.error("not in MANIFEST.tsv: " + ", ".join(sorted(unknown)))
    args.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for book in books:
        if (args.slug and book["slug"] not in args.slug) or (args.folder / (book["slug"] + ".txt")).exists():
            continue
        try:
            path = fetch(book, args.folder)
            print(f"{path} ({path.stat().st_size:,} bytes)")
        except (OSError, ValueError, urllib.error.URLError) as error:
            print(f"fetch.py: {book['slug']}: {error}", file=sys.stderr)
            failed += 1
        time.sleep(2)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
