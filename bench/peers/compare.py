#!/usr/bin/env python3
"""Quire and llama.cpp on one model, by turns: quire, llama.cpp, quire, llama.cpp, ...

    compare.py --quire QUIRE --llama LLAMA_BENCH --model GGUF --out FILE.csv [options]
    compare.py --summary FILE.csv...

llama.cpp runs with each combination of flash attention and micro-batch in the first round, and from then on with the best
of each kind of attention; its best median counts. Prefill is a whole reading of so many tokens from nothing, decoding is
behind so many tokens. Each speed is one line of the file, to which runs are added; --summary gives medians and ratios.
"""
import argparse
import csv
import json
import os
import pathlib

import record


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(word) for word in text.split(",") if word]
    parser.add_argument("--summary", nargs="+", metavar="CSV", help="only summarize these")
    parser.add_argument("--quire")
    parser.add_argument("--llama", help="llama-bench, as build_llama makes it")
    parser.add_argument("--model")
    parser.add_argument("--out")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", help="for quire --isa; llama.cpp has its own by its build")
    parser.add_argument("--prefill", type=numbers, default=[512, 2048, 8192], help="tokens to read")
    parser.add_argument("--depths", type=numbers, default=[0, 8192], help="tokens behind which to decode")
    parser.add_argument("--decode", type=int, default=32, help="tokens to decode at each depth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ubatch", type=numbers, default=[512, 1024, 2048], help="llama.cpp's micro-batches to try")
    parser.add_argument("--flash-attention", type=numbers, default=[0, 1], help="of llama.cpp, to try: off, on")
    options = parser.parse_args()
    if not options.summary and not (options.quire and options.llama and options.model and options.out):
        parser.error("--quire, --llama, --model and --out are needed")
    return options


class Quire:
    def __init__(self, options, writer):
        self.o, self.writer = options, writer
        self.version = record.quire_version(options.quire)

    def run(self, round_number, what, context):
        """One reading; at depth 0 a text of one token stands for the empty context."""
        n_decode = self.o.decode if what == "decode" else 0
        command = [self.o.quire, "bench", "-q", "--json", "-m", self.o.model, "--threads", str(self.o.threads),
                   "--contexts", str(max(context, 1)), "--decode", str(n_decode)]
        if self.o.isa:
            command += ["--isa", self.o.isa]
        out, _ = record.run(command)
        report = json.loads(out)
        row = report["rows"][-1]
        name = "decode" if what == "decode" else "read"
        self.writer.add(round=round_number, program="quire", version=self.version, what=what, context=context,
                        settings=f"{report['kernels']}, {report['kv_type']} KV",
                        tokens_per_second=f"{row[name + '_per_second']:.4f}",
                        share_of_peak=f"{row[name + '_share']:.4f}",
                        resident_mib=row["resident_bytes"] >> 20)


class Llama:
    def __init__(self, options, writer):
        self.o, self.writer = options, writer
        build = pathlib.Path(options.llama).resolve().parent.parent
        read = lambda name: (build / name).read_text(encoding="utf-8").strip() if (build / name).exists() else "unknown"
        self.flags, self.version = read("flags"), read("version")
        self.speeds = {}  # {(what, context): {(flash attention, micro-batch): speed in the first round}}

    def candidates(self, what, context):
        """In the first round all settings that differ, then the best one with flash attention and without."""
        known = self.speeds.get((what, context))
        if known:
            return [max((key for key in known if key[0] == fa), key=known.get) for fa in self.o.flash_attention]
        if what == "decode":
            return [(fa, 512) for fa in self.o.flash_attention]
        ubatches = [n for n in self.o.ubatch if n <= context] or self.o.ubatch[:1]
        return [(fa, n) for fa in self.o.flash_attention for n in ubatches]

    def run(self, round_number, what, context):
        """A warm-up would read the text twice: only short ones get it."""
        first = {}
        for fa, ubatch in self.candidates(what, context):
            n_prompt, n_gen, depth = (context, 0, 0) if what == "prefill" else (0, self.o.decode, context)
            command = [self.o.llama, "-m", self.o.model, "-t", str(self.o.threads), "-r", "1", "-o", "csv",
                       "-fa", str(fa), "-b", str(max(2048, ubatch)), "-ub", str(ubatch), "-p", str(n_prompt),
                       "-n", str(n_gen), "-d", str(depth)]
            if context > 1024:
                command.append("--no-warmup")
            out, resident = record.run(command)
            line = list(csv.DictReader(out.splitlines()))[-1]
            first[fa, ubatch] = float(line["avg_ts"])
            self.writer.add(round=round_number, program="llama.cpp", version=self.version, flags=self.flags, what=what,
                            context=context, settings=f"fa {fa}, ub {ubatch}, {line['type_k']} KV",
                            tokens_per_second=line["avg_ts"], resident_mib=resident)
        self.speeds.setdefault((what, context), first)


def main():
    options = arguments()
    if options.summary:
        print(record.summary(options.summary))
        return
    writer = record.Writer(options.out, model=os.path.basename(options.model), threads=options.threads,
                           isa=options.isa or "best")
    points = [("prefill", n) for n in options.prefill] + [("decode", n) for n in options.depths]
    programs = [Quire(options, writer), Llama(options, writer)]
    with open(options.model, "rb") as file:  # into the page cache, for both
        while file.read(1 << 24):
            pass
    for round_number in range(1, options.rounds + 1):
        for what, context in points:
            for program in programs:
                program.run(round_number, what, context)
    print(record.summary([options.out]))


if __name__ == "__main__":
    main()
