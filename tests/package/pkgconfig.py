"""pkg-config: the same source, linked with the shared libraries and with the static ones."""
import os
import shutil

from package import CONSUMER, LIBRARIES, PackageTest, arguments, built, dynamic, libdir, main, prefix, stores

OTHERS = {"core": {"libuv", "libcjson"}, "http": {"libh2o", "libuv", "openssl"},
          "http-evloop": {"libh2o-evloop", "libuv", "openssl"},
          "sqlite": {"sqlite3"}, "lmdb": {"lmdb"}}


class PkgConfig(PackageTest):
    def say(self, libraries, *options):
        """What pkg-config says of modules whose files are below a directory of libraries."""
        env = {"PKG_CONFIG_PATH": os.path.join(libraries, "pkgconfig")}
        return self.good("pkg-config", *options, env=env)

    def flags(self, libraries, *options):
        return self.say(libraries, *options).split()

    def build(self, source, module, libraries, *options):
        program = os.path.join(self.directory, module)
        self.good(os.environ.get("CC", "cc"), source,
                  *self.flags(libraries, "--cflags", "--libs", *options, module, "libuv"),
                  f"-Wl,-rpath,{libraries}", "-o", program)
        return program

    def static_only(self):
        """A prefix without shared libraries: else -l means those."""
        copy = os.path.join(self.directory, "prefix")
        shutil.copytree(prefix, copy, symlinks=True)
        libraries = libdir(copy)
        for name in os.listdir(libraries):
            if ".so" in name:
                os.remove(os.path.join(libraries, name))
        return libraries

    def test_shared(self):
        for store in stores:
            with self.subTest(store):
                program = self.build(f"{CONSUMER}/app.c", f"longpoll-{store}", libdir(prefix))
                self.publishes_and_finds(program, store)

    def test_static(self):
        libraries = self.static_only()
        for store in stores:
            with self.subTest(store):
                program = self.build(f"{CONSUMER}/app.c", f"longpoll-{store}", libraries, "--static")
                self.assertEqual([name for name in dynamic(program, "NEEDED") if "longpoll" in name], [])
                self.publishes_and_finds(program, store)

    def test_a_server(self):
        for libraries, options in ((libdir(prefix), []), (self.static_only(), ["--static"])):
            for flavour in ("longpoll-http", "longpoll-http-evloop"):
                self.build(f"{arguments.source}/examples/server.c", flavour, libraries, *options,
                           "longpoll-journal")

    def test_each_requires_what_it_is_linked_with(self):
        libraries = libdir(prefix)
        version = self.say(libraries, "--modversion", "longpoll").strip()
        for name in built:
            module = LIBRARIES[name]
            ours = self.say(libraries, "--print-requires", module).splitlines()
            self.assertEqual(ours, [] if name == "core" else [f"longpoll = {version}"], name)
            others = self.say(libraries, "--print-requires-private", module).splitlines()
            self.assertEqual({line.split()[0] for line in others}, OTHERS.get(name, set()), name)

    def test_the_prefix_is_where_the_file_is(self):
        (flag,) = [flag for flag in self.flags(libdir(prefix), "--libs-only-L", "longpoll")
                   if os.path.realpath(flag[2:]) == os.path.realpath(libdir(prefix))]
        self.assertTrue(flag)


if __name__ == "__main__":
    main()
