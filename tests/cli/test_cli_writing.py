#!/usr/bin/env python3
"""Tests of the program as its users meet it, what is written, and how fast: test_cli_writing.py QUIRE [GROUP...]

Groups are the classes below."""
import csv
import json
import re
import signal
import subprocess
import sys
import tempfile

from cli_case import HERE, STORY, Case, main


class Bench(Case):
    CONTEXTS = ["--contexts", "40,100,300", "--memory", "128M", "--threads", "2"]

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
        report = json.loads(self.run_quire("bench", "-q", "--json", "--memory", "128M", "--threads", "2", "--decode", "0",
                                           "--up-to", "600").out)
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

    def test_peak_can_be_interrupted(self):
        process = self.start("bench", "--peak", "-v", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.assertNotEqual(process.stderr.readline(), b"") # it is about to begin
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(out, b"")
        self.assertIn(b"interrupted", err)

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

    def test_the_manual_has_every_key(self):
        manual = (HERE.parents[1] / "man" / "quire.1").read_text()
        words = set(re.findall(r"\w+", manual[manual.index(".Sh JSON"):manual.index(".Sh ENVIRONMENT")]))
        written, = self.objects("continue", "-n", "4", self.story)
        scored, = self.objects("score", "--per-token", self.story)
        keys = {*written, *scored, *written["plan"], *scored["by_position"][0]}
        self.assertLessEqual(keys, words)

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
        self.assertEqual(self.run_quire("continue", "-q", "-n", "0", self.story, other).out, "")
        ends = ["" if o["text"].endswith("\n") else "\n" for o in both]
        text = self.run_quire("continue", "-q", "-n", "5", self.story, other).out
        self.assertEqual(text, f"==> {self.story} <==\n{both[0]['text']}{ends[0]}\n"
                               f"==> {other} <==\n{both[1]['text']}{ends[1]}")
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

    def test_drafts_are_left_out_where_memory_has_no_room_for_them(self):
        text = self.write("long.txt", STORY * 60)
        need, = (need for need in json.loads(self.run_quire("info", "--json", "--chunk", "64", "--span", "64").out)["needs"]
                 if need["tokens"] == 8192)
        budget = ["--chunk", "64", "--span", "64", "--memory", str(need["least_memory_bytes"]), "--no-store"]
        result = self.run_quire("continue", "-n", "5", "--head", "8192", *budget, text, self.story)
        self.assertEqual(result.err.count("as with --draft 0"), 1)  # each text is planned for itself
        result = self.run_quire("continue", "-n", "5", "--head", "8192", *budget, text)
        plain = self.run_quire("continue", "-n", "5", "--head", "8192", *budget, "--draft", "0", text)
        self.assertEqual(result.out, plain.out)
        self.assertNotIn("--draft", plain.err)
        one, = self.objects("continue", "-n", "5", "--head", "8192", "--no-store", text)
        self.assertEqual(one["text"] + "\n", plain.out)
        budget[-2] = str(need["least_memory_bytes"] // 2)
        result = self.run_quire("continue", "-n", "5", "--head", "8192", *budget, text, code=1)
        self.assert_error(result, "--memory")
        self.assertNotIn("--draft", result.err)

    def test_an_error_on_the_way_keeps_what_was_written(self):
        model = str(self.folder / "breaks")
        subprocess.run([sys.executable, HERE / "make_model.py", model, "--breaks"], check=True)
        story = b"The keeper of the light "
        for stop in ([], ["--stop", "never"]):  # what could be the beginning of a stop string is held back
            common = ["continue", "-m", model, "-n", "60", "--temperature", "0", "--no-store", *stop]
            text = self.run_quire(*common, code=1, stdin=story)
            self.assertIn("position 40", text.err)
            self.assertIn("ended by an error", text.err)
            result = self.run_quire(*common, "--json", code=1, stdin=story)
            one = json.loads(result.out)
            self.assertEqual(one["ended_by"], "error")
            self.assertGreater(one["new_tokens"], 10)
            self.assertEqual(one["text"] + "\n", text.out)
            self.assertIn("position 40", result.err)

    def test_receipt_and_quiet(self):
        result = self.run_quire("continue", "-n", "4", self.story)
        for word in ("story.txt", f"{len(STORY.encode())} bytes", "tokens", "reused", "wrote 4 tokens", "peak memory",
                     str(self.folder / "cache")):
            self.assertIn(word, result.err)
        self.assertNotIn("\r", result.err)
        self.assertNotIn("\x1b", result.err)
        self.assertEqual(self.run_quire("continue", "-q", "-n", "4", self.story).err, "")
        self.assertIn("wrote nothing, ended by", self.run_quire("continue", "-n", "0", self.story).err)
        verbose = self.run_quire("continue", "-v", "-n", "4", self.story).err
        for word in ("kernels", "read through", "prompt format"):
            self.assertIn(word, verbose)


if __name__ == "__main__":
    main()
