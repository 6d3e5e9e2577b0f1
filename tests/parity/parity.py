"""What the programs of this folder share: where things are, Quire's answers, and the record of what was measured.

The environment names the programs under test (tests/parity/CMakeLists.txt sets it): QUIRE_PROGRAM, QUIRE_ALL_LOGITS,
QUIRE_MANY_TEXTS, and QUIRE_PARITY_RECORD, a file that gets a line for each comparison."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "golden"))

TABLES = ["ref", "base", "avx2", "avx512"]  # multiply in float32
NARROW = "avx512-bf16"  # rounds the factors of its products to bfloat16


def test_data(name):
    """A file of the folder that QUIRE_TEST_DATA names, or a skipped test."""
    path = pathlib.Path(os.environ.get("QUIRE_TEST_DATA", "")) / name
    if "QUIRE_TEST_DATA" not in os.environ or not path.exists():
        raise unittest.SkipTest(f"QUIRE_TEST_DATA names no folder with {name}")
    return path


def quire(*arguments):
    """The program's standard output; its message where it fails."""
    done = subprocess.run([os.environ["QUIRE_PROGRAM"], *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, f"quire {' '.join(map(str, arguments))}: {done.stderr.decode()}"
    return done.stdout


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class Reading:
    """logprobs: of ids[1:], from one reading of the text; logits: [n, vocab_size], from a reading token by token."""

    def __init__(self, model, ids, isa="base", kv_type="f32"):
        ids = np.asarray(ids, np.int32)
        done = subprocess.run([os.environ["QUIRE_ALL_LOGITS"], str(model), kv_type, isa], input=ids.tobytes(),
                              capture_output=True, check=False)
        self.runs = done.returncode != 77
        assert done.returncode in (0, 77), done.stderr.decode()
        numbers = np.frombuffer(done.stdout, np.float32)
        self.logprobs, self.logits = numbers[1:len(ids)], numbers[len(ids):].reshape(len(ids) if self.runs else 0, -1)


def encode_many(tokenizer, texts, special=False):
    """For each text its ids and what they decode to, as bytes; all in one process."""
    packed = b"".join(struct.pack("<I", len(t)) + t for t in (text.encode() for text in texts))
    arguments = [os.environ["QUIRE_MANY_TEXTS"], str(tokenizer)] + (["special"] if special else [])
    answers = subprocess.run(arguments, input=packed, stdout=subprocess.PIPE, check=True).stdout
    at = 0

    def take(size):
        nonlocal at
        n = struct.unpack_from("<I", answers, at)[0]
        at += 4 + n * size
        return answers[at - n * size:at]
    for _ in texts:
        ids = np.frombuffer(take(4), np.int32).tolist()
        yield ids, take(1)


class Case(unittest.TestCase):
    """A test that measures: every comparison is recorded, then held to its bound."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="quire-parity-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def record(self, peer, case, what, found, bound, at_least=False):
        """found must be at most bound, or at least bound where a difference is to be shown."""
        row = {"peer": peer, "case": case, "what": what, "found": float(f"{found:.3g}"), "bound": bound}
        with open(os.environ.get("QUIRE_PARITY_RECORD", os.devnull), "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{peer}  {case}  {what}: {found:.3g} ({'at least' if at_least else 'at most'} {bound:g})", flush=True)
        if at_least:
            self.assertGreaterEqual(found, bound, (case, what))
        else:
            self.assertLessEqual(found, bound, (case, what))

    def compare(self, peer, case, reading, ids, logits, bound, at_least=False):
        """Log-probabilities of a whole reading, and of every token at every position of one in parts."""
        want = log_softmax(logits)
        at_ids = want[np.arange(len(ids) - 1), np.asarray(ids)[1:]]
        self.record(peer, case, "log-probabilities of the text", np.abs(reading.logprobs - at_ids).max(), bound,
                    at_least)
        self.record(peer, case, "log-probabilities of all tokens", np.abs(log_softmax(reading.logits) - want).max(),
                    bound, at_least)


def main():
    """Runs the module's tests, or those named; exit code 77 where all of them were skipped."""
    program = unittest.main(exit=False, verbosity=1)
    result = program.result
    if result.wasSuccessful() and result.testsRun and len(result.skipped) == result.testsRun:
        print("\n".join(reason for _, reason in result.skipped))
        sys.exit(77)
    sys.exit(not result.wasSuccessful())
