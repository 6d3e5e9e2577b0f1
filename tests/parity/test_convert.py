"""What `quire convert` writes, read by those that it was written for: HuggingFace transformers and tokenizers, llama.cpp."""
import shutil

import numpy as np
import tokenizers

import checkpoints
import llama
import parity

TRANSFORMERS = "transformers " + checkpoints.transformers.__version__
LLAMA = "llama-cpp-python " + llama.VERSION
TOKENIZER = parity.SOURCE / "tests" / "tokenizer" / "data" / "tokenizer.json"
SHIPPED = parity.SOURCE / "models" / "storyteller-7m" / "storyteller.gguf"
STORY = parity.SOURCE / "corpora" / "sample" / "the-lamplighter.txt"
# name: (changes to checkpoints.BASE, attention configuration, type)
CASES = {
    "alibi-f32": ({"d_model": 256, "n_heads": 8, "vocab_size": 768}, {}, "f32"),
    "clip-bf16": ({"d_model": 256, "n_heads": 8, "vocab_size": 768}, {"clip_qkv": 6.0}, "bf16"),
    "heads-6-f16": ({"d_model": 192, "n_heads": 6, "vocab_size": 768}, {}, "f16"),
}
BOUNDS = {"f32": 5e-2, "f16": 0.1, "bf16": 0.5, "q8_0": 2.0, "q4_0": 2.0, "q4_k": 2.0, "q6_k": 2.0}


class Convert(parity.Case):
    def source(self, name):
        """A folder as transformers saves it, with a tokenizer; what transformers computes with it."""
        config, weights, ids, dtype = checkpoints.case(CASES, name)
        model = checkpoints.huggingface(config, weights, dtype)
        folder = self.folder / name
        model.save_pretrained(folder)
        shutil.copy(TOKENIZER, folder)
        return folder, ids, checkpoints.logits(model, ids)

    def in_transformers(self, case, folder, ids, logits, bound):
        model = checkpoints.transformers.MptForCausalLM.from_pretrained(folder)
        found = checkpoints.logits(model, ids)
        self.record(TRANSFORMERS, case, "log-probabilities of all tokens",
                    np.abs(parity.log_softmax(found) - parity.log_softmax(logits)).max(), bound)

    def test_folder_to_gguf(self):
        for name in CASES:
            folder, ids, logits = self.source(name)
            for kind in BOUNDS:
                if "192" in str(CASES[name][0]["d_model"]) and kind.endswith("_k"):
                    continue  # blocks of 256 weights
                with self.subTest((name, kind)):
                    path = self.folder / f"{name}-{kind}.gguf"
                    parity.quire("convert", folder, "-o", path, "--type", kind)
                    reading = parity.Reading(path, ids)
                    self.compare(LLAMA, f"{name} to {kind}", reading, ids, llama.logits(path, ids), BOUNDS[kind])
                    if kind == "f32":
                        self.compare(TRANSFORMERS, f"{name} to {kind}", reading, ids, logits, 1e-4)

    def test_folder_to_gguf_and_back(self):
        """Nothing is lost in F32: transformers loads what came back, and computes the same bits."""
        for name in CASES:
            with self.subTest(name):
                folder, ids, logits = self.source(name)
                parity.quire("convert", folder, "-o", self.folder / "there.gguf", "--type", "f32")
                parity.quire("convert", self.folder / "there.gguf", "-o", self.folder / "back", "--type", "f32")
                self.in_transformers(f"{name} to f32 and back", self.folder / "back", ids, logits, 0)
                (self.folder / "there.gguf").unlink()
                shutil.rmtree(self.folder / "back")

    def test_model_that_ships(self):
        """Its weights are quantised: the folder holds the values that they stand for."""
        folder = self.folder / "storyteller"
        parity.quire("convert", SHIPPED, "-o", folder, "--type", "f32")
        ids = np.array(parity.quire("tokenize", "-q", "-m", SHIPPED, STORY).split()[:500], np.int32)
        self.in_transformers("storyteller-7m to f32", folder, ids, parity.Reading(folder, ids).logits, 1e-4)
        peer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        peer.encode_special_tokens = True
        want = peer.encode(STORY.read_text(encoding="utf-8"), add_special_tokens=False).ids
        found = [int(line) for line in parity.quire("tokenize", "-q", "-m", SHIPPED, STORY).split()]
        self.assertEqual(found, want)

    def test_tokenizer_in_llama(self):
        """ids of plain text, which needs no normalisation, out of the vocabulary that the GGUF carries."""
        folder, _, _ = self.source("alibi-f32")
        path = self.folder / "vocabulary.gguf"
        parity.quire("convert", folder, "-o", path, "--type", "f32")
        peer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
        text = STORY.read_text(encoding="utf-8")
        self.assertEqual(llama.tokenize(path, text), peer.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    parity.main()
