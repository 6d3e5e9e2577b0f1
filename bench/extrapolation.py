#!/usr/bin/env python3
"""How well a model predicts the next token by how much it has read: beyond the context that it was trained on, too.

    extrapolation.py --quire QUIRE --model NAME=PATH... --out FOLDER TEXT...            the loss by position
    extrapolation.py --recall ... TEXT...                                               and what is found again by distance

The loss: mean negative log-likelihood in nats, in buckets of position that double in width, over the texts, for each model,
type of keys and values, and bound of the certified stop. Neighbouring tokens are not independent, so that the standard
error is that of the means of stretches of 64 tokens.

Recall: a made-up name or a number is put into the first text; so many tokens later the text says what calls for it again.
The gain is how many nats a token it is better predicted than in the same text without the first mention. Nothing is gained
where the model cannot look back so far.

FOLDER gets loss.csv, loss.svg, recall.csv and recall.svg. Drawing needs matplotlib (Debian: python3-matplotlib)."""
import argparse
import collections
import csv
import json
import math
import pathlib
import subprocess
import sys

STRETCH = 64  # tokens whose losses count as one observation


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")
    parser.add_argument("--quire", required=True)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--kv-type", type=words, default=["bf16"], metavar="TYPE,...")
    parser.add_argument("--attn-eps", type=words, default=["default"], metavar="E,...", help="'default', 0, ...")
    parser.add_argument("--tokens", type=int, default=84000, help="read so many tokens of each text at most")
    parser.add_argument("--recall", action="store_true")
    parser.add_argument("--distances", type=lambda t: [int(n) for n in t.split(",")],
                        default=[2 ** n for n in range(6, 15)])
    parser.add_argument("--out", required=True, metavar="FOLDER")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    options = parser.parse_args()
    options.models = [model.partition("=")[::2] for model in options.model]
    return options


def run(command, text):
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stderr.decode()}")
    return done.stdout.decode(errors="replace")


def score(options, model, text, kv_type="bf16", attn_eps="default", tokens=None):
    """[negative log-likelihood] of tokens 1, 2, ... of the text."""
    command = [options.quire, "score", "-q", "--per-token", "-m", model, "--kv-type", kv_type]
    command += [] if attn_eps == "default" else ["--attn-eps", attn_eps]
    command += ["--head", tokens] if tokens else []
    lines = run(command + ["-"], text).splitlines()
    return [-float(line.split("\t")[2]) for line in lines if line.count("\t") == 2 and line.split("\t")[2] not in ("", "-")]


def contexts(options, model):
    """(the context that it was trained on, the most that it can read): learned positions end, ALiBi's do not."""
    configuration = json.loads(run([options.quire, "info", "--json", "-m", model], b""))["configuration"]
    trained = configuration["max_seq_len"]
    return trained, trained if configuration["learned_pos_emb"] else sys.maxsize


# --- the loss by position --------------------------------------------------------------------------------------------

def bucket_of(position):
    """(first, end) of the bucket: 1 to 63, 64 to 127, 128 to 255, ..."""
    first = STRETCH
    while position >= 2 * first:
        first *= 2
    return (1, STRETCH) if position < STRETCH else (first, 2 * first)


def by_bucket(losses_of_texts):
    """{bucket: (mean, standard error, tokens)}"""
    stretches = collections.defaultdict(list)
    for losses in losses_of_texts:
        for start in range(0, len(losses), STRETCH):
            stretch = losses[start:start + STRETCH]
            stretches[bucket_of(max(start, 1))].append((sum(stretch), len(stretch)))
    rows = {}
    for bucket, parts in sorted(stretches.items()):
        n = sum(count for _, count in parts)
        mean = sum(total for total, _ in parts) / n
        spread = sum((total / count - mean) ** 2 for total, count in parts)
        error = math.sqrt(spread / (len(parts) - 1) / len(parts)) if len(parts) > 1 else math.nan
        rows[bucket] = (mean, error, n)
    return rows


def measure_losses(options):
    fields = ["model", "kv_type", "attn_eps", "trained_context", "first", "end", "tokens", "nats", "standard_error"]
    path = pathlib.Path(options.out, "loss.csv")
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fields)
        out.writeheader()
        for name, model in options.models:
            trained, most = contexts(options, model)
            for kv_type in options.kv_type:
                for eps in options.attn_eps:
                    losses = [score(options, model, pathlib.Path(text).read_bytes(), kv_type, eps,
                                    min(options.tokens, most))
                              for text in options.texts]
                    for (first, end), (mean, error, n) in by_bucket(losses).items():
                        out.writerow({"model": name, "kv_type": kv_type, "attn_eps": eps, "trained_context": trained,
                                      "first": first, "end": end, "tokens": n, "nats": f"{mean:.6f}",
                                      "standard_error": f"{error:.6f}"})
                    file.flush()
                    print(f"{name}, {kv_type}, {eps}: {sum(map(len, losses)):,} tokens, "
                          f"{sum(map(sum, losses)) / sum(map(len, losses)):.4f} nats", file=sys.stderr)
    return path


# --- what is found again ---------------------------------------------------------------------------------------------

