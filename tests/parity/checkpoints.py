"""Small random checkpoints in the forms that HuggingFace transformers and PyTorch write."""
import json
import warnings

import numpy as np
import torch
import transformers

import parity  # noqa: F401  first: it finds the makers of golden models
import make_golden

warnings.filterwarnings("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
BASE = {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 4, "max_seq_len": 256, "vocab_size": 96,
        "no_bias": True}
# name: (changes to BASE, attention configuration, type): what MptForCausalLM implements.
HUGGINGFACE = {
    "heads-4-f32": ({}, {}, "f32"),
    "heads-1-bf16": ({"n_heads": 1}, {}, "bf16"),
    "heads-3-f16": ({"d_model": 24, "n_heads": 3}, {}, "f16"),
    "heads-6-bf16": ({"d_model": 48, "n_heads": 6}, {}, "bf16"),
    "heads-12-f32": ({"d_model": 96, "n_heads": 12, "n_layers": 3}, {}, "f32"),
    "heads-16-f16": ({"d_model": 64, "n_heads": 16}, {}, "f16"),
    "head-dim-112-bf16": ({"d_model": 224, "n_heads": 2}, {}, "bf16"),
    "clip-f32": ({}, {"clip_qkv": 0.75}, "f32"),
    "clip-scale-bf16": ({"d_model": 40, "n_heads": 5}, {"clip_qkv": 6.0, "softmax_scale": 0.21}, "bf16"),
    "softmax-scale-f16": ({}, {"softmax_scale": 0.05}, "f16"),
    "epsilon-f32": ({"layer_norm_epsilon": 1e-2}, {}, "f32"),
    "untied-bf16": ({"tie_word_embeddings": False}, {"clip_qkv": 2.0}, "bf16"),
    "wide-bf16": ({"d_model": 512, "n_heads": 8, "vocab_size": 1000}, {"clip_qkv": 8.0}, "bf16"),
}


def case(table, name):
    """The configuration, the seeded weights in float64, and a text."""
    changes, attention, dtype = table[name]
    config = {**BASE, **changes, "attn_config": {"alibi": True, **attention}}
    seed = 500 + list(table).index(name)
    ids = np.random.default_rng(seed).integers(0, config["vocab_size"], 200)
    weights = make_golden.random_weights(config, seed)
    # Logits of the same size, a standard deviation of about 4, at every width: bounds are absolute.
    weights["transformer.wte.weight"] *= np.sqrt(32 / config["d_model"])
    return config, weights, ids, dtype


def huggingface(config, weights, dtype):
    """A MptForCausalLM with these weights, rounded to the type."""
    attention = {key: value for key, value in config["attn_config"].items()}
    model = transformers.MptForCausalLM(transformers.MptConfig(**{**config, "attn_config": attention}))
    state = {name: torch.tensor(x, dtype=torch.float64).to(DTYPES[dtype]) for name, x in weights.items()}
    if config.get("tie_word_embeddings", True):
        state["lm_head.weight"] = state["transformer.wte.weight"]
    model.to(DTYPES[dtype]).load_state_dict(state)
    return model.eval()


def logits(model, ids):
    """[n, vocab_size] of a torch model, computed in float32."""
    with torch.inference_mode():
        return model.float()(input_ids=torch.as_tensor(np.asarray(ids))[None]).logits[0].numpy()


def save_bin(model, folder, n_shards=1):
    """The form of the first releases: pickled dictionaries in zip files, with an index where they are several."""
    folder.mkdir()
    model.config.architectures = [type(model).__name__]
    model.config.to_json_file(folder / "config.json", use_diff=False)
    state = {name: x for name, x in model.state_dict().items() if name != "lm_head.weight"}
    if n_shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    where = {}
    for i in range(n_shards):
        file = f"pytorch_model-{i + 1:05}-of-{n_shards:05}.bin"
        part = {name: state[name].clone() for name in list(state)[i::n_shards]}
        torch.save(part, folder / file)
        where.update(dict.fromkeys(part, file))
    total = sum(x.numel() * x.element_size() for x in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
