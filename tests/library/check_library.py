#!/usr/bin/env python3
"""Installs the library into a folder of its own, and builds and runs the example of quire(3) against what lies there.

    check_library.py SOURCES CMAKE BUILD NM CC...

The example has to compile with the command CC..., link with what pkg-config says, and go on with a text. Where NM is not
empty, the static library's names are listed with it: all that others can see begin with quire_.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def example_of(page):
    block = re.search(r"^\.Bd -literal\n(.*?)^\.Ed$", page.read_text(encoding="utf-8"), re.M | re.S)
    if not block:
        sys.exit(f"{page}: has no example")
    return block.group(1).replace("\\e", "\\")


def main():
    sources, cmake, build, nm, *compiler = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        run(cmake, "--install", build, "--prefix", work / "usr")
        [pc_file] = (work / "usr").glob("**/quire.pc")
        library = next((work / "usr").glob("**/libquire.*"))
        # The file names the prefix that the build was made for; this one is elsewhere.
        pkg_config = ["pkg-config", f"--define-variable=prefix={work / 'usr'}",
                      f"--define-variable=libdir={library.parent}", f"--define-variable=includedir={work / 'usr/include'}"]
        environment = dict(os.environ, PKG_CONFIG_PATH=str(pc_file.parent), LD_LIBRARY_PATH=str(library.parent))
        flags = run(*pkg_config, "--cflags", "--libs", "quire", env=environment).split()

        (work / "example.c").write_text(example_of(pathlib.Path(sources) / "man/quire.3"), encoding="utf-8")
        run(*compiler, work / "example.c", "-o", work / "example", *flags)
        [model] = (work / "usr").glob("**/storyteller.gguf")
        text = run(work / "example", model, env=environment)
        if not text.strip():
            sys.exit("the example wrote nothing")

        if nm:
            names = re.findall(r"^\w+ [A-Z] (\w+)$", run(nm, "--defined-only", "--extern-only", library), re.M)
            others = [name for name in names if not name.startswith("quire_")]
            if others or not names:
                sys.exit(f"{library.name}: of {len(names)} global names these are not its own: {others[:10]}")
    print("the example of quire(3) builds against the installed library, and writes")


if __name__ == "__main__":
    main()
