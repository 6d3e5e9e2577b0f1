"""Where the others do not compute what MosaicML's definition says, or refuse: each shown with the installed version, and
how far off it is. Quire agrees with the definition (test_foundry.py, tests/golden); the numbers are those of
quire-models(7). A test that fails here says that a peer has changed."""
import os
import signal
import subprocess
import sys

import numpy as np

import parity  # first: it finds the makers of golden models
import checkpoints
import llama
import make_golden
import reference
import test_llama

TRANSFORMERS = "transformers " + checkpoints.transformers.__version__
LLAMA = "llama-cpp-python " + llama.VERSION
CASES = {
    "plain": ({}, {}, "f32"),
    "alibi_bias_max 16": ({}, {"alibi_bias_max": 16}, "f32"),
    "logit_scale 0.37": ({"logit_scale": 0.37}, {}, "f32"),
    "biases": ({"no_bias": False}, {}, "f32"),
    "qk_ln": ({}, {"qk_ln": True}, "f32"),
    "no ALiBi": ({"learned_pos_emb": False}, {"alibi": False}, "f32"),
}


def difference(found, want):
    return np.abs(parity.log_softmax(found) - parity.log_softmax(want)).max()


def far_reference(config, weights, ids, positions):
    """The last position's logits where tokens stand at these positions instead of 0, 1, 2, ..."""
    model = reference.Model(config, weights)

    def attend(q, k, v, where, tile=512):
        del tile
        out = np.empty(q.shape)
        for head in range(model.heads):
            scores = model.scale * q[:, head] @ k[:, head].T
            scores -= model.slopes[head] * (positions[where][:, None] - positions[None, :])
            scores[positions[None, :] > positions[where][:, None]] = -np.inf
            p = np.exp(scores - scores.max(1, keepdims=True))
            out[:, head] = p / p.sum(1, keepdims=True) @ v[:, head]
        return out.reshape(len(q), -1)
    model.attend = attend
    return model.logits(ids, [len(ids) - 1])[0]


class Transformers(parity.Case):
    def ignored(self, name, at_least):
        """The built-in class loads the tensors it knows and computes as if the option were not there."""
        config, weights, ids, _ = checkpoints.case(CASES, name)
        known = make_golden.shapes({**config, "no_bias": True, "attn_config": {"alibi": True}})
        found = checkpoints.logits(checkpoints.huggingface(config, {n: weights[n] for n in known}, "f32"), ids)
        self.record(TRANSFORMERS, f"ignores {name}", "log-probabilities",
                    difference(found, reference.Model(config, weights).logits(ids)), at_least, at_least=True)

    def test_alibi_bias_max(self):
        self.ignored("alibi_bias_max 16", 0.1)

    def test_logit_scale(self):
        self.ignored("logit_scale 0.37", 1)

    def test_biases(self):
        self.ignored("biases", 0.1)

    def test_qk_ln(self):
        self.ignored("qk_ln", 0.1)

    def test_always_alibi(self):
        self.ignored("no ALiBi", 0.1)

    def test_expansion_ratio(self):
        """Its feed-forward layers are four times as wide as the model, whatever the configuration says."""
        config, _, _, _ = checkpoints.case(CASES, "plain")
        model = checkpoints.transformers.MptForCausalLM(
            checkpoints.transformers.MptConfig(**{**config, "expansion_ratio": 2}))
        self.assertEqual(tuple(model.transformer.blocks[0].ffn.up_proj.weight.shape), (128, 32))

    def test_a_whole_number_for_clip_qkv(self):
        """MosaicML's own config.json of StoryWriter and of the 7B models says `"clip_qkv": 6`."""
        with self.assertRaisesRegex(Exception, "clip_qkv"):
            checkpoints.transformers.MptConfig.from_dict({"attn_config": {"clip_qkv": 6}})

    def test_longer_than_max_seq_len(self):
        config, weights, ids, _ = checkpoints.case(CASES, "plain")
        model = checkpoints.huggingface({**config, "max_seq_len": 64}, weights, "f32")
        with self.assertRaises(RuntimeError):
            checkpoints.logits(model, ids)


