#!/usr/bin/env python3
"""Tests of `quire train` and `quire finetune` as their users meet them: test_cli_train.py QUIRE

A tiny model on texts of a few words; the tokenizer is the one that make_model.py writes."""
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from cli_case import HERE, Case, main

WORDS = "the keeper of the light wrote down the weather every evening and the ships and what the sea had left".split()


class Train(Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(4)
        self.texts = self.folder / "texts"
        self.texts.mkdir()
        for i in range(8):
            text = " ".join(rng.choice(WORDS) for _ in range(30 if i < 2 else 150))
            (self.texts / f"{i}.txt").write_text(text)
        self.write("split.tsv", "0\theldout\n1\theldout\n")
        self.run_folder = self.folder / "run"

    def config(self, **changes):
        config = {
            "model": {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 256},
            "tokenizer": {"name": self.model + "/tokenizer.json"}, "save_folder": str(self.run_folder),
            "train_loader": {"dataset": {"local": str(self.texts)}}, "holdout": {"list": "split.tsv"},
            "global_train_batch_size": 4, "device_train_microbatch_size": 2, "max_duration": "12ba",
            "scheduler": {"t_warmup": "2ba"}, "optimizer": {"lr": 2e-3}, "eval_interval": "6ba",
            "save_interval": "5ba", "precision": "fp32", "output": {"gguf": "f32", "huggingface": "f32"}, **changes}
        return self.write("run.yaml", json.dumps(config))

    def log(self):
        return [json.loads(line) for line in (self.run_folder / "log.jsonl").read_text().splitlines()]

    def test_trains_and_says_what_it_does(self):
        result = self.run_quire("train", self.config(sample_interval="12ba", sample_tokens=5))
        self.assertEqual(result.out, "")
        for text in ("model.d_model: 16", "optimizer.betas: [0.9, 0.99]", "memory: ", "step 12: validation loss",
                     "step 12: Once upon a time", "the model is in"):
            self.assertIn(text, result.err)
        log = self.log()
        self.assertEqual(log[0]["event"], "start")
        self.assertEqual(log[0]["config"]["model.d_model"], "16")
        self.assertEqual([l["step"] for l in log if l["event"] == "step"], list(range(1, 13)))
        self.assertEqual([l["step"] for l in log if l["event"] == "eval"], [6, 12])
        self.assertGreater(log[1]["share_of_peak"], 0)
        for model in ("model", "model.gguf"):
            self.assertIn("d_model                16", self.run_quire("info", str(self.run_folder / model)).out)

    def test_score_gives_the_perplexity_that_training_reported(self):
        self.run_quire("train", "-q", self.config())
        reported = [l for l in self.log() if l["event"] == "eval"][-1]
        nll = count = 0
        for name in ("0", "1"):  # each fits the context, so that both read it whole
            score = json.loads(self.run_quire("score", "--json", "-q", "--kv-type", "f32", "--isa", "base", "-m",
                                              str(self.run_folder / "model.gguf"), str(self.texts / f"{name}.txt")).out)
            nll += score["mean_nll"] * score["scored_tokens"]
            count += score["scored_tokens"]
        self.assertEqual(count, reported["predicted_tokens"])
        self.assertAlmostEqual(nll / count, reported["loss"], delta=1e-5)
        self.assertAlmostEqual(reported["perplexity"], math.exp(reported["loss"]), places=4)

    def test_an_interrupted_run_says_how_to_go_on_and_does(self):
        config = self.config(max_duration="100000ba", save_interval="100000ba", eval_interval="0ba")
        process = self.start("train", config, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (self.run_folder / "log.jsonl").exists():
            time.sleep(0.05)
        while time.monotonic() < deadline and len(self.log_lines()) < 4:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (130, b""), err)
        self.assertIn(b"the same command goes on", err)
        steps = [l["step"] for l in self.log() if l["event"] == "step"]
        config = self.config(max_duration=f"{steps[-1] + 2}ba", save_interval="100000ba", eval_interval="0ba")
        result = self.run_quire("train", config)
        self.assertIn(f"going on after step {steps[-1]} of {steps[-1] + 2}", result.err)

    def log_lines(self):
        return (self.run_folder / "log.jsonl").read_text().splitlines()

    def test_errors_name_the_place(self):
        self.assertIn("line 1: unknown key 'modell.d_model'; the nearest one is 'model.d_model'",
                      self.run_quire("train", self.write("a.yaml", "modell: {d_model: 3}"), code=3).err)
        refused = self.run_quire("train", "absent.yaml", code=3).err
        self.assertIn("cannot open", refused)
        self.assertNotIn("GFLOP/s", refused)  # nothing is measured for what does not begin
        self.assertIn("needs one thing", self.run_quire("train", code=2).err)
        self.assertIn("belongs to '--plot'", self.run_quire("train", "a.yaml", "-o", "x.svg", code=2).err)
        self.assertIn("'--model'", self.run_quire("finetune", "a.yaml", code=2).err)
        empty = self.folder / "empty"
        empty.mkdir()
        spiece = HERE.parent / "tokenizer" / "data" / "spiece" / "plain.model"
        for changes, message in (
                ({"train_loader": {"dataset": {"local": str(empty)}}}, "has no text to train on"),
                ({"holdout": {"list": "absent.tsv"}}, "absent.tsv"),
                ({"tokenizer": {"name": str(spiece)}}, "SentencePiece"),
                ({"model": {"d_model": 65536, "n_heads": 16, "n_layers": 1024}}, "available: reduce"),
                ({"model": {"d_model": 18, "n_heads": 4}}, "not a multiple of n_heads"),
                ({"model": {"max_seq_len": 100000}}, "one sample needs")):
            result = self.run_quire("train", self.config(**changes), code=1 if "reduce" in message else 3)
            self.assertIn(message, result.err)

    def test_finetune(self):
        self.run_quire("train", "-q", self.config())
        base = str(self.run_folder / "model")
        settings = self.run_folder / "model" / "config.json"
        settings.write_text(settings.read_text().replace('"plain"', '"chatml"'))
        self.run_folder = self.folder / "tuned"
        changes = {"model": {"max_seq_len": 300}, "tokenizer": {"name": base + "/tokenizer.json"}, "max_duration": "2ba"}
        result = self.run_quire("finetune", "-m", base, self.config(**changes))
        self.assertIn("model.max_seq_len: 300", result.err)
        self.assertIn("model.d_model: 16", result.err)
        for model in ("model", "model.gguf"):  # what the base says of itself beside its shape
            report = json.loads(self.run_quire("info", "--json", str(self.run_folder / model)).out)["model"]
            self.assertEqual((report["prompt_format"], report["name"]), ("chatml", "quire-model"))
        self.run_folder = self.folder / "tuned-2"
        result = self.run_quire("finetune", "-m", base, self.config(**dict(changes, model={"n_heads": 4})), code=3)
        self.assertIn("model.n_heads is 4", result.err)
        changes["tokenizer"] = {"name": str(HERE.parent / "tokenizer" / "data" / "tokenizer.json")}
        result = self.run_quire("finetune", "-m", base, self.config(**changes), code=3)
        self.assertIn("gives other ids", result.err)

    def test_finetune_keeps_the_license(self):
        model = str(HERE.parent.parent / "models" / "storyteller-7m" / "storyteller.gguf")
        changes = {"model": {"max_seq_len": 64}, "tokenizer": {}, "max_duration": "1ba",
                   "scheduler": {"t_warmup": "0ba"}, "output": {"gguf": "q8_0", "huggingface": "none"}}
        self.run_quire("finetune", "-q", "-m", model, self.config(**changes))
        base, tuned = (pathlib.Path(path).read_bytes() for path in (model, self.run_folder / "model.gguf"))
        for key, n_bytes in ((b"general.license", 4 + 8 + len("Apache-2.0")),
                             (b"tokenizer.ggml.padding_token_id", 4 + 4)):
            value = base.partition(key)[2][:n_bytes]  # its type, and what follows
            self.assertIn(key + value, tuned)
            self.assertEqual(tuned.count(key), 1)

    def test_shards(self):
        paths = [str(self.texts / f"{i}.txt") for i in range(8)]
        self.run_quire("tokenize", "-q", "--mds", "shards", *paths)
        self.assertIn("holds a dataset already",
                      self.run_quire("tokenize", "-q", "--mds", "shards", *paths, code=2).err)
        result = self.run_quire("train", self.config(train_loader={"dataset": {"local": "shards"}}, holdout={}))
        self.assertIn("shards: 8 documents", result.err)

    def test_plot(self):
        lines = [{"event": "start", "step": 0}]
        lines += [{"event": "step", "step": i, "loss": 9 / i, "learning_rate": i * 1e-4} for i in range(1, 2001)]
        lines += [{"event": "eval", "step": 1000, "loss": 2}, {"event": "resume", "step": 500}]
        lines += [{"event": "step", "step": i, "loss": 9 / i, "learning_rate": i * 1e-4} for i in range(501, 700)]
        path = self.write("log.jsonl", "".join(json.dumps(line) + "\n" for line in lines) + '{"event": "st')
        environment = dict(self.environment)
        self.environment["PATH"] = str(self.folder)
        self.assertIn("gnuplot is needed", self.run_quire("train", "--plot", path, "-o", "x.svg", code=3).err)
        (self.folder / "gnuplot").write_text("#!/bin/sh\necho '<svg'\nexit 1\n")
        (self.folder / "gnuplot").chmod(0o755)
        self.assertIn("could not draw", self.run_quire("train", "--plot", path, "-o", "x.svg", code=3).err)
        self.assertFalse((self.folder / "x.svg").exists())
        self.environment = environment
        self.assertIn("not JSON", self.run_quire("train", "--plot", self.story, code=3).err)
        os.mkfifo(self.folder / "fifo")
        self.assertIn("expected a regular file", self.run_quire("train", "--plot", "fifo", code=3).err)
        if shutil.which("gnuplot"):
            self.run_quire("train", "--plot", path, "-o", "y.svg")
            picture = (self.folder / "y.svg").read_text()
            self.assertIn("</svg>", picture)
            self.assertIn("learning rate", picture)

    def test_keys_are_in_the_manual(self):
        keys = [line.split()[0] for line in self.run_quire("train", "--keys").out.splitlines()]
        self.assertGreater(len(keys), 60)
        page = (HERE.parents[1] / "man" / "quire-train.1").read_text(encoding="utf-8")
        described = [line[4:].strip() for line in page.splitlines() if line.startswith(".It ") and " Fl " not in line]
        described = [word for words in described for word in words.removeprefix("Cm ").split(" , ")]
        self.assertEqual([key for key in keys if key not in described], [])


if __name__ == "__main__":
    main()
