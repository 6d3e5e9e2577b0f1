#!/usr/bin/env python3
"""Write a checkpoint of train_model.py as a GGUF file and as a HuggingFace folder.

The GGUF holds the matrices as Q8_0 and the norms as F32.  With --check the
file is read back, dequantised and measured against the checkpoint on the
held-out books; the exit status is 1 if the losses differ by more than 0.01.
"""
import argparse
import json
import math
import pathlib
import shutil
import sys

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from train_model import MPT, bytes_per_token, token_losses, validation_windows

ALIBI_BIAS_MAX = 8
EPS = 1e-5
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
GGUF_PARTS = {"norm_1": "attn_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output",
              "norm_2": "ffn_norm", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down"}


def gguf_name(name):
    if name == "wte.weight":
        return "token_embd.weight"
    if name == "norm_f.weight":
        return "output_norm.weight"
    _, index, part = name.removesuffix(".weight").split(".", 2)
    return f"blk.{index}.{GGUF_PARTS[part]}.weight"


def load_checkpoint(path):
    state = torch.load(path, map_location="cpu", weights_only=False)
    model = MPT(**state["config"])
    model.load_state_dict(state["model"])
    return model.eval()


def load_gguf(path):
    """The model of a GGUF file, dequantised."""
    reader = gguf.GGUFReader(path)
    number = lambda key: int(reader.fields["mpt." + key].contents())
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    width = number("embedding_length")
    model = MPT(len(tensors["token_embd.weight"]), width, number("attention.head_count"),
                number("block_count"), number("feed_forward_length") // width)
    state = {name: torch.from_numpy(np.array(tensors[gguf_name(name)])).reshape(p.shape)
             for name, p in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval()


def vocabulary(tokenizer_json):
    """Tokens, their types and the merges, as GGUF wants them."""
    spec = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    tokens = {i: (t, NORMAL) for t, i in spec["model"]["vocab"].items()}
    for t in spec["added_tokens"]:
        tokens[t["id"]] = (t["content"], CONTROL if t["special"] else USER_DEFINED)
    texts, types = zip(*(tokens[i] for i in range(len(tokens))))
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    return list(texts), list(types), merges


def write_gguf(path, model, tokenizer_json, name, context):
    c = model.config
    w = gguf.GGUFWriter(path, "mpt")
    w.add_custom_alignment(32)
    w.add_name(name)
    w.add_license("Apache-2.0")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(context)
    w.add_embedding_length(c["width"])
    w.add_block_count(c["layers"])
    w.add_feed_forward_length(c["ratio"] * c["width"])
    w.add_head_count(c["heads"])
    w.add_layer_norm_eps(EPS)
    w.add_max_alibi_bias(float(ALIBI_BIAS_MAX))
    tokens, types, merges = vocabulary(tokenizer_json)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("mpt")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(0)
    w.add_eos_token_id(0)
    w.add_unk_token_id(0)
    w.add_pad_token_id(1)
    for key, value in model.state_dict().items():
        data = value.numpy().astype(np.float32)
        if data.ndim == 2:
            q8 = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(gguf_name(key), gguf.quants.quantize(data, q8), raw_dtype=q8)
        else:
            w.add_tensor(gguf_name(key), data)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_hf(folder, model, tokenizer_json, context):
    """config.json in the form of the published MPT models, weights in float32."""
    c = model.config
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MPTForCausalLM"],
        "attn_config": {
            "alibi": True, "alibi_bias_max": ALIBI_BIAS_MAX, "attn_impl": "torch", "attn_pdrop": 0,
            "attn_type": "multihead_attention", "attn_uses_sequence_id": False, "clip_qkv": None,
            "prefix_lm": False, "qk_ln": False, "softmax_scale": None},
        "d_model": c["width"], "emb_pdrop": 0, "embedding_fraction": 1.0,
        "expansion_ratio": c["ratio"], "init_device": "cpu", "learned_pos_emb": True,
        "logit_scale": None, "max_seq_len": context, "model_type": "mpt", "n_heads": c["heads"],
        "n_layers": c["layers"], "no_bias": True, "norm_type": "low_precision_layernorm",
        "resid_pdrop": 0, "torch_dtype": "float32", "use_cache": False, "verbose": 0,
        "vocab_size": c["vocab"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {f"transformer.{k}": v.numpy().astype(np.float32) for k, v in model.state_dict().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    shutil.copyfile(tokenizer_json, folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_prefix_space": False, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>", "pad_token": "<|padding|>", "clean_up_tokenization_spaces": False,
        "model_max_length": context, "tokenizer_class": "GPTNeoXTokenizer"}, indent=2) + "\n")


def measure(model, windows, byte_counts):
    """Loss per token, bits per byte, and loss by position in the window."""
    loss = token_losses(model, windows, batch=max(1, 4096 // windows.size(1)))
    bits = loss.sum().item() / math.log(2) / byte_counts[windows[:, 1:]].sum().item()
    buckets, start = [], 0
    while start < loss.size(1):
        end = min(loss.size(1), max(64, 2 * start))
        buckets.append((start, end, loss[:, start:end].mean().item()))
        start = end
    return loss.mean().item(), bits, buckets


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("checkpoint", type=pathlib.Path)
    ap.add_argument("data", type=pathlib.Path, help="folder with tokenizer.json and, for --check, heldout.u16")
    ap.add_argument("--gguf", type=pathlib.Path, help="GGUF file to write")
    ap.add_argument("--hf", type=pathlib.Path, help="folder to write")
    ap.add_argument("--name", default="storyteller-7m", help="general.name (default %(default)s)")
    ap.add_argument("--context", type=int, default=1024, help="context length to record (default %(default)s)")
    ap.add_argument("--check", type=int, default=0, metavar="WINDOWS",
                    help="measure this many held-out windows with the checkpoint and with the GGUF")
    ap.add_argument("--window", type=int, default=1024, help="tokens in a window of --check")
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    model = load_checkpoint(args.checkpoint)
    tokenizer_json = args.data / "tokenizer.json"
    if args.gguf:
        args.gguf.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(args.gguf, model, tokenizer_json, args.name, args.context)
        print(f"{args.gguf}: {args.gguf.stat().st_size:,} bytes")
    if args.hf:
        write_hf(args.hf, model, tokenizer_json, args.context)
        print(args.hf)
    if not args.check:
        return
    windows = validation_windows(np.fromfile(args.data / "heldout.u16", np.uint16), args.window, args.check)
    counts = bytes_per_token(Tokenizer.from_file(str(tokenizer_json)))
    losses = []
    for label, m in (("checkpoint", model), ("gguf", load_gguf(args.gguf) if args.gguf else None)):
        if m is None:
            continue
        nats, bits, buckets = measure(m, windows, counts)
        losses.append(nats)
        print(f"{label}: {nats:.4f} nats per token, {bits:.4f} bits per byte, {windows[:, 1:].numel():,} tokens")
        print("  by position: " + ", ".join(f"{a}-{b - 1}: {x:.4f}" for a, b, x in buckets))
    if max(losses) - min(losses) > 0.01:
        sys.exit("the exported file does not give the same loss")


if __name__ == "__main__":
    main()
