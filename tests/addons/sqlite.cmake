# The SQLite store on its own: every promise of its FORMAT.md, on real files.
if(NOT TARGET longpoll::sqlite-static)
    return()
endif()
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.37)
set(sqlite_libs longpoll::sqlite-static longpoll::core-static PkgConfig::SQLITE)
longpoll_plain_test(conformance_sqlite
    SOURCES conformance_sqlite.c report.c
    LIBS longpoll::conformance-static longpoll::sqlite-static longpoll::core-static
    ARGS ${kit_case} TIMEOUT 600)
longpoll_test(sqlite_store SOURCES sqlite_store.c sqlite_kit.c LIBS ${sqlite_libs})
longpoll_test(sqlite_start SOURCES sqlite_start.c sqlite_kit.c LIBS ${sqlite_libs})
longpoll_test(sqlite_faults SOURCES sqlite_faults.c sqlite_kit.c LIBS ${sqlite_libs} TIMEOUT 300)
longpoll_test(sqlite_damage SOURCES sqlite_damage.c sqlite_kit.c LIBS ${sqlite_libs} TIMEOUT 300)
longpoll_test(sqlite_memory SOURCES sqlite_memory.c sqlite_kit.c LIBS ${sqlite_libs})

# The queries of FORMAT.md, run by the sqlite3 shell.
add_executable(sqlite_shell_writer sqlite_shell_writer.c)
target_link_libraries(sqlite_shell_writer PRIVATE longpoll::sqlite-static longpoll::core-static)
set_target_properties(sqlite_shell_writer PROPERTIES
                      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME sqlite_shell
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/sqlite_shell_test.py
                 $<TARGET_FILE:sqlite_shell_writer> ${PROJECT_SOURCE_DIR}/addons/sqlite/FORMAT.md)
