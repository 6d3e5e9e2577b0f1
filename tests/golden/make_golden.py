#!/usr/bin/env python3
"""Makes every folder beside this file: small models and what they must compute. README.md describes the files.

    python3 make_golden.py [NAME...]     all but `long`, or those named; `long` takes some minutes

Needs numpy, and the package gguf for `types-*`. The numbers do not change from run to run: weights and tokens come from seeds or formulas.
"""
import json
import pathlib
import shutil
import sys

import numpy as np

import formats
import reference

HERE = pathlib.Path(__file__).resolve().parent
CASES = {}


def case(name):
    def register(make):
        CASES[name] = make
        return make
    return register


# ------------------------------------------------------------------ shapes and weights

def shapes(config):
    """Every tensor of a configuration and its shape, in the order of the checkpoints."""
    c = {**reference.DEFAULTS, **config}
    a = {**reference.ATTENTION_DEFAULTS, **config.get("attn_config", {})}
    model = reference.Model(config, {})
    d, ff, kv = c["d_model"], int(c["d_model"] * c["expansion_ratio"]), model.kv_heads * model.head_dim
    out = {"transformer.wte.weight": (c["vocab_size"], d)}

    def norm(name, width):
        out[name + ".weight"] = (width,)
        if not c["no_bias"] and not c["norm_type"].endswith("rmsnorm"):
            out[name + ".bias"] = (width,)

    def linear(name, rows, cols):
        out[name + ".weight"] = (rows, cols)
        if not c["no_bias"]:
            out[name + ".bias"] = (rows,)

    if c["learned_pos_emb"] and not a["alibi"]:
        out["transformer.wpe.weight"] = (c["max_seq_len"], d)
    for layer in range(c["n_layers"]):
        block = f"transformer.blocks.{layer}"
        norm(block + ".norm_1", d)
        linear(block + ".attn.Wqkv", d + 2 * kv, d)
        if a["qk_ln"]:
            norm(block + ".attn.q_ln", d)
            norm(block + ".attn.k_ln", kv)
        linear(block + ".attn.out_proj", d, d)
        norm(block + ".norm_2", d)
        linear(block + ".ffn.up_proj", ff, d)
        linear(block + ".ffn.down_proj", d, ff)
    norm("transformer.norm_f", d)
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (c["vocab_size"], d)
    return out


def formula_weights(config):
    """Weights computed from tensor name and index alone; exact in every floating-point type."""
    def values(name, shape):
        h = 0x811C9DC5
        for byte in name.encode():
            h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
        u = (np.arange(np.prod(shape), dtype=np.uint64) * 0x9E3779B1 + h) & 0xFFFFFFFF
        u ^= u >> 16
        u = u * 0x85EBCA6B & 0xFFFFFFFF
        u ^= u >> 13
        u = u * 0xC2B2AE35 & 0xFFFFFFFF
        u ^= u >> 16
        b = (u >> 24).astype(np.float64) - 128
        if ".norm" in name or "q_ln" in name or "k_ln" in name:
            x = 0.75 + (u >> 27).astype(np.float64) / 64 if name.endswith(".weight") else b / 1024
        else:
            x = b / (128 if ".wte." in name else 256 if ".wpe." in name else 512)
        return x.reshape(shape)
    return {name: values(name, shape) for name, shape in shapes(config).items()}


def random_weights(config, seed):
    """Weights large enough that attention is far from uniform and every option shows in the result."""
    rng = np.random.default_rng(seed)

    def values(name, shape):
        if len(shape) == 1:
            return (1.0 if name.endswith(".weight") else 0.0) + 0.2 * rng.standard_normal(shape)
        spread = 0.7 if ".wte." in name else 0.3 if ".wpe." in name else 1.0 / np.sqrt(shape[1])
        if "Wqkv" in name:
            spread *= 1.6
        return spread * rng.standard_normal(shape)
    return {name: values(name, shape) for name, shape in shapes(config).items()}


# ------------------------------------------------------------------ files

