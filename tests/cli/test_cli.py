#!/usr/bin/env python3
"""Tests of the program as its users meet it, files for standard output and error, exit codes: test_cli.py QUIRE [GROUP...]

Groups are the classes below."""
import json
import math
import os
import pathlib
import re
import shutil

import cli_case
from cli_case import HERE, STORY, COMMANDS, Case, main


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

    def keys(self, value):
        """The keys of an object and of what it holds, but those that are names of the model's or the store's own."""
        if isinstance(value, list):
            return {key for item in value for key in self.keys(item)}
        if not isinstance(value, dict):
            return set()
        inner = {key: list(item.values()) if key in ("types", "identity") else item for key, item in value.items()}
        return set(value).union(*map(self.keys, inner.values()))

    def test_json_keys_are_in_the_manual(self):
        self.run_quire("continue", self.story, "-n", "1")
        book = json.loads(self.run_quire("kv", "ls", "--json").out)["book"]
        runs = [("quire", ["score", self.story, "--per-token"]), ("quire", ["continue", self.story, "-n", "2", "--seed", "1"]),
                ("quire-info", ["info"]), ("quire-info", ["info", "--verify"]), ("quire-kv", ["kv", "show", book]),
                ("quire-bench", ["bench", "--contexts", "40", "--memory", "64M"]),
                ("quire-convert", ["convert", self.model, "-o", "out.gguf"]),
                ("quire-kv", ["kv", "export", book, "file"]), ("quire-kv", ["kv", "gc", "--store-limit", "1G"])]
        for page, arguments in runs:
            text = (HERE.parent.parent / "man" / f"{page}.1").read_text(encoding="utf-8")
            lines = re.findall(r"(?m)^\.(?:It |Pq )?Cm (.*)", text)
            documented = {word for line in lines for word in re.split(r"[ ,;.]+", line)}
            for line in self.run_quire(*arguments, "--json").out.splitlines():
                missing = self.keys(json.loads(line)) - documented
                self.assertFalse(missing, f"{arguments}: quire --json writes what {page}(1) does not name")

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

    def test_what_cannot_be_opened_keeps_nobody_else(self):
        """It is said before the others are read, which they are."""
        ids = self.run_quire("tokenize", "-q", self.story).raw
        for missing in ("no-such-file.txt", str(self.folder)):
            result = self.run_quire("tokenize", self.story, missing, self.story, code=3)
            self.assertEqual(result.raw, 2 * ids)
            self.assertIn(missing, result.err.splitlines()[0])
            self.assertEqual(result.err.count(missing + "'"), 1)
        for command in ("continue", "score"):
            result = self.run_quire(command, "--json", missing, self.story, "no-such-file.txt", self.story, code=3)
            self.assertEqual([json.loads(line)["document"] for line in result.out.splitlines()], 2 * [self.story])
            self.assertIn("no-such-file.txt", result.err)
        result = self.run_quire("detokenize", "no-such-file.txt", self.write("ids", ids), code=3)
        self.assertEqual(result.raw, STORY.encode())
        self.assert_error(self.run_quire("continue", "a.txt", "b.txt", code=3), "a.txt", "b.txt")

    def test_parts_of_one_thing_are_all_needed(self):
        self.assert_error(self.run_quire("continue", "--join", self.story, "no-such-file.txt", code=3), "no-such-file.txt")
        self.assert_error(self.run_quire("tokenize", "--mds", "shards", self.story, "no-such-file.txt", code=3),
                          "no-such-file.txt")
        bad = self.write("bad.txt", b"\xc3")
        result = self.run_quire("tokenize", "--mds", "shards", bad, self.story, code=3)
        self.assertNotIn("story.txt", result.err)  # for nothing
        self.assertEqual(list((self.folder / "shards").iterdir()), [])

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

    def test_what_came_before_an_error_is_written(self):
        ids = self.run_quire("tokenize", "-q", self.story).raw
        result = self.run_quire("detokenize", stdin=ids + b"seven", code=3)
        self.assertEqual(result.raw, STORY.encode())
        self.assertIn("'seven'", result.err)
        result = self.run_quire("tokenize", stdin=STORY.encode() + b"\xff", code=3)
        self.assertGreater(len(result.raw), 0.9 * len(ids))
        self.assertTrue(ids.startswith(result.raw))

    def test_a_name_stays_on_its_line(self):
        story = self.write("a\nquire: all is lost\t.txt", STORY)
        for command in (("continue", "-n", "1"), ("score",), ("tokenize",)):
            result = self.run_quire(*command, story)
            for line in result.err.splitlines():
                self.assertFalse(line.startswith("quire: all is lost"), line)
            self.assertIn("a\\x0aquire: all is lost\\x09.txt", result.err)
        self.assertIn("document    " + str(self.folder) + "/a\\x0aquire", self.run_quire("score", story).out)
        error = self.run_quire("detokenize", story, code=3).err
        self.assertTrue(error.startswith("quire: ") and error.count("\n") == 1, error)

    def test_standard_output_is_no_file_to_write(self):
        self.assert_error(self.run_quire("convert", self.model, "-o", "-", code=2), "--out", "standard output")
        self.run_quire("continue", "-n", "0", self.story)
        book = re.search(r"\b[0-9a-f]{16}\b", self.run_quire("kv", "ls", "--json").out).group()
        self.assert_error(self.run_quire("kv", "export", book, "-", code=2), "standard output")
        self.assertFalse((self.folder / "-").exists())

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
        for options in ([], ["--no-sandbox"]):
            self.assert_error(self.run_quire("continue", *options, "--store", self.story + "/x", self.story, code=1),
                              "story.txt")
        self.assert_error(self.run_quire("continue", "--store", "", self.story, code=2), "KV store")

    def no_store(self, why, **process):
        """A default store that cannot be used is no reason not to run; it is said once."""
        want = self.run_quire("continue", "-n", "3", "--no-store", self.story).raw
        result = self.run_quire("continue", "-n", "3", self.story, self.story, **process)
        headed = f"==> {self.story} <==\n".encode() + want
        self.assertEqual(result.raw, headed + b"\n" + headed)
        self.assertRegex(result.err, f"nothing is kept for another run: .*{why}")
        self.assertEqual(result.err.count("nothing is kept"), 1)
        self.assertEqual(result.err.count("in temporary files"), 2)
        self.assertNotIn("nothing is kept", self.run_quire("continue", "-qn3", self.story, **process).err)
        self.assertNotIn("nothing is kept", self.run_quire("continue", "-n3", "--no-store", self.story, **process).err)

    def test_default_store_that_cannot_be_made(self):
        for cache in ("/dev/null", self.story, "/" + "long/" * 1000):
            self.environment["XDG_CACHE_HOME"] = cache
            self.no_store("")
        del self.environment["XDG_CACHE_HOME"]
        for home in ("", "relative", "/dev/null"):
            self.environment["HOME"] = home
            self.no_store("/dev/null" if home == "/dev/null" else "HOME")
        del self.environment["HOME"]
        self.no_store("HOME")

    def test_default_store_of_another_version(self):
        self.run_quire("continue", "-n", "0", self.story)
        (self.folder / "cache" / "quire" / "store").write_text("quire kv store 999\n")
        self.no_store("cache/quire")

    def test_default_store_that_may_only_be_read(self):
        """What it has is used. By somebody who is not root, for whom everything may be written."""
        self.run_quire("continue", "-n", "0", self.story)
        stranger = {}
        if os.geteuid() == 0:
            for folder in (cli_case.scratch, self.folder):
                os.chmod(folder, 0o755)
            for path in (self.folder / "cache", *(self.folder / "cache").rglob("*")):
                os.chmod(path, 0o755 if path.is_dir() else 0o644)
            stranger = {"user": 65534, "group": 65534, "extra_groups": []}
            try:
                self.run_quire("version", **stranger)
            except PermissionError:
                self.skipTest("the program is in a folder of root's")
        else:
            for path in (self.folder / "cache", *(self.folder / "cache").rglob("*")):
                os.chmod(path, 0o500 if path.is_dir() else 0o400)
        held = self.run_quire("continue", "-n", "3", self.story, **stranger)
        self.assertIn("all of them reused", held.err)
        self.assertNotIn("nothing is kept", held.err)
        self.story = self.write("other.txt", "Another story. " * 20)
        self.no_store("cache/quire", **stranger)


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
        marked = b"\xef\xbb\xbf" + " ".join(ids).encode()
        self.assertEqual(self.run_quire("detokenize", "-q", stdin=marked).out, "abc")

    def test_detokenize_takes_bytes_for_what_they_are(self):
        for ids in (b"caf\xe9 ", b"7 \0\0", b"\xff\xfe1\0"):
            error = self.run_quire("detokenize", stdin=ids, code=3).err
            self.assertIn("line 1: '", error)
            self.assertIn("is not a token id", error)
            self.assertNotIn("''", error)
            self.assertNotIn("--lossy", error) # it does not have that

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

    def test_json_has_no_numbers_that_json_cannot_say(self):
        """A model so sure of itself that the perplexity is beyond all numbers."""
        model = self.folder / "sure"
        shutil.copytree(self.model, model)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "logit_scale": 1e4}))

        def refuse(constant):
            self.fail(f"{constant} is not JSON")
        out = self.run_quire("score", "--json", "--per-token", "-m", str(model), self.story).out
        result = json.loads(out, parse_constant=refuse)
        self.assertGreater(result["mean_nll"], 710)
        self.assertIn("perplexity", result)
        self.assertIsNone(result["perplexity"])
        self.assertEqual(sum(bucket["tokens"] for bucket in result["by_position"]), result["scored_tokens"])
        for bucket in result["by_position"]:
            self.assertIsNone(bucket["perplexity"])
        self.assertEqual(len(result["per_token"]), result["scored_tokens"])

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


if __name__ == "__main__":
    main()