NAMES = ["Thorbury Quillfeather", "Ysolde Brackenmoor", "Ambrose Winterhalt", "Philippa Oxenvale", "Cornelius Drewitt"]
PASSKEYS = ["71934", "40286", "95517", "28063", "66148"]
MENTIONS = {
    "name": [(f"The stranger said that he was called {name}, and nothing more.",
              f"Then somebody at the door asked once more for {name.split()[0]}", " " + name.split()[1])
             for name in NAMES],
    "passkey": [(f"The pass key is {key}. Remember it. {key} is the pass key.", "What is the pass key? The pass key is",
                 " " + key) for key in PASSKEYS],
}


def paragraphs(text):
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def n_tokens(options, model, text):
    return len(run([options.quire, "tokenize", "-q", "-m", model, "-"], text.encode()).split())


def filler_of(options, model, text, distance, skip):
    """`distance` tokens of a text, without the paragraphs before `skip`."""
    rest = "\n\n".join(paragraphs(text)[skip:])
    ids = run([options.quire, "tokenize", "-q", "-m", model, "-"], rest.encode()).split()
    if len(ids) < distance:
        raise SystemExit(f"the text has {len(ids)} tokens behind paragraph {skip}, and {distance} are needed")
    return run([options.quire, "detokenize", "-q", "-m", model], "\n".join(ids[:distance]).encode())


def loss_of_end(options, model, text, end):
    """Nats a token of `end` behind `text`."""
    losses = score(options, model, (text + end).encode())
    n_end = n_tokens(options, model, text + end) - n_tokens(options, model, text)
    return sum(losses[-n_end:]) / n_end


def measure_recall(options):
    fields = ["model", "what", "trained_context", "distance", "cases", "gain_nats", "standard_error", "nats_with"]
    path = pathlib.Path(options.out, "recall.csv")
    text = pathlib.Path(options.texts[0]).read_text(encoding="utf-8")
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, fields)
        out.writeheader()
        for name, model in options.models:
            trained, most = contexts(options, model)
            for distance in [n for n in options.distances if n < most - 512]:
                for what, cases in MENTIONS.items():
                    gains, withs = [], []
                    for i, (mention, call, answer) in enumerate(cases):
                        between = filler_of(options, model, text, distance, 20 + 7 * i)
                        behind = f"\n\n{between}\n\n{call}"
                        start = "\n\n".join(paragraphs(text)[10:14])
                        loss = loss_of_end(options, model, f"{start}\n\n{mention}{behind}", answer)
                        withs.append(loss)
                        gains.append(loss_of_end(options, model, f"{start}{behind}", answer) - loss)
                    mean = sum(gains) / len(gains)
                    error = math.sqrt(sum((g - mean) ** 2 for g in gains) / (len(gains) - 1) / len(gains))
                    out.writerow({"model": name, "what": what, "trained_context": trained, "distance": distance,
                                  "cases": len(gains), "gain_nats": f"{mean:.4f}", "standard_error": f"{error:.4f}",
                                  "nats_with": f"{sum(withs) / len(withs):.4f}"})
                    file.flush()
                    print(f"{name}, {what}, {distance:,} tokens back: gain {mean:.3f} nats a token", file=sys.stderr)
    return path


# --- pictures --------------------------------------------------------------------------------------------------------

def curves_of(path, x_field, y_field, label_fields):
    curves = collections.defaultdict(list)
    trained = {}
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            label = ", ".join(line[field] for field in label_fields if line[field] != "default")
            x = float(line[x_field])
            if x_field == "first":
                x = math.sqrt(max(x, 1) * float(line["end"]))
            curves[label].append((x, float(line[y_field]), float(line["standard_error"])))
            trained[label] = int(line["trained_context"])
    return curves, trained


def draw(path, x_field, y_field, label_fields, x_name, y_name):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "quire"  # the same data give the same file
    from matplotlib import pyplot, ticker
    curves, trained = curves_of(path, x_field, y_field, label_fields)
    figure, panel = pyplot.subplots(figsize=(8, 4.6), constrained_layout=True)
    contexts = sorted(set(trained.values()))
    for i, (label, points) in enumerate(sorted(curves.items())):
        x, y, error = zip(*points)
        panel.errorbar(x, y, yerr=[0 if math.isnan(e) else e for e in error], marker="o", markersize=4, capsize=2,
                       color=f"C{i % 10}", label=label)
    for context in contexts:
        panel.axvline(context, color="grey", linestyle=":", linewidth=1)
        panel.annotate(f"trained on {context:,} ", (context, 1), xycoords=("data", "axes fraction"), va="top",
                       ha="right", fontsize="small", color="grey")
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    panel.set_xlabel(x_name)
    panel.set_ylabel(y_name)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)


def main():
    options = arguments()
    pathlib.Path(options.out).mkdir(parents=True, exist_ok=True)
    draw(measure_losses(options), "first", "nats", ["model", "kv_type", "attn_eps"], "position, tokens",
         "negative log-likelihood, nats a token")
    if options.recall:
        draw(measure_recall(options), "distance", "gain_nats", ["model", "what"], "distance, tokens",
             "gain by the first mention, nats a token")


if __name__ == "__main__":
    main()
