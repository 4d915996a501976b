"""What a program is linked with is what its link command names, and nothing else."""
import os

from package import CONSUMER, PackageTest, dynamic, libdir, main, prefix, stores

SQLITE = '''#include <longpoll/sqlite.h>
int main(void) { lp_addon *addon; return lp_sqlite_new("file", 0, &addon, 0); }
'''
LINKED = '''#include <longpoll/linked.h>
int main(void) { lp_addon *addon; return lp_linked_addon_new("file", &addon, 0); }
'''


class Links(PackageTest):
    def link(self, source, libraries, static=False):
        """A compiler's command line for a program of its own directory."""
        directory = libdir(prefix)
        if os.path.isfile(source):
            path = source
        else:
            path = os.path.join(self.directory, "main.c")
            with open(path, "w", encoding="utf-8") as file:
                file.write(source)
        names = [f"-l:lib{name}.a" if static and name.startswith("longpoll") else f"-l{name}"
                 for name in libraries]
        return [os.environ.get("CC", "cc"), path, f"-I{prefix}/include", f"-L{directory}", *names,
                f"-Wl,-rpath,{directory}", "-o", os.path.join(self.directory, "program")]

    def program(self, source, libraries, static=False):
        self.good(*self.link(source, libraries, static))
        return os.path.join(self.directory, "program")

    def test_a_program_with_lmdb_has_no_trace_of_sqlite(self):
        self.no_trace("lmdb", "sqlite")

    def test_a_program_with_sqlite_has_no_trace_of_lmdb(self):
        self.no_trace("sqlite", "lmdb")

    def no_trace(self, store, other):
        if not {store, other} <= set(stores):
            self.skipTest("needs both stores compiled in")
        app, third = f"{CONSUMER}/app.c", {"sqlite": "sqlite3", "lmdb": "lmdb"}[store]
        shared = self.program(app, [f"longpoll-{store}", "longpoll", "uv"])
        loaded = self.good("ldd", shared)
        self.assertIn(f"lib{third}.so", loaded)
        self.assertNotIn(other, loaded)
        self.assertIn(f"liblongpoll-{store}.so.0", dynamic(shared, "NEEDED"))

        static = self.program(app, [f"longpoll-{store}", "longpoll", "uv", "cjson", third], static=True)
        marks = {"sqlite": ("sqlite",), "lmdb": ("mdb_", "lmdb")}
        symbols = self.good("nm", static)
        for mark in marks[other]:
            self.assertNotIn(mark, symbols)
        self.assertTrue(any(mark in symbols for mark in marks[store]))
        self.assertNotIn(other, self.good("ldd", static))

    def test_core_alone_has_no_store(self):
        for source, function in ((SQLITE, "lp_sqlite_new"), (LINKED, "lp_linked_addon_new")):
            for static in (False, True):
                core = ["longpoll", "uv", "cjson"]
                said = self.bad(*self.link(source, core, static))
                self.assertIn(f"undefined reference to `{function}'", said)
                self.assertEqual(said.count("undefined reference"), 1, said)
                if "sqlite" in stores:
                    self.program(source, ["longpoll-sqlite", *core, "sqlite3"], static)

    def test_of_two_stores_the_first_is_taken(self):
        app = f"{CONSUMER}/app.c"
        for static in (False, True):
            for first in stores:
                other = [f"longpoll-{store}" for store in stores if store != first]
                program = self.program(app, [f"longpoll-{first}", *other, "longpoll", "uv", "cjson",
                                             "sqlite3", "lmdb"], static)
                store = os.path.join(self.directory, f"{first}-{static}")
                said = self.good(program, "publish", store)
                self.assertEqual(said.split("\n")[0], first)


if __name__ == "__main__":
    main()
