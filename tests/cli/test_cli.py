#!/usr/bin/env python3
"""Tests of the program as its users meet it: files for standard output and error, exit codes, pipes, signals.

    test_cli.py QUIRE [GROUP...]     groups are the classes below

Python's library alone. The model is a small random one that make_model.py writes; nothing of the user's own cache is
touched."""
import csv
import fcntl
import json
import math
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
STORY = ("The keeper of the light wrote down the weather every evening, and the ships, and what the sea had left. "
         "\"Nothing today,\" he wrote, and then, because it was not true, he crossed it out.\n\nIn the morning\u2014"
         "it was Sunday\u2014the caf\u00e9 was closed.\r\n")
COMMANDS = ["continue", "summarize", "ask", "score", "tokenize", "detokenize", "info", "convert", "train", "finetune",
            "bench", "kv", "help", "version"]

quire = None
scratch = None


class Result:
    def __init__(self, code, out, err):
        self.code, self.raw = code, out
        self.out, self.err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


class Case(unittest.TestCase):
    """A temporary folder with a model, a story and an empty cache."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        self.model = str(pathlib.Path(scratch) / "model")
        self.chat_model = str(pathlib.Path(scratch) / "chat")
        self.story = self.write("story.txt", STORY)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("QUIRE_")}
        self.environment.update(XDG_CACHE_HOME=str(self.folder / "cache"), QUIRE_MODEL=self.model, LC_ALL="C.UTF-8")

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def start(self, *arguments, **streams):
        return subprocess.Popen([quire, *arguments], env=self.environment, cwd=self.folder, **streams)

    def run_quire(self, *arguments, stdin=b"", code=0):
        """Runs with stdout and stderr as files, as a shell's > and 2> do."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.start(*arguments, stdin=subprocess.PIPE, stdout=out, stderr=err)
            process.communicate(stdin, timeout=240)
            out.seek(0)
            err.seek(0)
            result = Result(process.returncode, out.read(), err.read())
        self.assertEqual(result.code, code, f"{arguments}: {result.err}")
        return result

    def second_reader(self):
        """What the reader that follows quire-kv(5) says of the store in the cache."""
        store = self.folder / "cache" / "quire"
        result = subprocess.run([sys.executable, HERE.parent / "kv" / "second_reader.py", store], capture_output=True,
                                text=True, check=False, timeout=60)
        if result.returncode == 77:
            self.skipTest("no libxxhash")
        return result

    def assert_error(self, result, *words):
        """One message with the program's name in front, naming each word, and nothing on standard output."""
        self.assertEqual(result.raw, b"")
        self.assertTrue(result.err.startswith("quire: "), result.err)
        for word in words:
            self.assertIn(word, result.err)


class Help(Case):
    def test_program(self):
        for arguments in ([], ["help"], ["--help"], ["-h"]):
            if arguments:
                result = self.run_quire(*arguments)
                self.assertEqual(result.err, "")
                for command in COMMANDS:
                    self.assertRegex(result.out, rf"(?m)^  {command} ")

    def test_each_command(self):
        table = self.run_quire("--list-options").out
        for command in COMMANDS:
            by_option, by_command = self.run_quire(command, "--help"), self.run_quire("help", command)
            self.assertEqual(by_option.out, by_command.out)
            self.assertIn(f"usage: quire {command}", by_option.out)
            self.assertLessEqual(max(map(len, by_option.out.splitlines())), 80)
            for name in re.findall(rf"(?m)^{command}\t(--\S+)", table):
                self.assertRegex(by_option.out, rf"(?m)^  .*{name}\b", command)

    def test_version(self):
        self.assertRegex(self.run_quire("version").out, r"^quire \d+\.\d+\.\d+\n$")
        self.assertEqual(self.run_quire("--version").out, self.run_quire("continue", "--version").out)

    def test_help_wins_over_missing_model_and_documents(self):
        self.environment["QUIRE_MODEL"] = "/nonexistent"
        self.run_quire("ask", "-h")


