"""What is installed is whole, exports what it should, and names no directory of where it was built."""
import os
import re

from package import LIBRARIES, PackageTest, arguments, built, dynamic, elf_files, libdir, main, prefix, run

TEXT = (".h", ".cmake", ".pc")


def symbols(library, kind):
    """What a shared library defines or leaves undefined, without what the linker adds."""
    said = run("nm", "-D", f"--{kind}-only", "--format=posix", library)[1]
    return {line.split()[0].split("@")[0] for line in said.splitlines()}


class Contents(PackageTest):
    def path(self, *parts):
        return os.path.join(libdir(prefix), *parts)

    def shared(self, name):
        return self.path(f"lib{LIBRARIES[name]}.so")

    def test_every_library_is_there_shared_and_static(self):
        for name in built:
            output = LIBRARIES[name]
            for file in (f"lib{output}.so", f"lib{output}.so.0", f"lib{output}.a",
                         f"pkgconfig/{output}.pc"):
                self.assertTrue(os.path.exists(self.path(file)), file)

    def test_headers_are_those_of_the_source(self):
        source = os.path.join(arguments.source, "include", "longpoll")
        wanted = set(os.listdir(source)) - {f"{name}.h" for name in LIBRARIES if name not in built}
        self.assertEqual(set(os.listdir(os.path.join(prefix, "include", "longpoll"))), wanted)

    def test_the_soname_is_the_major_version(self):
        for name in built:
            self.assertEqual(dynamic(self.shared(name), "SONAME"), [f"lib{LIBRARIES[name]}.so.0"])

    def test_libraries_look_for_each_other_beside_themselves(self):
        for name in built:
            self.assertEqual(dynamic(self.shared(name), "RUNPATH"), ["$ORIGIN"], name)

    def test_programs_run_where_they_were_moved_to(self):
        programs = [path for path in elf_files(os.path.join(prefix, "bin"))]
        self.assertTrue(programs)
        for path in programs:
            self.assertEqual(dynamic(path, "RUNPATH") + dynamic(path, "RPATH"), [], path)
            self.good(path, "--version")

    def test_no_file_names_where_it_was_built(self):
        wrong = []
        for folder, _, names in os.walk(prefix):
            for name in names:
                if name.endswith(TEXT):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        text = file.read()
                    wrong += [f"{name}: {directory}" for directory in
                              (arguments.source, arguments.build, arguments.scratch, "/usr/")
                              if directory in re.sub("/usr/(share/)?doc", "", text)]
        self.assertEqual(wrong, [])

    def test_libraries_export_their_functions_alone(self):
        for name in built:
            others = {symbol for symbol in symbols(self.shared(name), "defined")
                      if not re.match("lp_[a-z]", symbol)}
            # What core shows to libraries of its own version, and nothing that none of them uses.
            used = set()
            for user in ("http", "http-evloop"):
                used |= symbols(self.shared(user), "undefined") if name == "core" else set()
            self.assertEqual(others - used, set(), name)

    def test_static_libraries_go_together(self):
        shared = os.path.join(arguments.source, "addons", "shared")
        words = set()
        for name in os.listdir(shared):
            with open(os.path.join(shared, name), encoding="utf-8") as file:
                words |= set(re.findall(r"\blp__\w+", file.read()))
        definers = {}
        for name in built:
            said = self.good("nm", "--defined-only", "--extern-only", "--format=posix",
                             self.path(f"lib{LIBRARIES[name]}.a"))
            for symbol in {line.split()[0] for line in said.splitlines() if len(line.split()) > 2}:
                definers.setdefault(symbol, []).append(name)
        # The code that stores share is the same in all of them, and a program links one flavour of
        # http; every other name is one library's.
        self.assertEqual({symbol: names for symbol, names in definers.items() if len(names) > 1
                          and names != ["http", "http-evloop"] and symbol not in words | {"lp_linked_addon_new"}}, {})

    def test_every_store_can_be_the_linked_one(self):
        exporters = {name for name in built
                     if "lp_linked_addon_new" in symbols(self.shared(name), "defined")}
        self.assertEqual(exporters, set(arguments.stores.split(",")))

    def test_only_a_library_that_uses_one_needs_it(self):
        users = {"libsqlite3": {"sqlite"}, "liblmdb": {"lmdb"}, "libh2o.so": {"http"},
                 "libh2o-evloop.so": {"http-evloop"}, "libuv": {"core", "http", "http-evloop"}}
        for library, names in users.items():
            needing = {name for name in built
                       if any(entry.startswith(library) for entry in dynamic(self.shared(name), "NEEDED"))}
            self.assertEqual(needing, names & set(built), library)


if __name__ == "__main__":
    main()
