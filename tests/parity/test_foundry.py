"""Every option of the family, against MosaicML's own model code in float32 (foundry.py)."""
import numpy as np

import parity  # first: it finds the makers of golden models
import formats
import foundry
import make_golden

PEER = "llm-foundry " + foundry.VERSION
BASE = {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 4, "max_seq_len": 256, "vocab_size": 96,
        "no_bias": True, "learned_pos_emb": False}
GROUPED = make_golden.GROUPED
SINGLE = {"attn_type": "multiquery_attention"}
# name: (changes to BASE, attention configuration, type of the tensors)
CASES = {
    "storywriter": ({}, {"alibi_bias_max": 16, "clip_qkv": 6.0}, "BF16"),
    "bias-max-16-heads-6": ({"d_model": 48, "n_heads": 6}, {"alibi_bias_max": 16}, "F32"),
    "qk-ln": ({}, {"qk_ln": True}, "F16"),
    "qk-ln-biases-clip": ({"no_bias": False}, {"qk_ln": True, "clip_qkv": 0.75}, "BF16"),
    "grouped": ({"n_heads": 8}, GROUPED, "BF16"),
    "grouped-qk-ln": ({}, {**GROUPED, "qk_ln": True}, "BF16"),
    "grouped-24-heads": ({"d_model": 96, "n_heads": 24}, {**GROUPED, "kv_n_heads": 8}, "F16"),
    "single-kv-head": ({}, SINGLE, "F32"),
    "biases": ({"no_bias": False}, {}, "F16"),
    "logit-scale": ({"logit_scale": 0.37}, {}, "BF16"),
    "logit-scale-by-name": ({"logit_scale": "inv_sqrt_d_model"}, {}, "BF16"),
    "softmax-scale": ({}, {"softmax_scale": 0.11}, "BF16"),
    "expansion-ratio-2": ({"expansion_ratio": 2}, {}, "F32"),
    "expansion-ratio-8": ({"expansion_ratio": 8}, {}, "BF16"),
    "learned-positions": ({"learned_pos_emb": True}, {"alibi": False}, "F16"),
    "no-positions": ({}, {"alibi": False}, "BF16"),
    "untied": ({"tie_word_embeddings": False}, {"clip_qkv": 2.0}, "BF16"),
    "norm-eps": ({"norm_eps": 1e-3}, {}, "F32"),
    "rmsnorm": ({"norm_type": "rmsnorm"}, {}, "F32"),
    "low-precision-rmsnorm": ({"norm_type": "low_precision_rmsnorm", "norm_eps": 1e-2}, {}, "BF16"),
    "everything": ({"no_bias": False, "expansion_ratio": 3, "logit_scale": 0.5, "d_model": 72, "n_heads": 6},
                   {"alibi_bias_max": 12, "clip_qkv": 1.5, "qk_ln": True, "softmax_scale": 0.3,
                    "attn_type": "grouped_query_attention", "kv_n_heads": 3}, "BF16"),
}


def make(name, folder):
    """A checkpoint in the folder; its configuration, its weights as stored, a text."""
    changes, attention, dtype = CASES[name]
    config = {**BASE, **changes, "attn_config": {"alibi": True, **attention}}
    seed = 700 + list(CASES).index(name)
    folder.mkdir()
    make_golden.write_config(folder, config)
    weights = make_golden.random_weights(config, seed)
    stored = formats.write_safetensors(folder / "model.safetensors", weights, dtype)
    return config, stored, np.random.default_rng(seed).integers(0, config["vocab_size"], 200)


class Foundry(parity.Case):
    def test_every_option(self):
        for name in CASES:
            with self.subTest(name):
                folder = self.folder / name
                config, stored, ids = make(name, folder)
                logits = foundry.logits(foundry.model(config, stored), ids)
                for isa in parity.TABLES:
                    reading = parity.Reading(folder, ids, isa)
                    if reading.runs:
                        self.compare(PEER, f"{name}, {isa}", reading, ids, logits, 1e-4)

    def test_golden_models(self):
        """The numbers that the ordinary suite keeps for llm-foundry 0.4.0 are still what this version computes."""
        for name, (changes, attention, last, *_) in make_golden.MOSAIC.items():
            with self.subTest(name):
                config = {**make_golden.MOSAIC_BASE, **changes, "attn_config": attention}
                net = foundry.model(config, make_golden.formula_weights(config), foundry.torch.float64)
                found = foundry.logits(net, make_golden.MOSAIC_IDS)[-1, :8]
                self.record(PEER, f"golden {name}", "logits, float64", np.abs(found - last).max(), 6e-7)


if __name__ == "__main__":
    parity.main()
