"""What the command line says to wrong words, and its help."""
import tool


class Usage(tool.TestCase):
    def test_wrong_words_are_named_and_exit_with_2(self):
        for words, mentions in [
                ([], "--help"),
                (["stroe"], "did you mean longpoll store?"),
                (["publishh"], '"publishh"'),
                (["--verson"], '"--verson"'),
                (["store"], "longpoll store --help"),
                (["store", "cpoy"], "did you mean longpoll store copy?"),
                (["store", "zzz"], "unknown command"),
                (["store", "info"], "longpoll store info STORE"),
                (["store", "info", "journal:x", "journal:y"], '"journal:y"'),
                (["store", "info", "journal:x", "--jsn"], "--jsn"),
                (["store", "info", "-j", "journal:x"], '"-j"'),
                (["store", "info", "journal:x", "--json=1"], "takes no value"),
                (["store", "dump", "journal:x", "--output"], "--output FILE"),
                (["store", "info", "x"], '"x": unknown store'),
                (["store", "info", "redis:x"], '"redis:x": unknown store'),
                (["store", "info", "memory"], '"memory": it keeps nothing'),
                (["store", "verify", "journal:"], "no path"),
                (["store", "dump", "journal:x?sync=maybe"], '"maybe"'),
                (["store", "dump", "journal:x?sync=always&sync=never"], '"sync" is given twice'),
                (["store", "dump", "journal:x?sync=always&sync=always"], '"sync" is given twice'),
                (["store", "load", "-", "journal:x?segment=1MiB&sync=never&segment=2MiB"],
                 '"segment" is given twice'),
                (["store", "copy", "journal:x"], "FROM TO"),
                (["store", "copy", "journal:x", "memory"], '"memory"'),
                (["store", "copy", "journal:x", "y"], '"y": unknown store'),
                (["store", "load", "journal:x", "journal:y"], "longpoll store copy"),
                (["store", "compact", "tape:x"], '"tape:x"')]:
            with self.subTest(words):
                self.fail_with(tool.USAGE, *words, mentions=[mentions])

    def test_help_is_there_at_each_level(self):
        self.assertIn(b"store", self.succeed("--help"))
        listed = self.succeed("store", "--help").decode()
        for name in ["info", "verify", "dump", "load", "copy", "compact"]:
            self.assertIn(f"\n  {name} ", listed)
            text = self.succeed("store", name, "--help").decode()
            self.assertIn(f"Usage: longpoll store {name} ", text)
            self.assertIn("Exit status: 0 done, 1 failed, 2 wrong usage, 3 damage", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_help_says_what_a_status_and_a_cut_dump_mean(self):
        text = self.succeed("store", "dump", "--help").decode()
        self.assertRegex(text, r"without --all that was cut at the end of a\s+line")
        self.assertIn("Its last line says that it is whole", text)
        self.assertIn("with status 3", self.succeed("store", "info", "--help").decode())
        text = self.succeed("store", "load", "--help").decode()
        self.assertRegex(text, r"the rest\s+is loaded, with status 3")

    def test_version_names_the_stores(self):
        self.assertRegex(self.succeed("--version").decode(),
                         r"\Alongpoll \d+\.\d+\.\d+\nstores: memory journal( sqlite)?( lmdb)?\n\Z")

    def test_a_store_that_is_not_there_is_not_made(self):
        for kind in tool.kinds():
            for command in ["info", "verify", "dump", "compact"]:
                with self.subTest(kind=kind, command=command):
                    self.fail_with(tool.FAILED, "store", command, self.spec(kind),
                                   mentions=[self.path("store")])
            self.fail_with(tool.FAILED, "store", "copy", self.spec(kind), self.spec(kind, "to"),
                           mentions=[self.path("store")])
        self.assert_absent("store", "to")


if __name__ == "__main__":
    tool.main()