class Llama(parity.Case):
    def write(self, config, weights):
        path = self.folder / "model.gguf"
        llama.write(path, config, weights, "f32")
        return path

    def small(self, **changes):
        config, weights, ids = test_llama.case("alibi 8")
        attention = {**config["attn_config"], **changes.pop("attn_config", {})}
        return {**config, **changes, "attn_config": attention}, weights, ids

    def ignored(self, name, config, weights, ids, at_least):
        path = self.write(config, weights)
        want = reference.Model(config, weights).logits(ids)
        self.record(LLAMA, f"ignores {name}", "log-probabilities", difference(llama.logits(path, ids), want), at_least,
                    at_least=True)
        self.record("quire", f"honours {name}", "log-probabilities", difference(parity.Reading(path, ids).logits, want),
                    1e-4)

    def test_logit_scale(self):
        self.ignored("logit_scale 0.37", *self.small(logit_scale=0.37), 1)

    def test_softmax_scale(self):
        self.ignored("softmax_scale 0.05", *self.small(attn_config={"softmax_scale": 0.05}), 0.1)

    def test_expansion_ratio(self):
        """What its converter cannot say its engine can: the width is a key of the file."""
        config, _, ids = self.small(expansion_ratio=2)
        weights = make_golden.random_weights(config, 77)
        weights["transformer.wte.weight"] *= np.sqrt(32 / config["d_model"])
        found = llama.logits(self.write(config, weights), ids)
        self.record(LLAMA, "honours feed_forward_length", "log-probabilities",
                    difference(found, reference.Model(config, weights).logits(ids)), 2e-2)

    def test_qk_ln(self):
        """It ends the process: a view of the queries that is not contiguous is reshaped."""
        config, _, _ = self.small(attn_config={"qk_ln": True})
        path = self.write(config, make_golden.random_weights(config, 78))
        done = subprocess.run([sys.executable, "-c", "import sys, llama; llama.logits(sys.argv[1], [1, 2, 3])", path],
                              cwd=os.path.dirname(__file__), env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, -signal.SIGABRT, done.stderr.decode())

    def test_grouped_qk_ln(self):
        """It wants k_norm as wide as the model, which it is not with grouped heads."""
        config, _, ids = self.small(attn_config={"qk_ln": True, **make_golden.GROUPED})
        with self.assertRaises(ValueError):
            llama.logits(self.write(config, make_golden.random_weights(config, 79)), ids)

    def test_half_precision_mask(self):
        """With flash attention the ALiBi mask is in half precision: distances are rounded, and past 65,519 a key is not
        seen at all. The beginning of a text is put so far away by moving its positions, which costs no long reading."""
        config, weights, ids = self.small(n_layers=1, attn_config={"alibi_bias_max": 16})
        weights = {name: weights[name] for name in make_golden.shapes(config)}
        path = self.write(config, weights)
        near = llama.logits_after_gap(path, ids, 0)
        for flash in (False, True):
            far = llama.logits_after_gap(path, ids, 70000, flash=flash)
            positions = np.arange(len(ids))
            positions[:len(ids) // 2] -= 70000
            want = far_reference(config, weights, ids, positions)
            name = f"{'flash' if flash else 'plain'} attention, beginning 70,000 tokens away"
            self.record(LLAMA, name, "log-probabilities", difference(far, want), 1e-2 if flash else 5e-2, at_least=flash)
        self.assertGreater(np.abs(near - far).max(), 1e-3)

    def test_nfc(self):
        """Its tokenizer does not normalise: another spelling of the same text gives other ids."""
        path = parity.test_data("tokenizer/ggml-vocab-mpt.gguf")
        for text in ("cafe\u0301", "a\u030angstro\u0308m", "\u1112\u1161\u11ab", "\u212b"):
            want, _ = next(parity.encode_many(path, [text]))
            self.assertNotEqual(llama.tokenize(path, text), want, text)


if __name__ == "__main__":
    parity.main()
