"""The MPT forward pass in float64, as MosaicML defines it.

Written from the definition of the model, not from the C code, and kept plain:
numpy only, one function per part, full softmax over all keys. It is the oracle
for the numbers under this folder; make_golden.py runs it.

Sources of the definition: llm-foundry's modeling_mpt.py, blocks.py,
attention.py, norm.py and ffn.py (v0.4.0), and Press et al. 2021 for ALiBi.
"""
import math

import numpy as np

DEFAULTS = {
    "d_model": 2048, "n_heads": 16, "n_layers": 24, "expansion_ratio": 4, "max_seq_len": 2048, "vocab_size": 50368,
    "no_bias": False, "learned_pos_emb": True, "norm_type": "low_precision_layernorm", "norm_eps": 1e-5,
    "logit_scale": None, "tie_word_embeddings": True,
}
ATTENTION_DEFAULTS = {
    "attn_type": "multihead_attention", "kv_n_heads": None, "clip_qkv": None, "qk_ln": False, "softmax_scale": None,
    "alibi": False, "alibi_bias_max": 8,
}

_erf = np.frompyfunc(math.erf, 1, 1)


def gelu(x):
    """The exact form, with the error function."""
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))


def alibi_slopes(n_heads, bias_max):
    """One slope per head. A head count that is no power of two takes every second slope of the next power's list,
    the second, fourth, ... first."""
    power = 1 << (n_heads - 1).bit_length()
    slopes = [2.0 ** (-k * bias_max / power) for k in range(1, power + 1)]
    if power != n_heads:
        slopes = (slopes[1::2] + slopes[0::2])[:n_heads]
    return slopes


class Model:
    """config: the contents of a config.json; tensors: name -> array, under HuggingFace's names."""

    def __init__(self, config, tensors):
        self.config = {**DEFAULTS, **config}
        self.attention = {**ATTENTION_DEFAULTS, **config.get("attn_config", {})}
        self.tensors = {name: np.asarray(t, dtype=np.float64) for name, t in tensors.items()}
        c, a = self.config, self.attention
        self.heads = c["n_heads"]
        self.head_dim = c["d_model"] // c["n_heads"]
        self.kv_heads = {"multihead_attention": self.heads, "multiquery_attention": 1,
                         "grouped_query_attention": a["kv_n_heads"]}[a["attn_type"]]
        self.scale = a["softmax_scale"] if a["softmax_scale"] is not None else 1.0 / math.sqrt(self.head_dim)
        self.slopes = alibi_slopes(self.heads, a["alibi_bias_max"]) if a["alibi"] else [0.0] * self.heads

    def linear(self, x, name):
        y = x @ self.tensors[name + ".weight"].T
        return y if self.config["no_bias"] else y + self.tensors[name + ".bias"]

    def norm(self, x, name):
        eps, weight = self.config["norm_eps"], self.tensors[name + ".weight"]
        if self.config["norm_type"].endswith("rmsnorm"):
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * weight
        return y if self.config["no_bias"] else y + self.tensors[name + ".bias"]

    def qkv(self, x, block):
        """Queries [n, heads, head_dim], keys and values [n, kv_heads, head_dim]."""
        y = self.linear(x, block + ".attn.Wqkv")
        clip = self.attention["clip_qkv"]
        if clip:
            y = np.clip(y, -clip, clip)
        d, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q, k, v = y[:, :d], y[:, d:d + kv], y[:, d + kv:]
        if self.attention["qk_ln"]:
            q, k = self.norm(q, block + ".attn.q_ln"), self.norm(k, block + ".attn.k_ln")
        n = len(x)
        return (q.reshape(n, self.heads, self.head_dim), k.reshape(n, self.kv_heads, self.head_dim),
                v.reshape(n, self.kv_heads, self.head_dim))

    def attend(self, q, k, v, positions, tile=512):
        """Causal attention of the queries at these positions over all keys: [len(positions), heads * head_dim]."""
        out = np.empty((len(positions), self.heads, self.head_dim))
        group = self.heads // self.kv_heads
        for head in range(self.heads):
            keys, values = np.ascontiguousarray(k[:, head // group]), np.ascontiguousarray(v[:, head // group])
            for first in range(0, len(positions), tile):
                where = positions[first:first + tile]
                queries = q[first:first + tile, head] * self.scale
                out[first:first + tile, head] = self._attend_head(queries, keys, values, where, self.slopes[head], tile)
        return out.reshape(len(positions), -1)

    @staticmethod
    def _attend_head(q, keys, values, where, slope, tile):
        """Softmax over all keys up to each query, in two sweeps over tiles of keys: the maximum, then the sums."""
        def tiles():
            for at in range(0, where[-1] + 1, tile):
                past = np.arange(at, min(at + tile, where[-1] + 1))
                # exp() of what lies this far below the best score is exactly zero in float64.
                if slope * (where[0] - past[-1]) > 800 + 2 * bound:
                    continue
                scores = q @ keys[past[0]:past[-1] + 1].T
                if slope:
                    scores -= slope * (where[:, None] - past[None, :])
                if past[-1] > where[0]:
                    scores[past[None, :] > where[:, None]] = -np.inf
                yield past, scores

        bound = np.linalg.norm(q, axis=1).max() * np.linalg.norm(keys[:where[-1] + 1], axis=1).max()
        best = np.full(len(where), -np.inf)
        for _, scores in tiles():
            np.maximum(best, scores.max(1), out=best)
        total, weighted = np.zeros(len(where)), np.zeros((len(where), values.shape[1]))
        for past, scores in tiles():
            scores -= best[:, None]
            np.exp(scores, out=scores)
            total += scores.sum(1)
            weighted += scores @ values[past[0]:past[-1] + 1]
        return weighted / total[:, None]

    def logits(self, ids, positions=None):
        """Logits [len(positions), vocab_size] after the tokens at these positions (None: at all)."""
        c = self.config
        everywhere = np.arange(len(ids))
        positions = everywhere if positions is None else np.asarray(positions)
        x = self.tensors["transformer.wte.weight"][ids]
        if c["learned_pos_emb"] and not self.attention["alibi"]:
            x = x + self.tensors["transformer.wpe.weight"][:len(ids)]
        for layer in range(c["n_layers"]):
            block = f"transformer.blocks.{layer}"
            q, k, v = self.qkv(self.norm(x, block + ".norm_1"), block)
            # Only the last layer may leave out positions: those before it feed the keys and values of the next.
            wanted = positions if layer == c["n_layers"] - 1 else everywhere
            x = x[wanted] + self.linear(self.attend(q[wanted], k, v, wanted), block + ".attn.out_proj")
            hidden = gelu(self.linear(self.norm(x, block + ".norm_2"), block + ".ffn.up_proj"))
            x = x + self.linear(hidden, block + ".ffn.down_proj")
        x = self.norm(x, "transformer.norm_f")
        head = "transformer.wte.weight" if c["tie_word_embeddings"] else "lm_head.weight"
        y = x @ self.tensors[head].T
        scale = c["logit_scale"]
        if scale == "inv_sqrt_d_model":
            scale = 1.0 / math.sqrt(c["d_model"])
        return y if scale is None else y * scale


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def logprobs(logits, ids):
    """Natural-log probability of ids[i + 1] given the logits after token i, for each row of logits but the last."""
    table = log_softmax(logits[:len(ids) - 1])
    return table[np.arange(len(ids) - 1), ids[1:]]
