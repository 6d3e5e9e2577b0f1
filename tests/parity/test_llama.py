"""The same GGUF in llama.cpp and in Quire. llama.cpp takes GELU in its tanh form, out of a table in half precision; with
weights of 16 bits it rounds activations to 16 bits, with quantised ones to 8: the bounds are for that, case by case."""
import unittest.mock

import numpy as np

import parity  # first: it finds the makers of golden models
import llama
import make_golden
import reference

PEER = "llama-cpp-python " + llama.VERSION
BASE = {"d_model": 256, "n_heads": 8, "n_layers": 2, "expansion_ratio": 4, "max_seq_len": 512, "vocab_size": 320,
        "no_bias": True, "learned_pos_emb": False}
# name: (changes to BASE, attention configuration): what llama.cpp implements.
CASES = {
    "alibi 8": ({}, {}),
    "storywriter": ({}, {"alibi_bias_max": 16, "clip_qkv": 6.0}),
    "6 heads": ({"d_model": 192, "n_heads": 6}, {"clip_qkv": 1.0}),
    "grouped": ({}, {"attn_type": "grouped_query_attention", "kv_n_heads": 2}),
    "biases": ({"no_bias": False}, {}),
    "learned positions": ({"learned_pos_emb": True}, {"alibi": False}),
    "untied": ({"tie_word_embeddings": False}, {}),
}
# Of log-probabilities: the mean of the logits' differences, and the largest of all. The weights are random and large, so
# that every option shows; an error grows with them.
BOUNDS = {"f32": (2e-3, 2e-2), "f16": (5e-3, 5e-2), "bf16": (0.05, 0.5)}
QUANTISED_BOUND = (0.2, 2.0)


def case(name):
    changes, attention = CASES[name]
    config = {**BASE, **changes, "attn_config": {"alibi": True, **attention}}
    seed = 900 + list(CASES).index(name)
    weights = make_golden.random_weights(config, seed)
    for tensor in ("transformer.wte.weight", "lm_head.weight"):
        if tensor in weights:
            weights[tensor] *= np.sqrt(32 / config["d_model"])
    return config, weights, np.random.default_rng(seed).integers(0, config["vocab_size"], 300)


def llama_gelu(x):
    """The tanh form of what is rounded to half precision, rounded to half precision: a table of 65,536 values."""
    h = x.astype(np.float16).astype(np.float64)
    y = (0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * h * (1 + 0.044715 * h * h)))).astype(np.float16)
    return np.where(x <= -10, 0, np.where(x >= 10, x, y))


def rounded(weights):
    return {name: x.astype(np.float32) for name, x in weights.items()}


class Llama(parity.Case):
    def check(self, name, path, ids, bounds):
        found = llama.logits(path, ids)
        reading = parity.Reading(path, ids)
        self.record(PEER, name, "logits, mean difference", np.abs(reading.logits - found).mean(), bounds[0])
        self.compare(PEER, name, reading, ids, found, bounds[1])
        return found

    def check_quantised(self, name, path, ids, config):
        """Beside llama.cpp, which rounds activations too, the float64 reference on the values that its tools unpack."""
        self.check(name, path, ids, QUANTISED_BOUND)
        want = reference.Model(config, llama.unpack(path, config)).logits(ids)
        found = parity.Reading(path, ids).logprobs
        self.record(f"gguf {llama.GGUF_VERSION}, float64", name, "log-probabilities of the text",
                    np.abs(found - reference.logprobs(want, ids)).max(), 1e-4)

    def test_every_option(self):
        for name in CASES:
            with self.subTest(name):
                config, weights, ids = case(name)
                path = self.folder / "model.gguf"
                llama.write(path, config, weights, "f32")
                found = self.check(f"{name}, f32", path, ids, BOUNDS["f32"])
                with unittest.mock.patch.object(reference, "gelu", llama_gelu):
                    want = reference.Model(config, rounded(weights)).logits(ids)
                self.record(PEER, f"{name}, f32", "float64 reference with its GELU, log-probabilities",
                            np.abs(parity.log_softmax(found) - parity.log_softmax(want)).max(), 5e-3)

    def test_types(self):
        config, weights, ids = case("storywriter")
        for dtype in llama.PRODUCED:
            with self.subTest(dtype):
                path = self.folder / f"{dtype}.gguf"
                llama.write(path, config, weights, dtype)
                if dtype in BOUNDS:
                    self.check(dtype, path, ids, BOUNDS[dtype])
                else:
                    self.check_quantised(dtype, path, ids, config)

    def test_types_by_its_own_quantiser(self):
        config, weights, ids = case("storywriter")
        source = self.folder / "source.gguf"
        llama.write(source, config, weights, "f32")
        for kind in llama.QUANTISED:
            with self.subTest(kind):
                path = self.folder / f"{kind}.gguf"
                llama.quantise(source, path, kind)
                self.check_quantised(kind, path, ids, config)

    def test_model_that_ships(self):
        path = parity.SOURCE / "models" / "storyteller-7m" / "storyteller.gguf"
        story = parity.SOURCE / "corpora" / "sample" / "the-lamplighter.txt"
        ids = np.array(parity.quire("tokenize", "-q", "-m", path, story).split()[:500], np.int32)
        self.check("storyteller-7m", path, ids, (0.05, 0.5))


if __name__ == "__main__":
    parity.main()
