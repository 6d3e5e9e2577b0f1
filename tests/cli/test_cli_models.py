#!/usr/bin/env python3
"""Tests of the program as its users meet it, models: what they are, and their conversion: test_cli_models.py QUIRE [GROUP...]

Groups are the classes below."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import cli_case
from cli_case import HERE, Case, main


class Info(Case):
    def test_text(self):
        for arguments in (["info", self.model], ["info", "-m", self.model], ["info"]):
            result = self.run_quire(*arguments)
            for word in ("d_model", "alibi_bias_max", "clip_qkv", "softmax_scale", "fingerprint", "prompt_format",
                         "8,192", "65,536", "84,000", "f32"):
                self.assertIn(word, result.out)

    def test_json(self):
        info = json.loads(self.run_quire("info", "--json", self.model).out)
        self.assertEqual(info["configuration"]["d_model"], 32)
        self.assertEqual(info["configuration"]["n_heads"], 4)
        self.assertEqual(info["configuration"]["alibi"], True)
        self.assertEqual(info["model"]["prompt_format"], "plain")
        self.assertEqual([need["tokens"] for need in info["needs"]], [8192, 65536, 84000])
        # 2 layers, keys and values, 32 numbers of 2 bytes; whole blocks of 64 tokens
        for need in info["needs"]:
            self.assertGreaterEqual(need["disk_bytes"], need["tokens"] * 2 * 2 * 32 * 2)
        wide = json.loads(self.run_quire("info", "--json", "--kv-type", "f32", self.model).out)
        self.assertGreater(wide["needs"][0]["disk_bytes"], info["needs"][0]["disk_bytes"])

    def test_default_model(self):
        """No -m: the model installed with the program, or the one of the source tree around its build."""
        del self.environment["QUIRE_MODEL"]
        for program, model, marker in [("bin/quire", "share/quire/models/tiny/tiny.gguf", None),
                                       ("build/any/src/cli/quire", "models/tiny/tiny.gguf", "src/cli/model_path.c"),
                                       ("build/any/src/cli/quire", None, None)]:
            tree = pathlib.Path(tempfile.mkdtemp(prefix="[a*?] ", dir=self.folder))
            for name in filter(None, (program, model, marker)):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_bytes(b"not a model")
            shutil.copy(cli_case.quire, tree / program)
            result = subprocess.run([tree / program, "info"], env=self.environment, capture_output=True, text=True,
                                    check=False, timeout=60)
            self.assertEqual(result.returncode, 3 if model else 2, result.stderr)
            self.assertIn(str(tree / model) if model else "-m MODEL", result.stderr)

    def test_folder_of_ggufs(self):
        """A folder that is no checkpoint stands for its only GGUF; of several one has to be named."""
        folder = self.folder / "downloaded"
        folder.mkdir()
        self.assertIn("config.json", self.run_quire("info", str(folder), code=3).err)
        (folder / "b.gguf").write_bytes(b"not a model")
        for arguments in (["info", str(folder)], ["tokenize", "-m", str(folder), "-"]):
            self.assertIn(str(folder / "b.gguf"), self.run_quire(*arguments, code=3).err)
        self.assertIn(str(folder / "b.gguf"), self.run_quire("info", "--verify", str(folder), code=4).out)
        (folder / "a.gguf").write_bytes(b"not a model")
        for arguments in (["info", str(folder)], ["finetune", "-m", str(folder), self.write("c.yaml", "{}")]):
            self.assertIn("2 GGUF files: name one, such as a.gguf", self.run_quire(*arguments, code=2).err)
        shutil.copy(pathlib.Path(self.model, "config.json"), folder)
        self.assertIn("no weights", self.run_quire("info", str(folder), code=3).err)

    def test_chat_model(self):
        info = json.loads(self.run_quire("info", "--json", self.chat_model).out)
        self.assertEqual(info["model"]["prompt_format"], "chatml")
        self.assertEqual(info["tokenizer"]["special_tokens"], 4)

    def assert_printable(self, text):
        """UTF-8, of which a terminal acts on nothing but the ends of lines."""
        for c in text.decode():
            self.assertTrue(c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"
                                            and c not in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2069"),
                            text)

    def test_names_do_not_act_on_a_terminal(self):
        """Folders, fields and tensors may be called anything, in anybody's files."""
        hostile, shown = b"m\x1b[2J\n\xc2\x9b\xe2\x80\xae\xff\x7f", "m\\x1b[2J\\x0a\\u009b\\u202e\\xff\\x7f"
        folder = os.path.join(os.fsencode(self.folder), hostile)
        shutil.copytree(os.fsencode(self.model), folder)
        lines = self.run_quire("info", self.model).out.splitlines()
        result = self.run_quire("info", "-v", folder)
        self.assert_printable(result.raw)
        self.assert_printable(result.err.encode())
        self.assertIn(shown, result.out)
        self.assertEqual(len(result.out.splitlines()), len(lines))
        self.assertEqual(json.loads(self.run_quire("info", "--json", folder).out)["model"]["name"], shown)

        config_path, weights_path = os.path.join(folder, b"config.json"), os.path.join(folder, b"model.safetensors")
        config = json.loads(pathlib.Path(os.fsdecode(config_path)).read_text())
        name = {"quire": {"name": "\x1b]0;title\x07\u202e caf\u00e9"}}
        pathlib.Path(os.fsdecode(config_path)).write_text(json.dumps(config | name))
        self.assertIn("\\x1b]0;title\\x07\\u202e caf\u00e9\n", self.run_quire("info", folder).out)
        pathlib.Path(os.fsdecode(config_path)).write_text(json.dumps(config | {"model_type": "\x1b[31m\n\u009b\u2066"}))
        result = self.run_quire("info", folder, code=3)
        self.assert_printable(result.err.encode())
        self.assertIn("\\x1b[31m\\x0a\\u009b\\u2066", result.err)
        pathlib.Path(os.fsdecode(config_path)).write_text(json.dumps(config))

        weights = pathlib.Path(os.fsdecode(weights_path)).read_bytes()
        n = struct.unpack_from("<Q", weights)[0]
        header = weights[8:8 + n].replace(b"transformer.norm_f.weight", b"\\u001b[31m.\xc2\x9b.weight")
        pathlib.Path(os.fsdecode(weights_path)).write_bytes(struct.pack("<Q", len(header)) + header + weights[8 + n:])
        result = self.run_quire("info", "--verify", folder, code=4)
        self.assert_printable(result.raw)
        self.assert_printable(result.err.encode())
        self.assertIn("norm_f", result.out)