def start(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def write_config(folder, config, **more):
    head = {"architectures": ["MPTForCausalLM"], "model_type": "mpt", "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps({**head, **config, **more}, indent=2) + "\n")


def write_numbers(path, numbers, form):
    path.write_text("".join(f"{form % n}\n" for n in numbers))


def write_answers(folder, config, stored, ids):
    """tokens.txt, logprobs.txt and logits.txt; returns the logits at every position."""
    logits = reference.Model(config, stored).logits(ids)
    write_numbers(folder / "tokens.txt", ids, "%d")
    write_numbers(folder / "logprobs.txt", reference.logprobs(logits, ids), "%.10f")
    write_numbers(folder / "logits.txt", logits[-1], "%.10f")
    return logits


# ------------------------------------------------------------------ what MosaicML's own code computes

MOSAIC_IDS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
MOSAIC_BASE = {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 4, "max_seq_len": 64, "vocab_size": 48,
               "no_bias": True}
GROUPED = {"attn_type": "grouped_query_attention", "kv_n_heads": 2}
# name: (configuration, attention configuration, logits 0..7 of the last position, argmax at each position, sum and sum
# of squares of all logits, mean cross-entropy): llm-foundry v0.4.0 run in float64.
MOSAIC = {
    "A": ({}, {"alibi": True},
          [-0.487840, 2.437656, -6.003814, -3.676413, -1.619978, 1.215263, -4.999471, 0.815743],
          [3, 1, 4, 1, 5, 18, 2, 6, 5, 3, 5, 47], 6.480956, 6758.1535, 9.15595437),
    "B": ({}, {"alibi": True, "clip_qkv": 0.5, "alibi_bias_max": 16},
          [-0.654167, 2.518463, -5.568165, -1.869493, -1.524236, 1.003672, -4.692444, 1.355831],
          [3, 1, 4, 1, 5, 18, 2, 6, 5, 3, 5, 47], 71.272992, 7127.0171, 10.13909501),
    "B8": ({}, {"alibi": True, "clip_qkv": 0.5, "alibi_bias_max": 8},
           [-0.663379, 2.322823, -5.545810, -2.080376, -1.856413, 1.015657, -4.543626, 1.270911],
           [3, 1, 4, 1, 5, 18, 2, 6, 5, 3, 5, 47], 52.028519, 7140.6291, 10.24007315),
    "Bnoclip": ({}, {"alibi": True, "alibi_bias_max": 16},
                [-0.653008, 2.520996, -6.145332, -3.469677, -1.617997, 1.414533, -4.914217, 1.160779],
                [3, 1, 4, 1, 5, 18, 2, 6, 5, 3, 5, 47], 29.457096, 6650.9940, 9.05243670),
    "C": ({"d_model": 48, "n_heads": 6}, {"alibi": True},
          [-2.298960, -0.732164, 6.302301, -5.457830, 3.035856, -2.148098, 1.770199, -0.108386],
          [25, 23, 4, 23, 23, 9, 13, 41, 5, 41, 28, 2], -92.081267, 9767.2751, 8.99487323),
    "D": ({"no_bias": False, "expansion_ratio": 2, "logit_scale": "inv_sqrt_d_model"},
          {"alibi": True, **GROUPED, "qk_ln": True, "clip_qkv": 0.75},
          [0.451102, 1.238907, -0.398046, -0.124854, 0.313815, -0.133334, -0.660411, 0.725169],
          [14, 27, 4, 27, 16, 9, 2, 6, 35, 3, 16, 8], 57.100284, 221.0564, 4.28756770),
    "D-nobias": ({"expansion_ratio": 2}, {"alibi": True, **GROUPED, "qk_ln": True},
                 [-1.406890, 4.743072, 0.112840, 0.526344, 0.082317, -0.006260, -3.491135, 3.567383],
                 [40, 27, 4, 27, 16, 9, 2, 6, 37, 3, 37, 24], 587.998626, 7399.3608, 9.88916338),
    "E": ({}, {"alibi": False},
          [-0.815589, 1.904495, -5.427372, -1.866267, -1.479863, 1.358159, -2.354723, 0.284462],
          [3, 1, 4, 1, 5, 18, 9, 6, 5, 3, 5, 29], 89.522560, 6511.1375, 8.34111857),
    "G": ({"logit_scale": 0.5}, {"alibi": True, "attn_type": "multiquery_attention", "softmax_scale": 0.25},
          [3.056013, 2.318183, -1.599612, 0.995655, -0.966797, 0.404315, -2.015672, 0.206785],
          [3, 1, 4, 1, 5, 18, 2, 6, 5, 3, 5, 0], 67.243141, 1670.0380, 5.10689675),
}


def make_mosaic(name):
    changes, attention, last, argmax, total, squares, loss = MOSAIC[name]
    config = {**MOSAIC_BASE, **changes, "attn_config": attention}
    folder = start("mosaic-" + name)
    write_config(folder, config)
    stored = formats.write_safetensors(folder / "model.safetensors", formula_weights(config), "BF16")
    logits = write_answers(folder, config, stored, MOSAIC_IDS)
    found = [*logits[-1, :8], logits.sum(), (logits ** 2).sum(), -reference.logprobs(logits, MOSAIC_IDS).mean()]
    digits = [6] * 9 + [4, 8]
    for value, wanted, n in zip(found, [*last, total, squares, loss], digits):
        assert abs(value - wanted) <= 0.51 * 10.0 ** -n, (name, value, wanted)
    assert logits.argmax(1).tolist() == argmax, name
    answers = {"last": last, "argmax": argmax, "sum": total, "sumsq": squares, "loss": loss}
    (folder / "expected.json").write_text(json.dumps(answers) + "\n")


for mosaic_name in MOSAIC:
    CASES["mosaic-" + mosaic_name] = lambda name=mosaic_name: make_mosaic(name)


# ------------------------------------------------------------------ one small random model per option

SMALL = {"d_model": 24, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "max_seq_len": 64, "vocab_size": 56,
         "no_bias": True}
# name: (changes to SMALL, attention configuration, tensor type)
RANDOM = {
    "alibi-8": ({"expansion_ratio": 4}, {}, "BF16"),
    "alibi-16-clip": ({}, {"alibi_bias_max": 16, "clip_qkv": 1.25}, "BF16"),
    "heads-5": ({"d_model": 40, "n_heads": 5, "n_layers": 1}, {}, "F16"),
    "heads-6-grouped": ({"n_heads": 6}, {"attn_type": "grouped_query_attention", "kv_n_heads": 3}, "BF16"),
    "heads-12-single": ({"n_heads": 12}, {"attn_type": "multiquery_attention", "alibi_bias_max": 16}, "BF16"),
    "biases": ({"no_bias": False}, {}, "BF16"),
    "qk-ln": ({}, {"qk_ln": True}, "BF16"),
    "qk-ln-grouped-biases": ({"no_bias": False, "logit_scale": 0.37},
                             {"qk_ln": True, "clip_qkv": 2.0, **GROUPED}, "BF16"),
    "logit-scale-name": ({"logit_scale": "inv_sqrt_d_model", "d_model": 16}, {}, "F32"),
    "softmax-scale-ratio-3": ({"expansion_ratio": 3}, {"softmax_scale": 0.21}, "BF16"),
    "learned-positions": ({"max_seq_len": 200, "d_model": 16}, {"alibi": False}, "BF16"),
    "no-positions": ({"learned_pos_emb": False, "d_model": 16}, {"alibi": False}, "BF16"),
    "untied": ({"tie_word_embeddings": False}, {"clip_qkv": 1.0, **GROUPED}, "BF16"),
    "rmsnorm": ({"norm_type": "low_precision_rmsnorm", "norm_eps": 1e-3, "no_bias": False, "d_model": 16}, {}, "F32"),
    "rmsnorm-qk-ln": ({"norm_type": "rmsnorm"}, {"qk_ln": True, **GROUPED}, "BF16"),
}


def random_config(name):
    changes, attention, dtype = RANDOM[name]
    return {**SMALL, **changes, "attn_config": {"alibi": True, **attention}}, dtype


def random_ids(config, seed):
    rng = np.random.default_rng(seed + 1000)
    return rng.integers(0, config["vocab_size"], size=150 + seed % 50)


def make_random(name):
    config, dtype = random_config(name)
    seed = list(RANDOM).index(name) + 1
    folder = start("random-" + name)
    write_config(folder, config)
    stored = formats.write_safetensors(folder / "model.safetensors", random_weights(config, seed), dtype)
    write_answers(folder, config, stored, random_ids(config, 7 * seed))


for random_name in RANDOM:
    CASES["random-" + random_name] = lambda name=random_name: make_random(name)


@case("random-sharded")
def make_sharded():
    """Three files with an index, under the names that a Composer checkpoint has."""
    config = {**SMALL, "attn_config": {"alibi": True, **GROUPED}}
    folder = start("random-sharded")
    write_config(folder, config)
    named = {"model." + name: x for name, x in random_weights(config, 50).items()}
    stored = formats.write_sharded(folder, named, "BF16", 3)
    stored = {name.removeprefix("model."): x for name, x in stored.items()}
    write_answers(folder, config, stored, random_ids(config, 50))


def make_first_generation(name, config, seed, write):
    """The flat configuration and the tensor names of the first generation."""
    attention = config["attn_config"]
    folder = start(name)
    flat = {key: value for key, value in config.items() if key not in ("attn_config", "expansion_ratio")}
    write_config(folder, flat, architectures=["MosaicGPT"], model_type="mosaic_gpt",
                 mlp_ratio=config["expansion_ratio"], hidden_size=config["d_model"],
                 attn_clip_qkv=attention.get("clip_qkv"), attn_qk_ln=attention["qk_ln"], attn_impl="torch",
                 attn_pdrop=0, attn_uses_sequence_id=False, alibi=True, alibi_bias_max=8, prefix_lm=False,
                 softmax_scale=None, low_precision_layernorm=True, param_init_fn="kaiming_normal_")

    def old_name(name):
        for new, old in ((".norm_", ".ln_"), (".ffn.up_proj.", ".mlp.mlp_up."), (".ffn.down_proj.", ".mlp.mlp_down.")):
            name = name.replace(new, old)
        return name

    weights = random_weights(config, seed)
    stored = write(folder, {old_name(name): x for name, x in weights.items()}, "F32")
    stored = {name: stored[old_name(name)] for name in weights}
    write_answers(folder, config, stored, random_ids(config, seed))


@case("random-mosaic-gpt")
def make_mosaic_gpt():
    config = {**SMALL, "d_model": 16, "attn_config": {"alibi": True, "qk_ln": True, "clip_qkv": 1.5}}
    make_first_generation("random-mosaic-gpt", config, 60, lambda folder, tensors, dtype: formats.write_safetensors(
        folder / "model.safetensors", tensors, dtype))


def write_bin(folder, tensors, dtype):
    return formats.write_torch_bin(folder / "pytorch_model.bin", tensors, dtype)


@case("random-mpt-1b")
def make_mpt_1b():
    """As mpt-1b-redpajama-200b: 16 heads, query and key norms, float32 in PyTorch's format."""
    config = {**SMALL, "d_model": 32, "n_heads": 16, "expansion_ratio": 4,
              "attn_config": {"alibi": True, "qk_ln": True}}
    make_first_generation("random-mpt-1b", config, 61, write_bin)


@case("random-replit-1.5")
def make_replit():
    """As replit-code-v1_5-3b: 24 heads, 3 to a key, bfloat16 in PyTorch's format."""
    config = {**SMALL, "d_model": 48, "n_heads": 24, "n_layers": 1, "expansion_ratio": 4, "max_seq_len": 4096,
              "fc_type": "torch", "ffn_config": {"ffn_type": "mptmlp", "fc_type": "torch"},
              "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_type": "grouped_query_attention",
                              "kv_n_heads": 8, "clip_qkv": None, "qk_ln": False, "softmax_scale": None,
                              "prefix_lm": False}}
    folder = start("random-replit-1.5")
    write_config(folder, config)
    write_answers(folder, config, write_bin(folder, random_weights(config, 62), "BF16"), random_ids(config, 62))


# ------------------------------------------------------------------ GGUF

GGUF_BASE = {"d_model": 32, "n_heads": 4, "n_layers": 1, "expansion_ratio": 4, "max_seq_len": 64, "vocab_size": 56}
# name: (configuration, tensor types)
GGUF = {
    "storywriter": ({**GGUF_BASE, "no_bias": True,
                     "attn_config": {"alibi": True, "alibi_bias_max": 16, "clip_qkv": 1.5}},
                    ["F32", "F16", "BF16", "Q8_0", "Q4_0"]),
    "everything": ({**GGUF_BASE, "no_bias": False, "logit_scale": 0.75, "tie_word_embeddings": False,
                    "learned_pos_emb": False,
                    "attn_config": {"alibi": True, "qk_ln": True, "softmax_scale": 0.3, **GROUPED}},
                   ["F32", "F16", "BF16", "Q8_0", "Q4_0"]),
    "head-dim-112": ({**GGUF_BASE, "d_model": 224, "n_heads": 2, "expansion_ratio": 2 / 7, "no_bias": True,
                      "attn_config": {"alibi": True, "attn_type": "multiquery_attention"}}, ["Q4_0"]),
    "learned-positions": ({**GGUF_BASE, "max_seq_len": 224, "expansion_ratio": 3, "no_bias": True,
                           "attn_config": {"alibi": False}}, ["F16"]),
}


def gguf_keys(name, config):
    """Keys as llama.cpp's converter writes them, and the two for what it has no key for where the model needs them."""
    a = {**reference.ATTENTION_DEFAULTS, **config["attn_config"]}
    model = reference.Model(config, {})
    keys = {"general.architecture": "mpt", "general.name": name, "mpt.context_length": config["max_seq_len"],
            "mpt.embedding_length": config["d_model"], "mpt.block_count": config["n_layers"],
            "mpt.feed_forward_length": round(config["d_model"] * config["expansion_ratio"]),
            "mpt.attention.head_count": config["n_heads"], "mpt.attention.layer_norm_epsilon": 1e-5,
            "mpt.attention.max_alibi_bias": float(a["alibi_bias_max"] if a["alibi"] else 0)}
    if model.kv_heads != config["n_heads"]:
        keys["mpt.attention.head_count_kv"] = model.kv_heads
    if a["clip_qkv"]:
        keys["mpt.attention.clamp_kqv"] = a["clip_qkv"]
    if a["softmax_scale"]:
        keys["mpt.attention.scale"] = a["softmax_scale"]
    if config.get("logit_scale"):
        keys["mpt.logit_scale"] = config["logit_scale"]
    return keys


def make_gguf(name):
    config, dtypes = GGUF[name]
    seed = 100 + list(GGUF).index(name)
    config = {**config, "expansion_ratio": round(config["d_model"] * config["expansion_ratio"]) / config["d_model"]}
    for dtype in dtypes:
        folder = start(f"gguf-{name}-{dtype.lower()}")
        version = 2 if dtype == "F16" else 3
        stored = formats.write_gguf(folder / "model.gguf", gguf_keys(name, config), random_weights(config, seed), dtype,
                                    version)
        write_answers(folder, config, stored, random_ids(config, seed))


for gguf_model in GGUF:
    CASES["gguf-" + gguf_model] = lambda name=gguf_model: make_gguf(name)


# ------------------------------------------------------------------ every block type

TYPES_CONFIG = {"d_model": 256, "n_heads": 4, "n_layers": 1, "expansion_ratio": 1, "max_seq_len": 64, "vocab_size": 64,
                "no_bias": True, "attn_config": {"alibi": True, "attn_type": "multiquery_attention"}}
# The halves that make weights of random bits a tenth or so in size: that of the scale, that of the offset.
TYPES = {"q8_0": (0.0009, 0), "q4_0": (0.015, 0), "q4_1": (0.015, -0.1125), "q5_0": (0.008, 0),
         "q5_1": (0.008, -0.124), "q2_k": (0.008, 0.012), "q3_k": (0.0015, 0), "q4_k": (0.0003, 0.00225),
         "q5_k": (0.00015, 0.0023), "q6_k": (0.0001, 0), "iq4_nl": (0.001, 0), "iq4_xs": (0.0001, 0)}
# As llama-quantize mixes them: matrices in the order of the model's tensors.
MIXES = {"q4_k_m": ["q6_k", "q4_k", "q5_k", "q4_k", "q6_k"], "q3_k_l": ["q6_k", "q3_k", "q5_k", "q3_k", "q5_k"]}


def random_blocks(kind, rows, cols, seed):
    """Blocks whose bytes are the upper bytes of splitmix64's outputs for the seed, but for their halves; as stored and
    as the package gguf understands them."""
    import gguf
    qtype = gguf.GGMLQuantizationType[kind.upper()]
    elements, size = gguf.GGML_QUANT_SIZES[qtype]
    n = rows * cols // elements * size
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    blocks = ((z ^ (z >> np.uint64(31))) >> np.uint64(56)).astype(np.uint8).reshape(-1, size)
    at = {"q2_k": 80, "q3_k": 108, "q6_k": 208}.get(kind, 0)
    for i, half in enumerate(TYPES[kind]):
        if half:
            blocks[:, at + 2 * i:at + 2 * i + 2] = np.frombuffer(np.float16(half).tobytes(), np.uint8)
    return gguf.quants.dequantize(blocks, qtype).reshape(rows, cols).astype(np.float64)


def make_types(name):
    """No model is stored: recipe.txt has a line for each matrix, with its GGUF name, rows, type, halves and seed."""
    folder = start("types-" + name)
    stored, lines = {}, []
    kinds = iter(MIXES.get(name, [name] * 5))
    for i, (tensor, shape) in enumerate(shapes(TYPES_CONFIG).items()):
        if len(shape) == 1:
            stored[tensor] = np.ones(shape)
            continue
        kind, seed = next(kinds), 1000 + i
        stored[tensor] = random_blocks(kind, *shape, seed)
        lines.append(f"{formats.gguf_name(tensor)} {shape[0]} {kind} {TYPES[kind][0]} {TYPES[kind][1]} {seed}\n")
    (folder / "recipe.txt").write_text("".join(lines))
    write_answers(folder, TYPES_CONFIG, stored, random_ids(TYPES_CONFIG, 77))


for types_name in [*TYPES, *MIXES]:
    CASES["types-" + types_name] = lambda name=types_name: make_types(name)


# ------------------------------------------------------------------ 84,000 tokens

LONG_TOKENS = 84000
LONG_BEGINNING = 20000
LONG_SEED = 20230505
LONG_POSITIONS = [1, 2, 63, 64, 65, 127, 128, 511, 512, 513, 2047, 2048, 8191, 8192, 32767, 32768, 65503, 65504, 65518,
                  65519, 65520, 65521, 65535, 65536, 65537, 70000, 80000, 83998, 83999]


def splitmix64(state):
    mask = 0xFFFFFFFFFFFFFFFF
    z = state & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def long_ids(vocab_size):
    """Token i is splitmix64's output i + 1 for the seed, modulo the vocabulary, or modulo half of it for the first
    20,000 tokens: an engine that loses sight of the beginning then gives visibly different answers at the end."""
    return np.array([splitmix64(LONG_SEED + (i + 1) * 0x9E3779B97F4A7C15) %
                     (vocab_size // 2 if i < LONG_BEGINNING else vocab_size) for i in range(LONG_TOKENS)])


@case("long")
def make_long():
    config = {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "max_seq_len": 65536, "vocab_size": 64,
              "no_bias": True, "attn_config": {"alibi": True, "alibi_bias_max": 16, "clip_qkv": 6}}
    folder = start("long")
    write_config(folder, config)
    weights = random_weights(config, 84)
    stored = formats.write_safetensors(folder / "model.safetensors", weights, "BF16")
    ids = long_ids(config["vocab_size"])
    rows = sorted({p - 1 for p in LONG_POSITIONS} | {LONG_TOKENS - 1})
    logits = reference.Model(config, stored).logits(ids, rows)
    table = reference.log_softmax(logits)
    answers = [(p, ids[p], table[rows.index(p - 1), ids[p]]) for p in LONG_POSITIONS]
    (folder / "logprobs-at.txt").write_text("".join(f"{p}\t{i}\t{value:.10f}\n" for p, i, value in answers))
    write_numbers(folder / "logits.txt", logits[-1], "%.10f")


def main():
    names = sys.argv[1:] or [name for name in CASES if name != "long"]
    for name in names:
        if name not in CASES:
            sys.exit(f"make_golden.py: no case '{name}'; there are {' '.join(CASES)}")
        CASES[name]()
        print(name)


if __name__ == "__main__":
    main()
