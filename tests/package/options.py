"""What is compiled in is a choice: every combination configures, and the smallest builds and installs."""
import itertools
import os

from package import PackageTest, arguments, main, run

OPTIONS = ("HTTP", "SQLITE", "LMDB")


def switches(on):
    return [f"-DLONGPOLL_{option}={'ON' if option in on else 'OFF'}" for option in OPTIONS]


class Options(PackageTest):
    def test_every_combination_configures(self):
        # In one directory: the compiler is looked at once, and what was on must go off again.
        for count in range(len(OPTIONS) + 1):
            for on in itertools.combinations(OPTIONS, count):
                with self.subTest(on):
                    self.good(*self.configure(arguments.source, *switches(on), "-DLONGPOLL_TESTS=OFF",
                                              "-DLONGPOLL_EXAMPLES=OFF"))
                    build = os.path.join(self.directory, "build")
                    said = self.good("ninja", "-C", build, "-t", "targets", "all")
                    self.assertEqual({option for option in OPTIONS
                                      if f"liblongpoll-{option.lower()}.so:" in said}, set(on))

    def test_the_smallest_builds_and_says_what_it_lacks(self):
        self.good(*self.configure(arguments.source, *switches(())))
        build, prefix = (os.path.join(self.directory, name) for name in ("build", "prefix"))
        self.good("cmake", "--build", build, "--parallel", "2")
        self.good("cmake", "--install", build, "--prefix", prefix)
        self.assertFalse(os.path.exists(os.path.join(prefix, "bin", "longpolld")))

        project = os.path.join(self.directory, "project")
        os.makedirs(project)
        with open(os.path.join(project, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write("cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES C)\n"
                       "find_package(longpoll REQUIRED COMPONENTS journal journal-static)\n"
                       "find_package(longpoll REQUIRED COMPONENTS sqlite)\n")
        said = self.bad(*self.configure(project, f"-DCMAKE_PREFIX_PATH={prefix}", name="consumer"))
        self.assertIn('component "sqlite": this longpoll was built without it (it has core', said)

    def test_a_missing_library_is_named_with_a_remedy(self):
        nothing = os.path.join(self.directory, "nothing")
        os.makedirs(nothing)
        for module in ("libuv", "libcjson"):
            _, where = run("pkg-config", "--variable=pcfiledir", module)
            os.symlink(os.path.join(where.strip(), f"{module}.pc"), os.path.join(nothing, f"{module}.pc"))
        env = {"PKG_CONFIG_LIBDIR": nothing, "PKG_CONFIG_PATH": ""}
        said = self.bad(*self.configure(arguments.source, *switches(("SQLITE",))), env=env)
        self.assertIn("longpoll::sqlite needs sqlite3>=3.37, and pkg-config does not find it (install "
                      "libsqlite3-dev, or configure with -DLONGPOLL_SQLITE=OFF)", said)
        self.good(*self.configure(arguments.source, *switches(()), name="without"), env=env)

    def test_tests_without_http_are_refused(self):
        said = self.bad(*self.configure(arguments.source, *switches(()), "-DLONGPOLL_TESTS=ON"))
        self.assertIn("configure with -DLONGPOLL_TESTS=OFF", said)


if __name__ == "__main__":
    main()
