#!/usr/bin/env python3
"""Tests of the program as its users meet it, what is kept: test_cli_store.py QUIRE [GROUP...]

Groups are the classes below."""
import json
import os
import pathlib
import shutil
import subprocess

from cli_case import STORY, Case, main


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
        before = sorted(self.folder.iterdir())
        self.assert_error(self.run_quire("continue", "-n", "1", "--store", str(self.folder), self.long, code=3),
                          "is no KV store and has other files in it")
        self.assertEqual(sorted(self.folder.iterdir()), before)
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
        failed = self.kv_object("export", book["book"], str(self.folder / "no.kv"), code=3)
        self.assertEqual((failed["book"], failed["file"]), (book["book"], None))
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

    def test_rm_in_any_order(self):
        for path in (self.long, self.other, self.apart):
            self.read(path)
        whole, branch, apart = (self.book_of(path)["book"] for path in (self.long, self.other, self.apart))
        self.assertIn("--force", self.run_quire("kv", "rm", whole, apart, code=1).err)
        self.assertEqual(len(self.books()), 2)
        self.assertEqual(self.kv_object("rm", whole, branch)["done"][0]["book"], branch)
        self.assertEqual(self.books(), [])

    def test_rm_of_a_book_that_went_with_one_before(self):
        for path in (self.long, self.other, self.apart):
            self.read(path)
        books = [self.book_of(path)["book"] for path in (self.long, self.other, self.apart)]
        self.assertEqual(len(self.kv_object("rm", "--force", *books)["done"]), 3)
        self.assertEqual(self.books(), [])

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
                          "1 MiB are needed", "limit of 0 MiB", "--store-limit") # more than the limit, in words too
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


if __name__ == "__main__":
    main()
