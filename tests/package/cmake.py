"""find_package(longpoll): programs built from one source, and what is said when it cannot be."""
import os
import shutil

from package import CONSUMER, PackageTest, arguments, main, prefix, stores

NO_PKG_CONFIG = {"PKG_CONFIG_LIBDIR": "/nonexistent", "PKG_CONFIG_PATH": ""}


class CMake(PackageTest):
    def project(self, lines, head="cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES C)\n"):
        source = os.path.join(self.directory, "project")
        shutil.rmtree(source, ignore_errors=True)
        os.makedirs(source)
        with open(os.path.join(source, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write(head + lines)
        return self.configure(source, f"-DCMAKE_PREFIX_PATH={prefix}")

    def consumer(self, **more):
        self.good(*self.configure(CONSUMER, "-DLONGPOLL=package", f"-DCMAKE_PREFIX_PATH={prefix}",
                                  f"-DSTORES={';'.join(stores)}",
                                  f"-DSERVER={arguments.source}/examples/server.c"), **more)
        build = os.path.join(self.directory, "build")
        self.good("cmake", "--build", build)
        return build

    def test_one_source_and_a_program_for_each_store(self):
        build = self.consumer()
        for store in stores:
            for kind in ("", "-static"):
                with self.subTest(store + kind):
                    self.publishes_and_finds(os.path.join(build, f"app_{store}{kind}"), store)

    def test_shared_libraries_are_linked_without_development_files_of_others(self):
        build = self.consumer(env=NO_PKG_CONFIG)
        self.assertEqual({name for name in os.listdir(build) if name.startswith(("app", "server"))},
                         {f"app_{store}" for store in stores} | {"server"})

    def test_static_libraries_say_what_they_lack(self):
        said = self.bad(*self.project("find_package(longpoll REQUIRED COMPONENTS journal-static)"),
                        env=NO_PKG_CONFIG)
        self.assertIn('component "journal-static": pkg-config does not find libuv', said)

    def test_an_unknown_component_is_named(self):
        said = self.bad(*self.project("find_package(longpoll REQUIRED COMPONENTS redis)"))
        self.assertIn('component "redis": there is no such component (there are core http http-evloop', said)

    def test_an_optional_component_may_be_missing(self):
        said = self.good(*self.project(
            "find_package(longpoll REQUIRED COMPONENTS core OPTIONAL_COMPONENTS redis)\n"
            "message(\"redis: ${longpoll_redis_FOUND}, core: ${longpoll_core_FOUND}\")"))
        self.assertIn("redis: FALSE, core: TRUE", said)

    def test_without_components_all_is_there(self):
        self.good(*self.project("find_package(longpoll REQUIRED)\nforeach(name core http journal)\n"
                                "get_target_property(x longpoll::${name} LOCATION)\n"
                                "get_target_property(x longpoll::${name}-static LOCATION)\nendforeach()"))

    def test_an_old_project_in_another_language_may_use_it(self):
        self.good(*self.project(
            "cmake_minimum_required(VERSION 3.5)\nproject(old LANGUAGES CXX)\nset(core x)\n"
            "find_package(longpoll REQUIRED COMPONENTS core journal journal-static)\n"
            "file(WRITE ${CMAKE_BINARY_DIR}/main.cpp \"#include <longpoll/linked.h>\\n\"\n"
            "     \"int main() { return lp_linked_addon_new(nullptr, nullptr, nullptr) == LP_OK; }\")\n"
            "add_executable(old ${CMAKE_BINARY_DIR}/main.cpp)\n"
            "target_link_libraries(old longpoll::journal-static)\n"
            "set_target_properties(old PROPERTIES CXX_STANDARD 17)", head=""))
        self.good("cmake", "--build", os.path.join(self.directory, "build"))

    def test_another_major_version_is_refused(self):
        said = self.bad(*self.project("find_package(longpoll 1.0 REQUIRED)"))
        self.assertIn('compatible with requested version "1.0"', said)
        self.good(*self.project("find_package(longpoll 0.1 REQUIRED)"))


if __name__ == "__main__":
    main()