class Convert(Case):
    def test_there_and_back(self):
        """The same text scores the same from each format; names, prompt format and tokenizer go along."""
        want = json.loads(self.run_quire("score", "--json", "-m", self.chat_model, self.story).out)
        info = json.loads(self.run_quire("info", "--json", self.chat_model).out)
        source = self.chat_model
        for out in ("a.gguf", "b", "c.gguf"):
            result = self.run_quire("convert", source, "-o", out)
            self.assertEqual(result.out, "")
            self.assertIn(out, result.err)
            got = json.loads(self.run_quire("score", "--json", "-m", out, self.story).out)
            self.assertEqual(got["mean_nll"], want["mean_nll"])
            now = json.loads(self.run_quire("info", "--json", out).out)
            self.assertEqual(now["configuration"], info["configuration"])
            self.assertEqual(now["tokenizer"], info["tokenizer"])
            for field in ("name", "prompt_format", "parameters", "tensors"):
                self.assertEqual(now["model"][field], info["model"][field])
            source = str(self.folder / out)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir() if p.name != "cache"),
                         ["a.gguf", "b", "c.gguf", "story.txt"])

    def test_types(self):
        for kind in ("f32", "f16", "bf16", "q8_0", "Q4_0"):
            report = json.loads(self.run_quire("convert", self.model, "-o", "m.gguf", "--type", kind, "--force",
                                               "--json").out)
            types = json.loads(self.run_quire("info", "--json", "m.gguf").out)["types"]
            self.assertEqual(set(types), {"f32", kind.lower()})
            self.assertEqual(report["bytes"], sum(t["bytes"] for t in types.values()))
        self.assert_error(self.run_quire("convert", self.model, "-o", "x", "--type", "q8_0", code=2), "f32, f16 or bf16")
        self.assert_error(self.run_quire("convert", self.model, "-o", "x.gguf", "--type", "q9", code=2), "q9")

    def test_what_exists_is_kept(self):
        path = self.write("m.gguf", "precious")
        self.assert_error(self.run_quire("convert", self.model, "-o", path, code=2), "exists", "--force")
        self.assertEqual(pathlib.Path(path).read_text(), "precious")
        self.run_quire("convert", self.model, "-o", path, "--force", "-q")
        self.run_quire("info", "--verify", path)

    def test_refused(self):
        self.assert_error(self.run_quire("convert", "no-such-model", "-o", "x", code=3), "no-such-model")
        self.assert_error(self.run_quire("convert", self.model, "-o", "no/such/m.gguf", code=1), "no/such")

    def test_sentencepiece_stays_as_it_is(self):
        make = [sys.executable, HERE / "make_model.py"]
        subprocess.run([*make, self.folder / "spiece", "--spiece"], check=True)
        subprocess.run([*make, self.folder / "packed", "--spiece", "--gguf"], check=True)
        self.run_quire("convert", "spiece", "-o", "copy", "-q")
        self.assertEqual((self.folder / "copy" / "spiece.model").read_bytes(),
                         (self.folder / "spiece" / "spiece.model").read_bytes())
        self.run_quire("convert", "packed/model.gguf", "-o", "copy.gguf", "-q")
        want = self.run_quire("tokenize", "-m", "spiece", self.story).out
        for model in ("copy", "copy.gguf"):
            self.assertEqual(self.run_quire("tokenize", "-m", model, self.story).out, want)
            self.assertIn("all is sound", self.run_quire("info", "--verify", model).err)
        self.assert_error(self.run_quire("convert", "spiece", "-o", "x.gguf", code=3), "SentencePiece", "to a folder")
        self.assert_error(self.run_quire("convert", "packed/model.gguf", "-o", "x", code=3), "SentencePiece", "to a GGUF")

    def test_verify(self):
        self.run_quire("convert", self.model, "-o", "m.gguf", "-q")
        self.assertIn("all is sound", self.run_quire("info", "--verify", "m.gguf").err)
        data = bytearray((self.folder / "m.gguf").read_bytes())
        data[-100] ^= 1
        damaged = self.write("damaged.gguf", bytes(data))
        result = self.run_quire("info", "--verify", damaged, code=4)
        self.assertIn("damage: checksum:", result.out)
        report = json.loads(self.run_quire("info", "--verify", "--json", damaged, code=4).out)
        self.assertEqual((report["sound"], report["checksums"] - report["matching_checksums"]), (False, 1))
        self.write("cut.gguf", bytes(data[:-5000]))
        result = self.run_quire("info", "--verify", "cut.gguf", code=4)
        self.assertRegex(result.out, "damage: refused: .* cut short")
        self.assertEqual(result.err.count("\n"), 1)
        self.assertIn("1 problem found", result.err)
        result = self.run_quire("info", "--verify", "nosuch.gguf", code=3)
        self.assertEqual(result.out, "")
        report = json.loads(self.run_quire("info", "--verify", "--json", "nosuch.gguf", code=3).out)
        self.assertEqual((report["sound"], report["findings"]), (None, []))
        self.assertIn("no checksums", self.run_quire("info", "--verify", self.model).err)


if __name__ == "__main__":
    main()
