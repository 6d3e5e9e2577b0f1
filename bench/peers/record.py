"""The lines that the comparisons write: one for each measured speed."""
import csv
import datetime
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

FIELDS = ["date", "machine", "processors", "load", "round", "program", "version", "flags", "model", "threads", "isa",
          "what", "context", "settings", "tokens_per_second", "share_of_peak", "resident_mib"]


def machine():
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {"machine": found.group(1) if found else os.uname().machine,
            "processors": len(os.sched_getaffinity(0))}


def quire_version(quire):
    """The version, and the commit of the tree that this script lies in."""
    version = subprocess.run([quire, "version"], check=True, capture_output=True, text=True).stdout.split()[1]
    commit = subprocess.run(["git", "-C", pathlib.Path(__file__).parent, "rev-parse", "--short", "HEAD"], check=False,
                            capture_output=True, text=True).stdout.strip()
    return f"{version} {commit}".strip()


def run(command):
    """The standard output of a command, and the most memory that it held, in MiB. Ends where it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            words = " ".join(map(str, command))
            raise SystemExit(f"{words}: exit status {process.returncode}\n{err.read().decode()}")
        return out.read().decode(), usage.ru_maxrss // 1024


class Writer:
    """Appends lines to a CSV file as they are measured, so that an interrupted comparison is not lost."""

    def __init__(self, path, **common):
        self.common = {"date": datetime.date.today().isoformat(), **machine(), **common}
        is_new = not os.path.exists(path) or os.path.getsize(path) == 0
        self.file = open(path, "a", newline="", encoding="utf-8")
        self.csv = csv.DictWriter(self.file, FIELDS, restval="")
        if is_new:
            self.csv.writeheader()

    def add(self, **line):
        line = {**self.common, "load": f"{os.getloadavg()[0]:.2f}", **line}
        self.csv.writerow(line)
        self.file.flush()
        print(f"{line['program']:10} {line['what']:7} {line['context']:>6}  "
              f"{float(line['tokens_per_second']):9.3f} tokens/s  {line.get('settings', '')}", flush=True)


def medians(lines):
    """{(isa, what, context): {program: (median, settings of the best median, number of runs, share of peak)}}
    Settings that were dropped after a round do not count: one lucky run is no median."""
    for field in ("machine", "model", "threads"):
        if len(found := {line[field] for line in lines}) > 1:
            raise SystemExit(f"runs with several values of '{field}' have no common median: {', '.join(sorted(found))}")
    runs = {}
    for line in lines:
        key = (line["isa"], line["what"], int(line["context"]), line["program"], line["settings"])
        runs.setdefault(key, []).append(line)
    most = {}
    for (*point, _), of_key in runs.items():
        most[tuple(point)] = max(len(of_key), most.get(tuple(point), 0))
    best = {}
    for (isa, what, context, program, settings), of_key in runs.items():
        if len(of_key) < most[isa, what, context, program]:
            continue
        speed = statistics.median(float(line["tokens_per_second"]) for line in of_key)
        shares = [float(line["share_of_peak"]) for line in of_key if line["share_of_peak"]]
        entry = (speed, settings, len(of_key), statistics.median(shares) if shares else None)
        programs = best.setdefault((isa, what, context), {})
        if program not in programs or speed > programs[program][0]:
            programs[program] = entry
    return best


def summary(paths):
    """A Markdown table: quire's median beside the best median of each peer, and their ratio."""
    lines = []
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            lines += list(csv.DictReader(file))
    rows = ["| kernels | what | context | quire | share of peak | peer | its best settings | ratio |",
            "|---|---|---|---|---|---|---|---|"]
    for (isa, what, context), programs in sorted(medians(lines).items()):
        ours = programs.get("quire")
        for name, (speed, settings, n_runs, _) in sorted(programs.items()):
            if name == "quire" or not ours:
                continue
            share = f"{100 * ours[3]:.0f} %" if ours[3] is not None else ""
            rows.append(f"| {isa} | {what} | {context} | {ours[0]:.2f} ({ours[2]} runs) | {share} | "
                        f"{name} {speed:.2f} ({n_runs} runs) | {settings} | {ours[0] / speed:.2f} |")
    return "\n".join(rows)