class Errors(Case):
    def test_usage(self):
        for arguments, word in [([], "no command"), (["frobnicate"], "frobnicate"), (["continue", "--frob"], "--frob"),
                                (["continue", "-n"], "-n"), (["continue", "-n", "x"], "--max-tokens"),
                                (["ask"], "question"),
                                (["tokenize", "--top-k", "3"], "--top-k"), (["help", "frob"], "frob"),
                                (["continue", "--isa", "mmx", self.story], "mmx"),
                                (["continue", "-", "-"], "standard input")]:
            result = self.run_quire(*arguments, code=2)
            self.assert_error(result, word)

    def test_usage_names_the_help(self):
        self.assertIn("try 'quire continue --help'", self.run_quire("continue", "--frob", code=2).err)
        self.assertIn("try 'quire --help'", self.run_quire(code=2).err)

    def test_missing_file(self):
        for command in ("continue", "score", "tokenize", "detokenize"):
            result = self.run_quire(command, "no-such-file.txt", code=3)
            self.assert_error(result, "no-such-file.txt", "No such file")

    def test_missing_file_is_found_before_the_first_is_read(self):
        self.assert_error(self.run_quire("tokenize", self.story, "no-such-file.txt", code=3), "no-such-file.txt")

    def test_folder(self):
        self.assert_error(self.run_quire("continue", str(self.folder), code=3), str(self.folder), "director")

    def test_no_permission(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        os.chmod(self.story, 0)
        self.assert_error(self.run_quire("continue", self.story, code=3), "story.txt", "ermission")

    def test_invalid_utf8(self):
        path = self.write("bad.txt", b"good \xff\xfe text")
        for command in ("continue", "score", "tokenize"):
            self.assert_error(self.run_quire(command, path, code=3), "bad.txt", "5")

    def test_empty(self):
        path = self.write("empty.txt", b"")
        for command in ("continue", "score", "summarize"):
            self.assert_error(self.run_quire(command, path, code=3), "empty.txt", "nothing to read")
        self.assert_error(self.run_quire("continue", code=3), "standard input", "nothing to read")

    def test_bad_document_does_not_keep_the_others(self):
        bad = self.write("bad.txt", b"\xc3")
        result = self.run_quire("continue", "-n", "5", bad, self.story, code=3)
        self.assertIn("bad.txt", result.err)
        self.assertNotEqual(result.out, "")

    def test_bad_models(self):
        for path in ("no-such-model", self.story, str(self.folder)):
            self.assert_error(self.run_quire("continue", "-m", path, self.story, code=3), path)
        self.environment["QUIRE_MODEL"] = "also-missing"
        self.assert_error(self.run_quire("info", code=3), "also-missing")

    def test_prompt_format_that_the_vocabulary_lacks(self):
        result = self.run_quire("ask", "--prompt-format", "chatml", self.story, "Who?", code=3)
        self.assert_error(result, "<|im_start|>")

    def test_memory_too_small(self):
        result = self.run_quire("continue", "--memory", "10K", self.story, code=1)
        self.assert_error(result, "memory")

    def test_store_that_cannot_be_made(self):
        self.assert_error(self.run_quire("continue", "--store", self.story + "/x", self.story, code=1), "story.txt")


class Tokens(Case):
    def round_trip(self, text, *options):
        ids = self.run_quire("tokenize", "-q", *options, stdin=text)
        self.assertEqual(ids.err, "")
        self.assertRegex(ids.out, r"\A(\d+\n)*\Z")
        back = self.run_quire("detokenize", "-q", stdin=ids.raw)
        return ids.out.split(), back.raw

    def test_round_trip_is_byte_exact(self):
        for text in (STORY.encode(), b"", b"no line end", b"\n\n\n", "\U0001F600 \u4e2d\u6587".encode(), b"a\x00b\x7f",
                     STORY.encode() * 3000):
            self.assertEqual(self.round_trip(text)[1], text)

    def test_merges_are_used(self):
        ids, _ = self.round_trip(b" the and")
        self.assertEqual(len(ids), 2)

    def test_special_tokens_are_text_unless_asked_for(self):
        text = b"a<|endoftext|>b"
        plain, back = self.round_trip(text)
        self.assertEqual((len(plain), back), (15, text))
        special, back = self.round_trip(text, "--special")
        self.assertEqual((special[1], len(special), back), ("0", 3, text))

    def test_files_and_pipes_give_the_same(self):
        expected = self.run_quire("tokenize", "-q", self.story).raw
        for options in ([], ["--no-uring"]):
            self.assertEqual(self.run_quire("tokenize", "-q", *options, self.story).raw, expected)
        self.assertEqual(self.run_quire("tokenize", "-q", "-", stdin=STORY.encode()).raw, expected)
        self.assertEqual(self.run_quire("tokenize", "-q", self.story, "-", stdin=STORY.encode()).raw, 2 * expected)

    def test_lossy_is_counted(self):
        result = self.run_quire("tokenize", "--lossy", stdin=b"a\xffb\xc3c")
        self.assertIn("2 invalid", result.err)
        self.assertEqual(self.run_quire("detokenize", stdin=result.raw).out, "a\ufffdb\ufffdc")

    def test_a_whole_novel_with_the_real_vocabulary(self):
        data = os.environ.get("QUIRE_TEST_DATA")
        if not data:
            self.skipTest("QUIRE_TEST_DATA is not set")
        novel = pathlib.Path(data, "corpora", "gatsby.txt")
        self.environment["QUIRE_MODEL"] = str(pathlib.Path(data, "tokenizer", "ggml-vocab-mpt.gguf"))
        ids = self.run_quire("tokenize", "-q", str(novel))
        self.assertEqual(len(ids.out.splitlines()), 71899)
        self.assertEqual(self.run_quire("detokenize", "-q", stdin=ids.raw).raw, novel.read_bytes())

    def test_detokenize_takes_any_white_space(self):
        ids = self.run_quire("tokenize", "-q", stdin=b"abc").out.split()
        self.assertEqual(self.run_quire("detokenize", "-q", stdin="\t ".join(ids).encode()).out, "abc")
        path = self.write("ids", "\r\n".join(ids))
        self.assertEqual(self.run_quire("detokenize", "-q", path).out, "abc")

    def test_detokenize_names_the_line(self):
        for text, word in [(b"5\n6\nseven\n", "line 3: 'seven'"), (b"5\n-6", "line 2: '-6'"),
                           (b"999999", "line 1: '999999'"), (b"5\n\n1" + b"0" * 30, "line 3"), (b"0x10", "'0x10'")]:
            result = self.run_quire("detokenize", stdin=text, code=3)
            self.assertIn(word, result.err)
            self.assertIn("standard input", result.err)


class Score(Case):
    def per_token(self, *options):
        result = self.run_quire("score", "--per-token", *options, self.story)
        rows = [line.split("\t") for line in result.out.splitlines()]
        for row in rows:
            self.assertEqual(len(row), 3)
            self.assertRegex(row[2], r"^-?\d+\.\d{6,}$")
        return result, [(int(p), int(i), float(l)) for p, i, l in rows]

    def test_per_token(self):
        ids = [int(i) for i in self.run_quire("tokenize", "-q", self.story).out.split()]
        _, rows = self.per_token()
        self.assertEqual([p for p, _, _ in rows], list(range(1, len(ids))))
        self.assertEqual([i for _, i, _ in rows], ids[1:])
        self.assertTrue(all(l < 0 for _, _, l in rows))

    def test_summary_agrees_with_per_token(self):
        _, rows = self.per_token("-q")
        mean = -sum(l for _, _, l in rows) / len(rows)
        text = self.run_quire("score", self.story).out
        self.assertIn(f"tokens      {len(rows) + 1}\n", text)
        self.assertAlmostEqual(float(re.search(r"mean NLL +(\S+) nats", text).group(1)), mean, places=5)
        result = json.loads(self.run_quire("score", "--json", self.story).out)
        self.assertAlmostEqual(result["mean_nll"], mean, places=6)
        self.assertAlmostEqual(result["perplexity"], math.exp(mean), places=3)
        self.assertEqual(sum(b["tokens"] for b in result["by_position"]), len(rows))
        for bucket in result["by_position"]:
            part = [-l for p, _, l in rows if bucket["first"] <= p <= bucket["last"]]
            self.assertEqual(len(part), bucket["tokens"])
            self.assertAlmostEqual(bucket["mean_nll"], sum(part) / len(part), places=5)

    def test_json_per_token(self):
        _, rows = self.per_token("-q")
        result = json.loads(self.run_quire("score", "--json", "--per-token", self.story).out)
        self.assertEqual([tuple(row[:2]) for row in result["per_token"]], [row[:2] for row in rows])

    def test_chunk_and_span_do_not_matter(self):
        exact = ["-q", "--kv-type", "f32"]  # rounding to 16 bits would magnify the last bit of a sum
        _, expected = self.per_token(*exact)
        for options in (["--chunk", "7"], ["--span", "64"], ["--threads", "1"]):
            _, rows = self.per_token(*exact, *options)
            for a, b in zip(expected, rows, strict=True):
                self.assertAlmostEqual(a[2], b[2], places=4)

    def test_nothing_is_kept(self):
        self.run_quire("score", self.story)
        self.assertFalse((self.folder / "cache").exists())

    def test_one_token(self):
        self.assert_error(self.run_quire("score", stdin=b"a", code=3), "two")


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
            tree = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            for name in filter(None, (program, model, marker)):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_bytes(b"not a model")
            shutil.copy(quire, tree / program)
            result = subprocess.run([tree / program, "info"], env=self.environment, capture_output=True, text=True,
                                    check=False, timeout=60)
            self.assertEqual(result.returncode, 3 if model else 2, result.stderr)
            self.assertIn(str(tree / model) if model else "-m MODEL", result.stderr)

    def test_chat_model(self):
        info = json.loads(self.run_quire("info", "--json", self.chat_model).out)
        self.assertEqual(info["model"]["prompt_format"], "chatml")
        self.assertEqual(info["tokenizer"]["special_tokens"], 4)


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
        result = self.run_quire("info", "--verify", "cut.gguf", code=3)
        self.assertIn("damage: refused:", result.out)
        self.assertIn("cut short", result.err)


class Bench(Case):
    CONTEXTS = ["--contexts", "40,100,300", "--memory", "128M"]

    def rows(self, *arguments, **more):
        result = self.run_quire("bench", "--csv", *self.CONTEXTS, *arguments, **more)
        return list(csv.DictReader(result.out.splitlines())), result

    def test_csv(self):
        rows, result = self.rows("--decode", "3", "--repeats", "2")
        self.assertEqual([(row["context"], row["read_tokens"]) for row in rows],
                         [("40", "40"), ("100", "60"), ("300", "200")])
        for row in rows:
            self.assertEqual(row["decode_tokens"], "3")
            for name in ("read_seconds", "read_per_second", "read_share", "decode_per_second", "decode_share",
                         "peak_operations", "peak_memory_read", "resident_bytes"):
                self.assertGreater(float(row[name]), 0, name)
            self.assertAlmostEqual(float(row["read_per_second"]) * float(row["read_seconds"]) /
                                   int(row["read_tokens"]), 1, places=3)
        self.assertIn("100 tokens: read", result.err)

    def test_json(self):
        report = json.loads(self.run_quire("bench", "-q", "--json", "--memory", "128M", "--decode", "0", "--up-to", "600").out)
        self.assertEqual([row["context"] for row in report["rows"]], [512, 600])
        self.assertEqual(report["rows"][0]["decode_per_second"], None)
        peaks = {peak["what"]: peak["per_second"] for peak in report["peaks"]}
        self.assertEqual(set(peaks), {"operations", "memory_read_bytes"})
        self.assertGreater(min(peaks.values()), 0)

    def test_table(self):
        out = self.run_quire("bench", *self.CONTEXTS, "--decode", "1").out
        self.assertRegex(out, r"(?m)^ +context  read, tokens/s +of peak")
        self.assertRegex(out, r"(?m)^ +300 .*MiB$")

    def test_text_from_a_file(self):
        path = self.write("long.txt", STORY * 3)
        rows, _ = self.rows(path, "--decode", "2")
        self.assertEqual(len(rows), 3)
        self.assertEqual(len(self.rows("-", "--decode", "0", stdin=(STORY * 3).encode())[0]), 3)
        self.assert_error(self.run_quire("bench", "--up-to", "5000", path, code=3), "long.txt", "5000", "--up-to")

    def test_peak_needs_no_model(self):
        self.environment["QUIRE_MODEL"] = "/nonexistent"
        listed = csv.DictReader(self.run_quire("bench", "--peak", "--csv", "--memory", "64M").out.splitlines())
        peaks = {(row["what"], row["kernels"]): float(row["per_second"]) for row in listed}
        self.assertIn(("operations", "base"), peaks)
        for what in ("memory_read_bytes", "disk_read_bytes", "disk_write_bytes"):
            self.assertGreater(peaks[what, ""], 0)
        self.assertIn("GFLOP/s", self.run_quire("bench", "--peak", "--isa", "base", "--memory", "64M").out)

    def test_wrong_lengths(self):
        for wrong in ("", "0", "5,5", "7,3", "1,", "1;2", "-4", "x", "99999999999"):
            self.assert_error(self.run_quire("bench", "--contexts", wrong, code=2), "--contexts")
        self.assert_error(self.run_quire("bench", "--csv", "--json", code=2), "exclude")
        self.assert_error(self.run_quire("bench", "--peak", self.story, code=2), "story.txt")

    def test_interrupted_shows_what_is_there(self):
        arguments = ["bench", "--contexts", "50,500000", "--decode", "1", "--isa", "ref", "--csv", "--memory", "2G"]
        with tempfile.TemporaryFile() as out:
            process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
            while b"50 tokens: read" not in (line := process.stderr.readline()):
                self.assertNotEqual(line, b"")
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            process.stderr.close()
            self.assertEqual(process.wait(timeout=60), 130)
            out.seek(0)
            rows = list(csv.DictReader(out.read().decode().splitlines()))
        self.assertIn(b"interrupted: 1 of 2", rest)
        self.assertEqual([row["context"] for row in rows], ["50"])


class Writing(Case):
    def objects(self, *arguments, **more):
        return [json.loads(line) for line in self.run_quire(*arguments, "--json", **more).out.splitlines()]

    def test_text_and_json_agree(self):
        text = self.run_quire("continue", "-n", "40", self.story)
        one, = self.objects("continue", "-n", "40", self.story)
        self.assertEqual(text.out, one["text"] if one["text"].endswith("\n") else one["text"] + "\n")
        self.assertEqual(one["bytes"], len(STORY.encode()))
        self.assertEqual(one["new_tokens"], 40)
        self.assertEqual(one["ended_by"], "max_tokens")
        self.assertEqual(one["document"], self.story)

    def test_seeds(self):
        texts = {seed: self.run_quire("continue", "-n", "30", "--seed", seed, self.story).out for seed in "012"}
        self.assertEqual(len(set(texts.values())), 3)
        self.assertEqual(self.run_quire("continue", "-n", "30", self.story).out, texts["0"])
        for options in (["--threads", "1"], ["--threads", "2"], ["--no-store"]):
            self.assertEqual(self.run_quire("continue", "-n", "30", *options, self.story).out, texts["0"], options)

    def test_reuse(self):
        first, = self.objects("continue", "-n", "5", self.story)
        again, = self.objects("continue", "-n", "5", self.story)
        self.assertEqual(first["reused_tokens"], 0)
        self.assertGreater(again["reused_tokens"], 0.5 * again["tokens"])
        self.assertEqual(first["text"], again["text"])
        plan = first["plan"]
        self.assertLessEqual(plan["memory_bytes"], plan["budget_bytes"])
        self.assertGreaterEqual(plan["kv_disk_bytes"], first["kv_bytes_written"] / 2)
        self.assertGreater(plan["free_disk_bytes"], plan["kv_disk_bytes"] + plan["flight_disk_bytes"])
        self.assertGreater(plan["estimated_seconds"], 0)
        kept_out, = self.objects("continue", "-n", "5", "--no-store", self.story)
        self.assertEqual((kept_out["reused_tokens"], kept_out["store"]), (0, None))

    def test_every_type_in_the_store_is_as_its_page_says(self):
        text = self.write("long.txt", STORY * 8)
        types = ("f32", "f16", "int8", "int4")
        for kv_type in types:
            self.run_quire("continue", "-n", "1", "--kv-type", kv_type, text)
        sound = self.second_reader()
        self.assertEqual((sound.returncode, sound.stderr), (0, ""))
        self.assertEqual(len(sound.stdout.splitlines()), len(types))

    def test_store_is_as_its_page_says(self):
        long = STORY * 8
        self.run_quire("continue", "-n", "1", self.write("long.txt", long))
        self.run_quire("continue", "-n", "1", self.write("other.txt", long[:len(long) // 2] + "Another end."))
        sound = self.second_reader()
        self.assertEqual((sound.returncode, sound.stderr), (0, ""))
        self.assertEqual(len(sound.stdout.splitlines()), 2)
        layers = (self.folder / "cache").glob("quire/books/*/layer.001")
        layer = max(layers, key=lambda path: path.stat().st_blocks)  # the branch may have no block of its own
        with open(layer, "r+b") as file:
            byte = file.read(1)[0]
            file.seek(0)
            file.write(bytes([byte ^ 1]))
        self.assertIn("layer 1, head 0, block 0", self.second_reader().stderr)

    def test_documents_are_texts_of_their_own_unless_joined(self):
        second = "Another one, quite different from the first.\n"
        other = self.write("other.txt", second)
        both = self.objects("continue", "-n", "5", self.story, other)
        self.assertEqual([o["document"] for o in both], [self.story, other])
        joined, = self.objects("continue", "-n", "5", "--join", self.story, other)
        whole, = self.objects("continue", "-n", "5", "-", stdin=(STORY + second).encode())
        self.assertEqual(joined["tokens"], whole["tokens"])
        self.assertEqual(joined["text"], whole["text"])
        self.assertEqual(joined["document"], [self.story, other])

    def test_rows_without_a_token_are_never_written(self):
        """In both formats, of both tokenizers, though they are the likeliest by far."""
        for options in ([], ["--spiece"], ["--gguf"], ["--gguf", "--spiece"]):
            folder = self.folder / "-".join(["loud", *options])
            subprocess.run([sys.executable, HERE / "make_model.py", folder, "--loud", *options], check=True)
            model = str(folder / "model.gguf" if "--gguf" in options else folder)
            for sampling in (["--temperature", "0"], ["--seed", "3"], ["--temperature", "5", "--top-k", "3"]):
                result = self.run_quire("continue", "-m", model, "-n", "40", "--json", "--no-store", *sampling, self.story)
                written = json.loads(result.out)
                self.assertGreater(len(written["text"]), 20, (options, sampling))
                self.assertNotIn("PAD", written["text"])
            ids = self.run_quire("score", "-m", model, "--per-token", self.story).out
            self.assertGreater(len(ids.splitlines()), 20)

    def test_stop_strings(self):
        text, = self.objects("continue", "-n", "60", self.story)
        stop = text["text"][20:23]
        stopped, = self.objects("continue", "-n", "60", "--stop", "never seen", "--stop", stop, self.story)
        self.assertEqual(stopped["ended_by"], "stop")
        self.assertEqual(stopped["text"], text["text"][:text["text"].index(stop)])

    def test_head_and_tail_are_told(self):
        head, = self.objects("continue", "-n", "2", "--head", "10", self.story)
        self.assertEqual((head["tokens"], head["cut_by_head"]), (10, True))
        tail, = self.objects("continue", "-n", "2", "--tail", "10", self.story)
        self.assertEqual(tail["tokens"], 10)
        self.assertGreater(tail["tokens_left_out_by_tail"], 10)
        self.assertIn("--head", self.run_quire("continue", "-n", "2", "--head", "10", self.story).err)
        whole, = self.objects("continue", "-n", "2", "--head", "100000", self.story)
        self.assertEqual(whole["cut_by_head"], False)

    def test_prompt_changes_what_comes(self):
        plain, = self.objects("continue", "-n", "20", self.story)
        led, = self.objects("continue", "-n", "20", "--prompt", "Epilogue", self.story)
        self.assertGreater(led["prompt_tokens"], 0)
        self.assertEqual(plain["prompt_tokens"], 0)
        self.assertNotEqual(plain["text"], led["text"])
        self.assertNotIn("Epilogue", led["text"])

    def test_tasks_and_formats(self):
        for arguments in (["summarize", self.story], ["ask", self.story, "Who wrote?"]):
            for model in (self.model, self.chat_model):
                for extra in ([], ["--prompt-format", "plain"], ["--prompt-format", "instruct"]):
                    one, = self.objects(*arguments, "-m", model, "-n", "3", *extra)
                    self.assertGreater(one["prompt_tokens"], 0)
        one, = self.objects("ask", "-n", "3", "Who?", stdin=STORY.encode())
        self.assertEqual(one["document"], "-")

    def test_questions_share_the_reading(self):
        text = self.write("long.txt", STORY * 4)
        first, = self.objects("ask", "-n", "2", text, "Who wrote?")
        second, = self.objects("ask", "-n", "2", text, "What did the sea leave?")
        self.assertEqual(first["reused_tokens"], 0)
        self.assertGreater(second["reused_tokens"], 0.8 * second["tokens"])

    def test_lossy_is_reported(self):
        path = self.write("bad.txt", b"good \xff text that goes on")
        result = self.run_quire("continue", "-n", "2", "--lossy", path)
        self.assertIn("1 invalid part ", result.err)

    def test_receipt_and_quiet(self):
        result = self.run_quire("continue", "-n", "4", self.story)
        for word in ("story.txt", f"{len(STORY.encode())} bytes", "tokens", "reused", "wrote 4 tokens", "peak memory",
                     str(self.folder / "cache")):
            self.assertIn(word, result.err)
        self.assertNotIn("\r", result.err)
        self.assertNotIn("\x1b", result.err)
        self.assertEqual(self.run_quire("continue", "-q", "-n", "4", self.story).err, "")
        verbose = self.run_quire("continue", "-v", "-n", "4", self.story).err
        for word in ("kernels", "read through", "prompt format"):
            self.assertIn(word, verbose)


class Store(Case):
    """quire kv, and what the reading commands do for it."""

    def setUp(self):
        super().setUp()
        self.long = self.write("long.txt", STORY * 8)
        self.other = self.write("other.txt", STORY * 4 + "Another end, that is not like the first.")
        self.apart = self.write("apart.txt", "Nothing in here is like the others. " * 40)

    def read(self, *arguments):
        return self.run_quire("continue", "-n", "0", *arguments)

    def books(self):
        return [json.loads(line) for line in self.run_quire("kv", "ls", "--json").out.splitlines()]

    def book_of(self, path):
        book, = (b for b in self.books() if b["label"] == path)
        return book

    def flip(self, book, name, offset=0):
        path = self.folder / "cache" / "quire" / "books" / book["book"] / name
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        with open(path, "r+b") as file:
            file.write(data[:offset + 1])

    def kv_object(self, *arguments, code=0):
        return json.loads(self.run_quire("kv", *arguments, "--json", code=code).out)

    def test_without_a_verb_the_help_is_shown(self):
        self.assertEqual(self.run_quire("kv").out, self.run_quire("kv", "--help").out)

    def test_usage(self):
        for arguments, word in [(["frob"], "frob"), (["show"], "argument is missing"), (["ls", "x"], "too many"),
                                (["export", "0123"], "argument is missing"), (["ls", "--force"], "--force"),
                                (["rm", "0123", "--store-limit", "1G"], "--store-limit"), (["ls", "-n", "3"], "--max-tokens")]:
            self.assert_error(self.run_quire("kv", *arguments, code=2), word)
        self.assert_error(self.run_quire("kv", "ls", code=3), "no KV store")
        self.read(self.long)
        self.assert_error(self.run_quire("kv", "show", "012", code=2), "4 to 16")
        self.assert_error(self.run_quire("kv", "show", "0000000000000000", code=3), "no book")

    def test_ls_and_show(self):
        self.read(self.long)
        self.read(self.other)
        whole, branch = self.book_of(self.long), self.book_of(self.other)
        self.assertEqual((whole["state"], whole["branches"], whole["parent"]), ("complete", 1, None))
        self.assertEqual((branch["parent"], branch["state"]), (whole["book"], "complete"))
        self.assertEqual(branch["tokens_shared"] % 64, 0)
        self.assertTrue(whole["first_words"].startswith("The keeper of the light wrote down the weather"))
        self.assertRegex(whole["last_used"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(whole["identity"]["d_model"], "32")
        info = json.loads(self.run_quire("info", "--json").out)
        self.assertEqual(whole["identity"]["weights"], info["model"]["fingerprint"])
        text = self.run_quire("kv", "ls")
        self.assertIn("long.txt: The keeper of the light", text.out)
        self.assertIn("2 books", text.err)
        shown = self.run_quire("kv", "show", whole["book"][:6]).out
        for word in (whole["book"], "complete", "d_model", "kv_type", self.long):
            self.assertIn(word, shown)
        self.assertEqual(self.kv_object("show", whole["book"])["tokens"], whole["tokens"])
        for path in (self.folder / "cache" / "quire").rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_verify_and_repair(self):
        self.read(self.long)
        self.assertIn("all is sound", self.run_quire("kv", "verify").err)
        book = self.book_of(self.long)
        self.flip(book, "layer.001")
        self.flip(book, "layer.000")
        result = self.run_quire("kv", "verify", code=4)
        self.assertIn("layer 1, head 0, block 0", result.out)
        self.assertIn("layer 0, head 0, block 0", result.out)
        self.assertIn("2 damaged places", result.err)
        found = self.kv_object("verify", book["book"], code=4)
        self.assertEqual(found["damaged_places"], 2)
        self.assertEqual([(d["layer"], d["head"], d["block"]) for d in found["damage"]], [(0, 0, 0), (1, 0, 0)])
        self.assertIn("removed", self.run_quire("kv", "repair").out)
        self.assertEqual(self.books(), [])
        self.assertEqual(self.kv_object("verify")["damage"], [])

    def test_a_reading_mends_what_it_finds(self):
        text = self.run_quire("continue", "-n", "5", self.long).out
        book = self.book_of(self.long)
        self.flip(book, "layer.001")
        again = self.run_quire("continue", "-n", "5", self.long)
        self.assertEqual(again.out, text)
        self.assertIn(f"KV book {book['book']} is not reused where it could be", again.err)
        self.assertIn(f"KV book {book['book']} was damaged: removed", again.err)
        self.assertNotIn(book["book"], [b["book"] for b in self.books()])
        self.assertNotIn("damaged", self.run_quire("continue", "-n", "5", self.long).err)
        self.run_quire("kv", "verify")

    def test_rm(self):
        for path in (self.long, self.other, self.apart):
            self.read(path)
        whole, branch = self.book_of(self.long), self.book_of(self.other)
        self.assert_error(self.run_quire("kv", "rm", whole["book"], code=1), "--force")
        self.assertEqual(len(self.books()), 3)
        self.assertEqual([d["book"] for d in self.kv_object("rm", "--force", whole["book"])["done"]],
                         [branch["book"], whole["book"]])
        self.assertEqual([b["label"] for b in self.books()], [self.apart])

    def test_gc(self):
        for path in (self.long, self.apart):
            self.read(path)
        self.assertEqual(self.kv_object("gc")["done"], [])
        self.flip(self.book_of(self.apart), "manifest", 40)
        self.assertIn("its manifest is damaged", self.run_quire("kv", "gc").out)
        self.assertEqual([b["label"] for b in self.books()], [self.long])
        self.assertEqual(self.kv_object("gc", "--store-limit", "1K")["left_bytes"], 0)

    def test_export_and_import(self):
        self.read(self.long)
        self.read(self.other)
        text = self.run_quire("continue", "-n", "5", self.other).out
        branch, file = self.book_of(self.other), str(self.folder / "book.kv")
        self.run_quire("kv", "export", branch["book"][:8], file)
        self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)
        self.assert_error(self.run_quire("kv", "export", branch["book"], file, code=2), "exists")
        self.assertIn("already", self.run_quire("kv", "import", file, code=1).err)
        self.environment["XDG_CACHE_HOME"] = str(self.folder / "cache2")
        self.assertEqual(self.kv_object("import", file)["book"], branch["book"])
        there, = self.books()
        self.assertEqual((there["tokens"], there["parent"]), (branch["tokens"], None))
        again = self.run_quire("continue", "-n", "5", self.other)
        self.assertIn("all of them reused", again.err)
        self.assertEqual(again.out, text)
        self.environment["XDG_CACHE_HOME"] = str(self.folder / "cache3")
        data = bytearray(pathlib.Path(file).read_bytes())
        data[len(data) // 2] ^= 4
        self.assert_error(self.run_quire("kv", "import", self.write("bad.kv", bytes(data)), code=3), "damaged")
        self.assert_error(self.run_quire("kv", "import", self.story, code=3), "not an exported KV book")
        self.assertEqual(self.books(), [])

    def test_another_type_is_told(self):
        self.read("--kv-type", "f16", self.long)
        book = self.book_of(self.long)
        result = self.read(self.long)
        self.assertIn(f"KV book {book['book']} holds {book['tokens']} tokens of this text, but was read with kv_type f16, "
                      "and this run uses bf16", result.err)
        self.assertNotIn("kv_type", self.read(self.long).err)

    def test_another_model_is_told(self):
        """The same weights with another configuration."""
        self.read(self.long)
        model = self.folder / "model"
        shutil.copytree(self.model, model)
        config = json.loads((model / "config.json").read_text())
        config["attn_config"]["alibi_bias_max"] = 16
        (model / "config.json").write_text(json.dumps(config))
        result = self.read("-m", str(model), self.long)
        self.assertRegex(result.err, r"was read with alibi_bias_max 8, and this run uses 16")

    def test_store_limit(self):
        for path in (self.long, self.other, self.apart):
            self.read(path)
        self.read(self.other)  # and so the one that it begins with
        sizes = {b["label"]: b["disk_bytes"] for b in self.books()}
        story = self.write("new.txt", "Something new. " * 40)
        limit = str(sum(sizes.values()) + 1000)
        self.read("--store-limit", limit, story)
        self.assertNotIn(self.apart, [b["label"] for b in self.books()])
        self.assertIn(self.long, [b["label"] for b in self.books()])
        self.assert_error(self.run_quire("continue", "-n", "0", "--store-limit", "1K", self.apart, code=1),
                          "--store-limit")
        self.environment["QUIRE_STORE_LIMIT"] = "lots"
        self.assert_error(self.run_quire("continue", "-n", "0", self.apart, code=2), "QUIRE_STORE_LIMIT", "lots")
        self.environment["QUIRE_STORE_LIMIT"] = "1K"
        self.assertIn("limit", self.run_quire("continue", "-n", "0", self.apart, code=1).err)
        self.read(story)  # nothing is added

    def test_a_book_in_use_stays(self):
        self.read(self.long)
        book = self.book_of(self.long)
        reader = self.start("continue", "-n", "100000", "--temperature", "0", "-q", self.long, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            reader.stdout.read(1)
            self.assertEqual(self.book_of(self.long)["state"], "in use")
            self.assert_error(self.run_quire("kv", "rm", book["book"], code=1), "in use")
            self.run_quire("kv", "verify")
        finally:
            reader.kill()
            reader.wait()
            reader.stdout.close()
        self.run_quire("kv", "rm", book["book"])
        self.assertEqual(self.books(), [])


class Streams(Case):
    def test_closed_pipe_ends_quietly(self):
        long = self.write("long.txt", STORY * 2000)
        for arguments in (["tokenize", "-q", long], ["continue", "-q", "-n", "3000", self.story]):
            with tempfile.TemporaryFile() as err:
                process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
                self.assertEqual(len(process.stdout.read(1)), 1)
                process.stdout.close()
                self.assertEqual(process.wait(timeout=60), 1)
                err.seek(0)
                self.assertEqual(err.read(), b"")

    def test_full_disk(self):
        for arguments in (["tokenize", self.story], ["continue", "-n", "3", self.story], ["score", self.story],
                          ["info"], ["--help"], ["version"]):
            with open("/dev/full", "wb") as full:
                process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE)
                _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, arguments)
            self.assertIn(b"cannot write to standard output: No space left", err)

    def test_closed_standard_streams(self):
        command = f'exec "$0" tokenize "$1" '
        for redirection, code in ((">&-", 1), ("2>&-", 0), ("<&-", 0)):
            result = subprocess.run(["sh", "-c", command + redirection, quire, self.story], env=self.environment,
                                    capture_output=True, check=False, timeout=60)
            self.assertEqual(result.returncode, code, redirection)
        self.assertEqual(pathlib.Path(self.story).read_bytes(), STORY.encode())

    def test_fifo(self):
        path = str(self.folder / "fifo")
        os.mkfifo(path)
        process = self.start("tokenize", "-q", path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with open(path, "wb") as fifo:
            fifo.write(STORY.encode())
        out, _ = process.communicate(timeout=60)
        self.assertEqual(out, self.run_quire("tokenize", "-q", self.story).raw)

    def terminal(self, *arguments):
        """Runs on a terminal of 100 columns and gives all that it shows."""
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal to be had here: {error}")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.environment["TERM"] = "xterm"
        process = self.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(timeout=60), shown.decode("utf-8", "replace")

    def test_bar_on_a_terminal(self):
        long = self.write("long.txt", STORY * 60)
        code, shown = self.terminal("continue", "-n", "4", "--temperature", "0", long)
        self.assertEqual(code, 0)
        self.assertIn("\rreading [", shown)
        last_bar = shown.rindex("\rreading")
        self.assertIn("\r\x1b[K", shown[last_bar:])  # wiped before the text
        for line in shown.split("\r"):
            if line.startswith("reading"):
                self.assertLess(len(line.split("\x1b")[0]), 100)

    def test_terminal_without_document_is_a_mistake(self):
        code, shown = self.terminal("continue")
        self.assertEqual(code, 2)
        self.assertIn("no document", shown)


class Sandbox(Case):
    """The program confines itself before it parses; what a bug in a parser could then do."""

    def bug_says(self, *command):
        """What the program says that has the bug, and what became of the bug's last round of attempts."""
        bug = os.environ.get("QUIRE_PARSER_BUG")
        if not bug:
            self.skipTest("not in a build with sanitizers")
        self.environment.update(LD_PRELOAD=bug, BUG_WRITES=str(self.folder / "stolen"), BUG_READS="/etc/passwd")
        result = self.run_quire(*command)
        return result.err, dict(re.findall(r"(?m)^bug: (.+): (.+)$", result.err))

    def test_a_parser_bug_gets_nowhere(self):
        texts = self.folder / "texts"
        texts.mkdir()
        (texts / "a.txt").write_text(STORY)
        (texts / "b.txt").symlink_to(self.story)
        run = {"model": {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 64},
               "tokenizer": {"name": self.model + "/tokenizer.json"}, "save_folder": str(self.folder / "run" / "a"),
               "train_loader": {"dataset": {"local": str(texts)}},
               "eval_loader": {"dataset": {"local": str(self.folder), "split": "texts"}}, "data_cache": str(self.folder / "run" / "b"),
               "global_train_batch_size": 2, "max_duration": "2ba", "scheduler": {"t_warmup": "0ba"},
               "sample_interval": "1ba", "sample_tokens": 3}
        said, _ = self.bug_says("tokenize", "-v", self.story)
        self.assertIn("system calls by seccomp", said)
        has_landlock = "files by Landlock" in said
        for place in ("out", "shards", "again"):
            (self.folder / place).mkdir()
        for command in (["tokenize", self.story], ["tokenize", "--mds", str(self.folder / "shards" / "a"), self.story],
                        ["info", self.model], ["info", "--verify", self.model],
                        ["convert", self.model, "-o", str(self.folder / "out" / "m.gguf")],
                        ["convert", self.model, "-o", str(self.folder / "again" / "m")],
                        ["convert", self.model, "-o", str(self.folder / "again" / "m"), "--force"],
                        ["train", self.write("run.yaml", json.dumps(run))]):
            _, found = self.bug_says(*command)
            self.assertGreater(len(found), 5, command)
            for name, error in found.items():
                if name not in ("write", "read"):
                    self.assertIn(error, ("EPERM", "ENOSYS"), (command, name))
            if has_landlock:
                self.assertEqual((found["write"], found["read"]), ("EACCES", "EACCES"), command)
        self.assertTrue((self.folder / "run" / "a" / "model" / "config.json").exists())

    def test_without_it_the_bug_does_as_it_likes(self):
        said, found = self.bug_says("tokenize", "-v", "--no-sandbox", self.story)
        self.assertIn("sandbox: off", said)
        for name in ("inet socket", "unix socket", "fork", "exec", "signal", "code", "write", "read"):
            self.assertEqual(found[name], "works", name)

    def test_what_was_named_can_be_used_wherever_it_is(self):
        """A model through links, a store that is not there yet, a document from a pipe under /dev/fd, an export."""
        blobs, model = self.folder / "blobs", self.folder / "model"
        shutil.copytree(self.model, blobs)
        model.mkdir()
        for file in blobs.iterdir():
            (model / file.name).symlink_to(file)
        store = str(self.folder / "deep" / "store")
        with open(self.story, "rb") as story:
            with self.start("continue", "-q", "-n", "3", "-m", str(model), "--store", store, f"/dev/fd/{story.fileno()}",
                            pass_fds=(story.fileno(),), stdout=subprocess.PIPE) as process:
                process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
        book = json.loads(self.run_quire("kv", "ls", "--json", "--store", store).out.splitlines()[0])["book"]
        self.run_quire("kv", "export", book, str(self.folder / "book.quire"), "--store", store)
        self.run_quire("kv", "import", str(self.folder / "book.quire"), "--store", str(self.folder / "other"))


class Interrupt(Case):
    def interrupt(self, signal_number, *arguments):
        """Sends the signal when reading is under way. Gives the text that was read, the result, and the seconds until the
        end. How long a text must be for that depends on the machine and the build: it grows until it lasts."""
        for n in (8, 24, 72, 216):
            text = self.write(f"long-{n}-{signal_number}.txt", STORY * n)
            with tempfile.TemporaryFile() as out:
                process = self.start(*arguments, text, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
                first = process.stderr.readline()
                self.assertIn(b"tokens", first)
                time.sleep(1)
                has_ended = process.poll() is not None
                start = time.monotonic()
                process.send_signal(signal_number)
                rest = process.stderr.read()
                process.stderr.close()
                code = process.wait(timeout=60)
                seconds = time.monotonic() - start
                out.seek(0)
                written = out.read()  # a signal that came when reading was over is no test of it either
                if not has_ended and code != 0 and not written:
                    return text, Result(code, written, first + rest), seconds
        self.fail("no text was long enough")

    def test_keeps_and_resumes(self):
        slow = ["continue", "-n", "5", "--isa", "ref", "--threads", "1", "--span", "256"]
        for number in (signal.SIGINT, signal.SIGTERM):
            long, result, seconds = self.interrupt(number, *slow)
            self.assertEqual(result.code, 130, result.err)
            self.assertLess(seconds, 20)  # the promise is one; a loaded machine under a sanitizer gets more
            self.assertIn("interrupted", result.err)
            self.assertIn(str(self.folder / "cache"), result.err)
            self.assertEqual(result.out, "")
        resumed = json.loads(self.run_quire(*slow, "--json", long).out)
        fresh = json.loads(self.run_quire(*slow, "--json", "--no-store", long).out)
        self.assertGreater(resumed["reused_tokens"] + resumed["resumed_tokens"], 256)
        self.assertEqual(resumed["text"], fresh["text"])

    def test_what_is_kept_is_as_the_stores_page_says(self):
        self.interrupt(signal.SIGINT, "continue", "--isa", "ref", "--threads", "1", "--span", "256")
        result = self.second_reader()
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_while_waiting_for_input(self):
        process = self.start("continue", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"A beginning that never ends")
        process.stdin.flush()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=10), 130)
        self.assertIn(b"interrupted", process.stderr.read())
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def main():
    global quire, scratch
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    quire = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        scratch = folder
        for name, options in (("model", []), ("chat", ["--chat"])):
            subprocess.run([sys.executable, HERE / "make_model.py", os.path.join(folder, name), *options], check=True)
        unittest.main(argv=[sys.argv[0], *sys.argv[2:]])


if __name__ == "__main__":
    main()
