# What a library of this project is: longpoll_library. Included by the top CMakeLists.txt.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# Libraries of others go by their pkg-config names. This is what Debian calls their packages.
set(LONGPOLL_DEBIAN_libuv libuv1-dev)
set(LONGPOLL_DEBIAN_libcjson libcjson-dev)
set(LONGPOLL_DEBIAN_libh2o libh2o-dev)
set(LONGPOLL_DEBIAN_libh2o-evloop libh2o-evloop-dev)
set(LONGPOLL_DEBIAN_openssl libssl-dev)
set(LONGPOLL_DEBIAN_sqlite3 libsqlite3-dev)
set(LONGPOLL_DEBIAN_lmdb liblmdb-dev)

# "sqlite3" of "sqlite3>=3.37".
function(longpoll_module_name spec out)
    string(REGEX REPLACE "[<>=].*" "" name ${spec})
    set(${out} ${name} PARENT_SCOPE)
endfunction()

# Finds a library of others: PkgConfig::longpoll_<module>, a name that is no parent project's, and the
# one by which the installed package finds it again for users of the static libraries.
function(longpoll_find_module library spec)
    longpoll_module_name(${spec} module)
    if(TARGET PkgConfig::longpoll_${module})
        return()
    endif()
    pkg_check_modules(longpoll_${module} QUIET IMPORTED_TARGET GLOBAL ${spec})
    if(NOT longpoll_${module}_FOUND)
        set(remedy "install ${LONGPOLL_DEBIAN_${module}}")
        string(REGEX REPLACE "-.*" "" option ${library})
        string(TOUPPER ${option} option)
        if(DEFINED LONGPOLL_${option})
            string(APPEND remedy ", or configure with -DLONGPOLL_${option}=OFF")
        endif()
        message(FATAL_ERROR "longpoll: longpoll::${library} needs ${spec}, and pkg-config does not "
                            "find it (${remedy})")
    endif()
endfunction()

# One library, compiled once: longpoll::<name> (shared) and longpoll::<name>-static.
#
#   longpoll_library(name output SOURCES file...
#                    [PUBLIC name...]      libraries of ours that its users need too
#                    [MODULES module...]   libraries of others, as pkg-config calls them, some with
#                                          a version (sqlite3>=3.37): its own affair
#                    [PRIVATE target...]   the same for what pkg-config does not know
#                    [DEFINES name=value...])  macros that its users need too
#
# A parent project builds only those that it links, unless it installs them.
function(longpoll_library name output)
    cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;MODULES;PRIVATE;DEFINES" ${ARGN})
    if(arg_PRIVATE MATCHES "PkgConfig::")
        message(FATAL_ERROR "longpoll: longpoll::${name}: name in MODULES what pkg-config knows, so that the "
                            "installed package finds it too")
    endif()
    foreach(spec ${arg_MODULES})
        longpoll_find_module(${name} ${spec})
        longpoll_module_name(${spec} module)
        list(APPEND arg_PRIVATE PkgConfig::longpoll_${module})
    endforeach()
    add_library(longpoll_${name}_objects OBJECT ${arg_SOURCES})
    set(targets longpoll_${name}_objects)
    target_include_directories(longpoll_${name}_objects PUBLIC ${PROJECT_SOURCE_DIR}/include)
    target_compile_definitions(longpoll_${name}_objects PRIVATE ${arg_DEFINES})
    target_link_libraries(longpoll_${name}_objects PRIVATE ${arg_PRIVATE})
    foreach(kind SHARED STATIC)
        string(TOLOWER ${kind} suffix)
        set(target longpoll_${name}_${suffix})
        list(APPEND targets ${target})
        add_library(${target} ${kind} $<TARGET_OBJECTS:longpoll_${name}_objects>)
        target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
        target_compile_definitions(${target} INTERFACE ${arg_DEFINES})
        foreach(dependency ${arg_PUBLIC})
            target_link_libraries(${target} PUBLIC longpoll_${dependency}_${suffix})
        endforeach()
        target_link_libraries(${target} PRIVATE ${arg_PRIVATE})
        # They lie in one directory, and find each other there wherever it is.
        set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output} VERSION ${PROJECT_VERSION}
                              SOVERSION ${PROJECT_VERSION_MAJOR} INSTALL_RPATH "$ORIGIN")
    endforeach()
    set_target_properties(longpoll_${name}_shared PROPERTIES EXPORT_NAME ${name})
    set_target_properties(longpoll_${name}_static PROPERTIES EXPORT_NAME ${name}-static)
    target_link_options(longpoll_${name}_shared PRIVATE -Wl,--no-undefined)
    add_library(longpoll::${name} ALIAS longpoll_${name}_shared)
    add_library(longpoll::${name}-static ALIAS longpoll_${name}_static)
    if(NOT PROJECT_IS_TOP_LEVEL AND NOT LONGPOLL_INSTALL)
        set_target_properties(${targets} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()

    # install.cmake and debian.cmake go by these.
    set_property(GLOBAL APPEND PROPERTY LONGPOLL_LIBRARIES ${name})
    foreach(what PUBLIC MODULES DEFINES)
        set_property(GLOBAL PROPERTY LONGPOLL_${name}_${what} ${arg_${what}})
    endforeach()
    set_property(GLOBAL PROPERTY LONGPOLL_${name}_OUTPUT ${output})
endfunction()

# Short names for the programs of this project.
macro(longpoll_short_names)
    foreach(short UV CJSON H2O H2O_EVLOOP OPENSSL)
        string(TOLOWER ${short} module)
        string(REPLACE "_" "-" module ${module})
        if(NOT TARGET PkgConfig::${short})
            foreach(target longpoll_lib${module} longpoll_${module})
                if(TARGET PkgConfig::${target})
                    add_library(PkgConfig::${short} ALIAS PkgConfig::${target})
                endif()
            endforeach()
        endif()
    endforeach()
endmacro()
