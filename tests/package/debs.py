"""The Debian packages: one a library, each with what it should have and nothing that another has."""
import glob
import os
import re

from package import CONSUMER, LIBRARIES, PackageTest, arguments, libdir, main

LIBRARY_PACKAGES = {name: f"lib{output}0" for name, output in LIBRARIES.items()}


class Debs(PackageTest):
    def fields(self, deb):
        lines = self.good("dpkg-deb", "-f", deb).splitlines()
        return dict(line.split(": ", 1) for line in lines if re.match(r"[\w-]+: ", line))

    def files(self, deb):
        """Everything but directories, as in the file system."""
        listing = self.good("dpkg-deb", "-c", deb).splitlines()
        return [line.split()[5].lstrip(".") for line in listing if not line.startswith("d")]

    def depends(self, package):
        return {re.split(r"[ :]", entry)[0] for entry in self.packages[package]["Depends"].split(", ")}

    def test_the_packages(self):
        self.good(os.path.join(arguments.source, "tools", "package", "debs"), self.directory)
        debs = glob.glob(os.path.join(self.directory, "*.deb"))
        self.packages = {fields["Package"]: {**fields, "files": self.files(deb)}
                         for deb, fields in ((deb, self.fields(deb)) for deb in debs)}
        for check in (self.names, self.nothing_is_there_twice, self.libraries, self.development,
                      self.programs, self.they_work):
            with self.subTest(check.__name__):
                check()

    def names(self):
        programs = set(self.packages) & {"longpoll"}
        self.assertEqual(set(self.packages),
                         {*LIBRARY_PACKAGES.values(), "liblongpoll-dev", "longpolld", *programs})
        for name, fields in self.packages.items():
            self.assertRegex(fields["Version"], r"^\d+\.\d+\.\d+-1$", name)
            self.assertIn(f"/usr/share/doc/{name}/copyright", fields["files"])
            self.assertRegex(fields["Description"], "^long-poll publish/subscribe: ")

    def nothing_is_there_twice(self):
        files = [file for fields in self.packages.values() for file in fields["files"]]
        self.assertEqual(sorted(files), sorted(set(files)))

    def libraries(self):
        multiarch = self.good("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
        needs = {"core": {"libuv1", "libcjson1"}, "http": {"liblongpoll0", "libh2o0.13", "libuv1", "libssl3"},
                 "http-evloop": {"liblongpoll0", "libh2o-evloop0.13", "libuv1", "libssl3"},
                 "journal": {"liblongpoll0"}, "sqlite": {"liblongpoll0", "libsqlite3-0"},
                 "lmdb": {"liblongpoll0", "liblmdb0"}, "conformance": {"liblongpoll0"}}
        for name, package in LIBRARY_PACKAGES.items():
            self.assertEqual(self.depends(package) - {"libc6"}, needs[name], package)
            fields = self.packages[package]
            if name != "core":
                self.assertIn(f"liblongpoll0 (= {fields['Version']})", fields["Depends"])
            libraries = [file for file in fields["files"] if "/doc/" not in file]
            stem = f"/usr/lib/{multiarch}/lib{LIBRARIES[name]}.so.0"
            self.assertEqual(len(libraries), 2)
            for file in libraries:
                self.assertTrue(file.startswith(stem), file)

    def development(self):
        fields = self.packages["liblongpoll-dev"]
        self.assertLessEqual({*LIBRARY_PACKAGES.values(), "libuv1-dev", "libsqlite3-dev", "liblmdb-dev"},
                             self.depends("liblongpoll-dev"))
        for ending in (".a", ".so", ".pc"):
            self.assertEqual(len([file for file in fields["files"] if file.endswith(ending)]),
                             len(LIBRARIES), ending)
        self.assertIn("/usr/include/longpoll/manager.h", fields["files"])

    def programs(self):
        self.assertIn("/usr/bin/longpolld", self.packages["longpolld"]["files"])
        self.assertLessEqual({"libh2o-evloop0.13", "libsqlite3-0", "liblmdb0", "libuv1"},
                             self.depends("longpolld"))

    def they_work(self):
        """Unpacked into one root, the programs run, and a program is linked with what is there."""
        root = os.path.join(self.directory, "root")
        for deb in glob.glob(os.path.join(self.directory, "*.deb")):
            self.good("dpkg-deb", "-x", deb, root)
        for name in os.listdir(os.path.join(root, "usr/bin")):
            self.good(os.path.join(root, "usr/bin", name), "--version")
        libraries = libdir(root)
        flags = self.good("pkg-config", "--cflags", "--libs", "longpoll-sqlite", "libuv",
                          env={"PKG_CONFIG_PATH": os.path.join(libraries, "pkgconfig")}).split()
        program = os.path.join(self.directory, "app")
        self.good(os.environ.get("CC", "cc"), f"{CONSUMER}/app.c", *flags, f"-Wl,-rpath,{libraries}",
                  "-o", program)
        self.publishes_and_finds(program, "sqlite")


if __name__ == "__main__":
    main()
