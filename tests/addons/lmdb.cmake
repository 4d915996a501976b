# The LMDB store on its own: every promise of its FORMAT.md, on real files.
if(NOT TARGET longpoll::lmdb-static)
    return()
endif()
set(lmdb_libs longpoll::lmdb-static longpoll::core-static)
longpoll_plain_test(conformance_lmdb
    SOURCES conformance_lmdb.c report.c
    LIBS longpoll::conformance-static ${lmdb_libs} ARGS ${kit_case} TIMEOUT 600)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb)
longpoll_test(lmdb_store SOURCES lmdb_store.c lmdb_kit.c LIBS ${lmdb_libs} PkgConfig::LMDB)
longpoll_test(lmdb_rows SOURCES lmdb_rows.c lmdb_kit.c LIBS ${lmdb_libs} PkgConfig::LMDB)
longpoll_plain_test(lmdb_damage SOURCES lmdb_damage.c lmdb_kit.c LIBS ${lmdb_libs} ARGS 500 TIMEOUT 300)
# Its own pwrite and fdatasync take the place of the C library's for LMDB too.
longpoll_plain_test(lmdb_faults SOURCES lmdb_faults.c lmdb_kit.c LIBS ${lmdb_libs})
longpoll_plain_test(lmdb_space SOURCES lmdb_space.c lmdb_kit.c LIBS ${lmdb_libs})
set_tests_properties(lmdb_space PROPERTIES SKIP_RETURN_CODE 77)
