#!/usr/bin/env python3
"""A sanity point: Quire and HuggingFace transformers (float32, on the processor) on one small checkpoint folder, by turns.

    hf_point.py --quire QUIRE --model FOLDER --out FILE.csv [options]

Says so, and exits with 77, where torch or transformers is not to be had: `python3 -m venv V; V/bin/pip install torch
transformers` makes a place for them. compare.py --summary and plot.py read the file."""
import argparse
import json
import os
import sys
import time

import record

try:
    import torch
    import transformers
except ImportError as error:
    print(f"skip: {error}")
    sys.exit(77)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", required=True)
    parser.add_argument("--model", required=True, help="a folder with config.json and safetensors")
    parser.add_argument("--out", required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--context", type=int, default=512, help="tokens to read, and to decode behind")
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def measure_quire(options):
    """Tokens a second of reading and of decoding; in float32 too."""
    out, _ = record.run([options.quire, "bench", "-q", "--json", "-m", options.model, "--kv-type", "f32", "--threads",
                         str(options.threads), "--contexts", str(options.context), "--decode", str(options.decode)])
    row = json.loads(out)["rows"][0]
    return row["read_per_second"], row["decode_per_second"]


def measure_transformers(model, options):
    ids = torch.randint(0, model.config.vocab_size, (1, options.context), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        start = time.monotonic()
        result = model(input_ids=ids, use_cache=True)
        cache = "cache" if "cache" in result else "past_key_values"  # by version
        read = time.monotonic()
        for _ in range(options.decode):
            next_id = result.logits[:, -1:].argmax(-1)
            result = model(input_ids=next_id, use_cache=True, **{cache: result[cache]})
        end = time.monotonic()
    return options.context / (read - start), options.decode / (end - read)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    writer = record.Writer(options.out, model=os.path.basename(os.path.normpath(options.model)),
                           threads=options.threads, isa="best", context=options.context)
    programs = [("quire", record.quire_version(options.quire), lambda: measure_quire(options)),
                ("transformers", f"{transformers.__version__}, torch {torch.__version__}",
                 lambda: measure_transformers(model, options))]
    measure_transformers(model, options)  # warm
    for round_number in range(1, options.rounds + 1):
        for program, version, measure in programs:
            for what, speed in zip(("prefill", "decode"), measure()):
                writer.add(round=round_number, program=program, version=version, what=what, settings="f32",
                           tokens_per_second=f"{speed:.4f}")
    print(record.summary([options.out]))


if __name__ == "__main__":
    main()
