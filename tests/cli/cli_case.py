"""What the tests of the program share: a model, a story, a cache of their own, and how the program is run.

Python's library alone. The model is a small random one that make_model.py writes; nothing of the user's own cache is
touched."""
import os
import pathlib
import subprocess
import sys
import tempfile
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

    def run_quire(self, *arguments, stdin=b"", code=0, **process):
        """Runs with stdout and stderr as files, as a shell's > and 2> do."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.start(*arguments, stdin=subprocess.PIPE, stdout=out, stderr=err, **process)
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


def main():
    """The tests of the program that was started."""
    global quire, scratch
    if len(sys.argv) < 2:
        sys.exit(sys.modules["__main__"].__doc__)
    quire = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        scratch = folder
        for name, options in (("model", []), ("chat", ["--chat"])):
            subprocess.run([sys.executable, HERE / "make_model.py", os.path.join(folder, name), *options], check=True)
        unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
