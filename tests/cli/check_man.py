#!/usr/bin/env python3
"""Checks the man pages against the program's table of options.

    check_man.py QUIRE MAN_FOLDER options    each command's page names each of its options, with its letter and its
                                             value, and no others; the sections that every page owes are there
    check_man.py MAN_FOLDER lint             mandoc finds nothing to say (77 where there is no mandoc)
"""
import pathlib
import re
import shutil
import subprocess
import sys

SECTIONS_1 = ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]
SECTIONS_3 = ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUES", "EXAMPLES", "ERRORS", "SEE ALSO"]
SECTIONS_7 = ["NAME", "DESCRIPTION", "SEE ALSO"]
IN_QUIRE_1 = ["help", "version"]  # small enough to need no page of their own


def table(quire):
    """{command: {--name: (letter or -, argument or -)}}"""
    options = {}
    listing = subprocess.run([quire, "--list-options"], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        command, name, letter, argument = line.split("\t")
        options.setdefault(command, {})[name] = (letter, argument)
    return options


def page_options(text):
    """The same from the .It lines of a page."""
    options = {}
    for line in re.findall(r"^\.It (Fl .*)$", text, re.M):
        long = re.search(r"Fl -(\S+)(?: Ar (\S+))?", line)
        letter = re.search(r"Fl (\w)\b", line)
        if long:
            options["--" + long.group(1)] = (letter.group(1) if letter else "-", long.group(2) or "-")
    return options


def check_options(quire, folder):
    problems = []
    for command, wanted in table(quire).items():
        page = "quire.1" if command in IN_QUIRE_1 else f"quire-{command}.1"
        path = folder / page
        if not path.exists():
            problems.append(f"{page}: missing")
            continue
        text = path.read_text(encoding="utf-8")
        found = page_options(text)
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                problems.append(f"{page}: does not describe {name}")
            elif name not in wanted:
                problems.append(f"{page}: describes {name}, which '{command}' does not take")
            elif found[name] != wanted[name]:
                problems.append(f"{page}: {name} is {found[name]}, the program has {wanted[name]}")
        if command not in (folder / "quire.1").read_text(encoding="utf-8"):
            problems.append(f"quire.1: does not name the command {command}")
    owed = {".1": SECTIONS_1, ".3": SECTIONS_3, ".7": SECTIONS_7}
    for path in sorted(folder.glob("*.[137]")):
        sections = re.findall(r'^\.Sh (.*)$', path.read_text(encoding="utf-8"), re.M)
        for section in owed[path.suffix]:
            if section not in sections:
                problems.append(f"{path.name}: has no section {section}")
    return problems


def check_lint(folder):
    if not shutil.which("mandoc"):
        print("skip: mandoc is not installed")
        sys.exit(77)
    problems = []
    for path in sorted(folder.glob("*.[1357]")):
        result = subprocess.run(["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True, check=False)
        problems += result.stdout.splitlines()
    return problems


def main():
    if len(sys.argv) == 4 and sys.argv[3] == "options":
        problems = check_options(sys.argv[1], pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 3 and sys.argv[2] == "lint":
        problems = check_lint(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(__doc__)
    print("\n".join(problems) if problems else "the man pages are in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
