"""What dump --output refuses: every way to name the store itself."""
import os

import tool


class Output(tool.TestCase):
    def setUp(self):
        super().setUp()
        self.content = b"".join(tool.events(20))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def assert_refused(self, spec, output):
        before = self.snapshot()
        with self.subTest(spec=spec, output=output):
            self.fail_with(tool.USAGE, "store", "dump", spec, "--output", output,
                           mentions=[output, "name a file elsewhere"])
            self.assertEqual(self.snapshot(), before)

    def assert_taken(self, spec, output):
        with self.subTest(spec=spec, output=output):
            self.succeed("store", "dump", spec, "--output", output)
            with open(output, "rb") as file:
                self.assertEqual(file.read(), self.content)

    def test_the_store_and_what_belongs_to_it_are_never_overwritten(self):
        for kind in tool.kinds():
            self.load(kind, self.content, kind)
            os.symlink(kind, "link-" + kind)
            os.mkdir("dir-" + kind)
            os.symlink("..", f"dir-{kind}/up")
            if os.path.isdir(kind):
                names = [f"{kind}/{each}" for each in os.listdir(kind)] + [kind, f"{kind}/new"]
                inside = next(each for each in names if os.path.isfile(each))
                os.symlink(inside, "to-" + kind)
                os.link(inside, "hard-" + kind)
            else:
                names = [kind] + [kind + each for each in ["-wal", "-shm", "-journal", ".lock",
                                                           ".reserve"]]
                os.symlink(kind, "to-" + kind)
                os.link(kind, "hard-" + kind)
            for spec in [f"{kind}:{kind}", f"{kind}:link-{kind}?sync=always"]:
                for name in names:
                    self.assert_refused(spec, name)
                    self.assert_refused(spec, self.path(name))
                    self.assert_refused(spec, f"./dir-{kind}/../{name}")
                    self.assert_refused(spec, f"dir-{kind}/up/{name}")
                self.assert_refused(spec, "to-" + kind)
                self.assert_refused(spec, "hard-" + kind)
            if os.path.isdir(kind):
                self.assert_refused(f"{kind}:{kind}/", f"link-{kind}/new")
            os.unlink("hard-" + kind)  # sqlite refuses a file of two names
            self.assertEqual(self.dump(f"{kind}:{kind}"), self.content)

    def test_anything_else_is_taken(self):
        for kind in tool.kinds():
            spec = f"{kind}:{self.load(kind, self.content, kind).split(':', 1)[1]}"
            self.assert_taken(spec, kind + ".jsonl")
            self.assert_taken(spec, kind + ".jsonl")  # a file that is there is replaced
            self.assert_taken(spec, "x" + kind)
            os.mkdir("beside-" + kind)
            self.assert_taken(spec, f"beside-{kind}/{kind}")
            self.assertEqual(self.succeed("store", "dump", spec, "--output", "-"), self.content)

    def test_a_pipe_and_a_device_are_written_to(self):
        spec = self.load(tool.kinds()[0], self.content)
        self.assertEqual(self.succeed("store", "dump", spec, "--output", "/dev/stdout"),
                         self.content)
        self.succeed("store", "dump", spec, "--output", "/dev/null")
        os.mkfifo("pipe")
        process = tool.start("store", "dump", spec, "--output", "pipe")
        with open("pipe", "rb") as file:
            self.assertEqual(file.read(), self.content)
        self.assertEqual(process.communicate(timeout=tool.DEADLINE_S), (b"", b""))
        self.assertEqual(process.returncode, tool.DONE)


if __name__ == "__main__":
    tool.main()
