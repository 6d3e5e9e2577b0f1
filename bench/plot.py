#!/usr/bin/env python3
"""Draws speed against context, reading and decoding side by side, from one or more CSV files.

    plot.py -o PICTURE.svg FILE.csv...       .svg or .png

Takes what `quire bench --csv` writes, and what bench/peers/compare.py writes (medians; of a peer its best settings).
Needs matplotlib (Debian: python3-matplotlib)."""
import argparse
import csv
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
import record  # noqa: E402

import matplotlib  # noqa: E402

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "quire"  # the same data give the same file
from matplotlib import pyplot, ticker  # noqa: E402


def bench_curves(lines, path):
    """{(what, label): [(context, speed)]} of `quire bench --csv`."""
    curves = {}
    for line in lines:
        label = f"{line['program'].split()[0]}, {line['kernels']}, {line['kv_type']} KV"
        for what, field in (("prefill", "read_per_second"), ("decode", "decode_per_second")):
            if line[field]:
                curves.setdefault((what, label), []).append((int(line["context"]), float(line[field])))
    if not curves:
        raise SystemExit(f"{path}: there is no speed in it")
    return curves


def peer_curves(lines):
    """The same of bench/peers/compare.py."""
    curves = {}
    for (isa, what, context), programs in sorted(record.medians(lines).items()):
        for program, (speed, _, _, _) in programs.items():
            label = program if isa == "best" else f"{program}, {isa}"
            curves.setdefault((what, label), []).append((max(context, 1), speed))
    return curves


def read_curves(paths):
    curves = {}
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        if not lines:
            raise SystemExit(f"{path}: no lines")
        for key, points in (peer_curves(lines) if "settings" in lines[0] else bench_curves(lines, path)).items():
            what, label = key
            while (what, label) in curves:  # a second file of the same kind
                label += " (" + pathlib.Path(path).stem + ")"
            curves[what, label] = points
    return curves


def draw(curves, out, title):
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    labels = sorted({label for _, label in curves})
    for panel, what, name in ((axes[0], "prefill", "reading"), (axes[1], "decode", "decoding")):
        for label, points in sorted((label, points) for (kind, label), points in curves.items() if kind == what):
            color = f"C{labels.index(label) % 10}"
            style = "-" if label.startswith("quire") else "--"
            contexts, speeds = zip(*sorted(points))
            panel.plot(contexts, speeds, style, marker="o", markersize=4, color=color, label=label)
        panel.set_xscale("log", base=2)
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        panel.tick_params(axis="x", labelrotation=45)
        panel.set_title(name)
        panel.set_xlabel("context, tokens")
        panel.set_ylabel("tokens per second")
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize="small")
    if title:
        figure.suptitle(title)
    figure.savefig(out, dpi=130, metadata={"Date": None} if out.endswith(".svg") else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--title", default="")
    parser.add_argument("files", nargs="+", metavar="CSV")
    options = parser.parse_args()
    draw(read_curves(options.files), options.out, options.title)


if __name__ == "__main__":
    main()
