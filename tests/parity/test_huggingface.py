"""Checkpoints that HuggingFace transformers writes, read by Quire: what its MptForCausalLM computes in float32."""
import checkpoints
import parity

PEER = "transformers " + checkpoints.transformers.__version__
# The products' factors rounded to 8 bits, in random models whose log-probabilities reach -30.
NARROW_BOUND = 0.5


class HuggingFace(parity.Case):
    def check(self, name, folder, ids, logits):
        for isa in parity.TABLES + [parity.NARROW]:
            reading = parity.Reading(folder, ids, isa)
            if reading.runs:
                bound = NARROW_BOUND if isa == parity.NARROW else 1e-4
                self.compare(PEER, f"{name}, {isa}", reading, ids, logits, bound)

    def test_every_configuration(self):
        for name in checkpoints.HUGGINGFACE:
            with self.subTest(name):
                config, weights, ids, dtype = checkpoints.case(checkpoints.HUGGINGFACE, name)
                model = checkpoints.huggingface(config, weights, dtype)
                folder = self.folder / name
                model.save_pretrained(folder)
                self.check(name, folder, ids, checkpoints.logits(model, ids))

    def saved_in(self, form, save):
        config, weights, ids, dtype = checkpoints.case(checkpoints.HUGGINGFACE, "heads-6-bf16")
        model = checkpoints.huggingface(config, weights, dtype)
        save(model, self.folder / form)
        self.check(form, self.folder / form, ids, checkpoints.logits(model, ids))
        return self.folder / form

    def test_sharded_safetensors(self):
        folder = self.saved_in("sharded safetensors", lambda m, f: m.save_pretrained(f, max_shard_size="40KB"))
        self.assertGreater(len(list(folder.glob("*.safetensors"))), 2)

    def test_bin(self):
        self.saved_in("bin", checkpoints.save_bin)

    def test_sharded_bin(self):
        self.saved_in("sharded bin", lambda m, f: checkpoints.save_bin(m, f, 3))


if __name__ == "__main__":
    parity.main()
