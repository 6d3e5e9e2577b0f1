#!/usr/bin/env python3
"""Tests of the program as its users meet it, streams, the sandbox, interruptions: test_cli_process.py QUIRE [GROUP...]

Groups are the classes below."""
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time

import cli_case
from cli_case import STORY, Result, Case, main


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

    def test_a_pipe_that_is_closed_from_the_start(self):
        for arguments in (["--help"], ["version"], ["kv", "--help"], ["info"], ["train", "--keys"],
                          ["continue", "-q", "-n", "3", self.story], ["score", "-q", "--json", self.story]):
            ours, theirs = os.pipe()
            os.close(ours)
            process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE)
            os.close(theirs)
            _, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, err), (1, b""), arguments)

    def test_full_disk(self):
        for arguments in (["tokenize", self.story], ["continue", "-n", "3", self.story], ["score", self.story],
                          ["info"], ["--help"], ["version"], ["train", "--keys"], ["info", "--verify", "--json"]):
            with open("/dev/full", "wb") as full:
                process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE)
                _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, arguments)
            self.assertEqual(err.count(b"cannot write to standard output: No space left"), 1)

    def test_closed_standard_streams(self):
        command = f'exec "$0" tokenize "$1" '
        for redirection, code in ((">&-", 1), ("2>&-", 0), ("<&-", 0)):
            result = subprocess.run(["sh", "-c", command + redirection, cli_case.quire, self.story], env=self.environment,
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

    def long_outputs(self):
        """Commands that write more than a pipe holds, and what they write in full."""
        text = self.write("long.txt", (STORY + "\u4e2d\u6587\U0001F600" * 30) * 600)
        ids = self.run_quire("tokenize", "-q", text).raw
        return [(["tokenize", "-q", text], ids),
                (["detokenize", "-q", self.write("ids", ids)], pathlib.Path(text).read_bytes())]

    def full_pipe(self, is_blocking):
        """Gives the reading and the writing end of a pipe that is still empty."""
        ours, theirs = os.pipe()
        os.set_blocking(theirs, is_blocking)
        return ours, theirs

    def wait_until_full(self, pipe):
        """No write goes through any more."""
        n, before = -1, -2
        while n != before or n == 0:
            time.sleep(0.3)
            n, before = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"    "))[0], n

    def read_all(self, pipe):
        with open(pipe, "rb") as file:
            return file.read()

    def test_a_full_pipe_keeps_no_run_and_cuts_nothing(self):
        for arguments, whole in self.long_outputs():
            for is_blocking, number in ((True, signal.SIGINT), (False, signal.SIGTERM)):
                ours, theirs = self.full_pipe(is_blocking)
                process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE)
                os.close(theirs)
                self.wait_until_full(ours)
                process.send_signal(number)
                _, err = process.communicate(timeout=30)
                written = self.read_all(ours)
                self.assertEqual(process.returncode, 130, arguments)
                self.assertIn(b"nobody read standard output", err)
                self.assertGreater(len(written), 4096)
                self.assertTrue(whole.startswith(written))
                written.decode()  # whole characters
                if arguments[0] == "tokenize":
                    self.assertEqual(written[-1:], b"\n")

    def test_a_reader_that_is_late_gets_all(self):
        for arguments, whole in self.long_outputs():
            for is_blocking in (True, False):
                ours, theirs = self.full_pipe(is_blocking)
                process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=theirs)
                os.close(theirs)
                self.wait_until_full(ours)
                self.assertEqual(self.read_all(ours), whole)
                self.assertEqual(process.wait(timeout=60), 0)

    def test_a_late_reader_gets_what_a_signal_found_produced(self):
        """It reads on within the second that is left."""
        (arguments, whole), _ = self.long_outputs()
        ours, theirs = self.full_pipe(True)
        process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        self.wait_until_full(ours)
        process.send_signal(signal.SIGINT)
        written = self.read_all(ours)
        _, err = process.communicate(timeout=30)
        self.assertNotIn(b"nobody", err)
        self.assertTrue(whole.startswith(written))
        self.assertEqual(written[-1:], b"\n")

    def test_a_full_standard_error_keeps_no_run_and_loses_nothing(self):
        for is_blocking, reads in ((True, True), (True, False), (False, True), (False, False)):
            ours, theirs = self.full_pipe(False)
            n_before = os.write(theirs, bytes(1 << 20))
            os.set_blocking(theirs, is_blocking)
            with tempfile.TemporaryFile() as out:
                process = self.start("tokenize", self.story, stdin=subprocess.DEVNULL, stdout=out, stderr=theirs)
                os.close(theirs)
                time.sleep(0.5)
                if not reads:
                    process.send_signal(signal.SIGTERM)
                    process.wait(timeout=30)
                said = self.read_all(ours)
                process.wait(timeout=30)
            self.assertEqual(said[n_before:].count(b"tokens"), 1 if reads else 0)

    def test_a_file_that_may_not_grow_ends_with_a_whole_line(self):
        for arguments, whole in self.long_outputs():
            for limit in (10007, 100003, 100004):
                with tempfile.TemporaryFile() as out:
                    process = self.start(*arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
                    _, err = process.communicate(timeout=60)
                    out.seek(0)
                    written = out.read()
                self.assertEqual(process.returncode, 1)
                self.assertIn(b"cannot write to standard output: File too large", err)
                self.assertLess(limit - len(written), 4096)
                self.assertTrue(whole.startswith(written))
                written.decode()
                if arguments[0] == "tokenize":
                    self.assertEqual(written[-1:], b"\n")

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

    def test_a_signal_that_was_ignored_stays_so(self):
        """As shells start what runs in the background."""
        process = self.start("tokenize", "-v", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.assertNotEqual(process.stderr.readline(), b"")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(b"abc", timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertNotEqual(out, b"")

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


if __name__ == "__main__":
    main()
