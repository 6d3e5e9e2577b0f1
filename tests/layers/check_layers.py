#!/usr/bin/env python3
"""Checks the direction of calls: a folder includes its own headers, public ones, and those of the folders listed here."""
import pathlib
import re
import sys

ALLOWED = {  # folder: folders whose private headers it may include
    "base": [],
    "reader": ["base"],
    "model": ["base"],
    "tokenizer": ["base", "model"],
    "convert": ["base", "model", "tokenizer"],
    "kernels": ["base"],
    "kv": ["base"],
    "engine": ["base", "model", "kernels", "kv"],
    "train": ["base", "model", "kernels", "tokenizer", "convert"],
    "sample": ["base", "tokenizer"],
    "cli": [],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    problems, names = [], {}
    for folder, allowed in ALLOWED.items():
        base = root / "kv" if folder == "kv" else root / "src" / folder
        for path in sorted(base.glob("*.[ch]")):
            if path.name in names:
                problems.append(f"{path.relative_to(root)}: the file name is taken by {names[path.name]}")
            names[path.name] = path.relative_to(root)
            for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
                if "/" not in include:
                    if not (base / include).exists():
                        problems.append(f"{path.relative_to(root)}: no {include} in its folder")
                elif include.split("/")[0] not in ["quire", folder, *allowed]:
                    problems.append(f"{path.relative_to(root)}: {folder} may not include {include}")
    print("\n".join(problems) if problems else f"{len(names)} files follow the direction of calls")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
