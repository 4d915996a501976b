"""add_subdirectory and FetchContent: the library as a part of a stranger's project."""
import json
import os

from package import CONSUMER, PackageTest, arguments, main, stores


class Subdirectory(PackageTest):
    def consumer(self, how, names, *options):
        self.good(*self.configure(CONSUMER, f"-DLONGPOLL={how}", f"-DLONGPOLL_SOURCE={arguments.source}",
                                  f"-DSTORES={';'.join(names)}", *options))
        build = os.path.join(self.directory, "build")
        self.good("cmake", "--build", build, "--parallel", "2")
        return build

    def test_one_source_and_a_program_for_each_store(self):
        build = self.consumer("subdirectory", stores)
        for store in stores:
            for kind in ("", "-static"):
                with self.subTest(store + kind):
                    self.publishes_and_finds(os.path.join(build, f"app_{store}{kind}"), store)

    def test_a_parent_builds_what_it_links_and_keeps_its_own_ways(self):
        build = self.consumer("fetch", ["journal"])
        self.publishes_and_finds(os.path.join(build, "app_journal"), "journal")
        made = {name for _, _, names in os.walk(build) for name in names}
        self.assertIn("liblongpoll-journal.so", made)
        for name in ("liblongpoll-http.so", "liblongpoll-conformance.a", "longpolld", "bin"):
            self.assertNotIn(name, made)

        with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as file:
            self.assertIn("CMAKE_BUILD_TYPE:STRING=\n", file.read())
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            command = [entry["command"] for entry in json.load(file) if entry["file"].endswith("app.c")][0]
        for flag in ("-W", "-D", "visibility", "-std"):
            self.assertNotIn(f" {flag}", command)

        self.good("cmake", "--install", build, "--prefix", os.path.join(self.directory, "prefix"))
        self.assertFalse(os.path.exists(os.path.join(self.directory, "prefix")))

    def test_a_parent_may_install_it(self):
        build = self.consumer("subdirectory", ["journal"], "-DLONGPOLL_INSTALL=ON", "-DLONGPOLL_HTTP=OFF",
                              "-DLONGPOLL_SQLITE=OFF", "-DLONGPOLL_LMDB=OFF")
        installed = os.path.join(self.directory, "prefix")
        self.good("cmake", "--install", build, "--prefix", installed)
        made = {name for _, _, names in os.walk(installed) for name in names}
        self.assertLessEqual({"liblongpoll.so.0", "liblongpoll-journal.a", "longpoll-config.cmake",
                              "journal.h"}, made)
        self.assertFalse({"http.h", "sqlite.h", "lmdb.h"} & made)


if __name__ == "__main__":
    main()
