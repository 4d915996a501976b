# What `cmake --install` puts where: libraries, headers, the CMake package, one pkg-config file a
# library, the programs. Nothing in it names the prefix, so that the whole may be moved. Included by the
# top CMakeLists.txt after all targets are there.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${PROJECT_BINARY_DIR}/package)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/longpoll)
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
get_property(libraries GLOBAL PROPERTY LONGPOLL_LIBRARIES)

# A pkg-config file finds its prefix from where it lies, unless libraries go outside of it.
set(pc_prefix ${CMAKE_INSTALL_PREFIX})
set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} AND NOT IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
    file(RELATIVE_PATH up /prefix/${pc_dir} /prefix)
    string(REGEX REPLACE "/$" "" up ${up})
    set(pc_prefix "\${pcfiledir}/${up}")
    set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()

set(what_core "publish and subscribe within one program")
set(what_http "long polling over HTTP, on libh2o and libuv")
set(what_http-evloop "long polling over HTTP, on libh2o-evloop")
set(what_journal "a store in files that are only appended to")
set(what_sqlite "a store in an SQLite database")
set(what_lmdb "a store in an LMDB environment")
set(what_conformance "the cases that every store must pass")

# The libraries: longpoll::<name> and longpoll::<name>-static are exported one by one, so that a program
# needs to find only those that it names.
foreach(name ${libraries})
    install(TARGETS longpoll_${name}_shared EXPORT longpoll-${name}-shared
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT longpoll_${name}
                    NAMELINK_COMPONENT longpoll_dev
            INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
    install(TARGETS longpoll_${name}_static EXPORT longpoll-${name}-static
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT longpoll_dev
            INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
    foreach(export longpoll-${name}-shared longpoll-${name}-static)
        install(EXPORT ${export} NAMESPACE longpoll:: DESTINATION ${config_dir} COMPONENT longpoll_dev)
    endforeach()

    get_property(output GLOBAL PROPERTY LONGPOLL_${name}_OUTPUT)
    get_property(modules GLOBAL PROPERTY LONGPOLL_${name}_MODULES)
    get_property(public GLOBAL PROPERTY LONGPOLL_${name}_PUBLIC)
    get_property(defines GLOBAL PROPERTY LONGPOLL_${name}_DEFINES)
    list(TRANSFORM defines PREPEND " -D")
    list(JOIN defines "" defines)
    set(requires)
    foreach(dependency ${public})
        get_property(dependency_output GLOBAL PROPERTY LONGPOLL_${dependency}_OUTPUT)
        list(APPEND requires "${dependency_output} = ${PROJECT_VERSION}")
    endforeach()
    list(JOIN requires ", " requires)
    list(JOIN modules ", " requires_private)
    string(REGEX REPLACE "([<>=]+)" " \\1 " requires_private "${requires_private}")
    set(what ${what_${name}})
    configure_file(${CMAKE_CURRENT_LIST_DIR}/library.pc.in ${package_dir}/${output}.pc @ONLY)
    install(FILES ${package_dir}/${output}.pc DESTINATION ${pc_dir} COMPONENT longpoll_dev)
    string(APPEND config_modules "set(_longpoll_modules_${name} ${modules})\n")
endforeach()
list(JOIN libraries " " config_libraries)
string(REPLACE ";" " " config_modules "${config_modules}")

# The CMake package. Versions with one major number have one SONAME, and go for each other.
configure_package_config_file(
    ${CMAKE_CURRENT_LIST_DIR}/longpoll-config.cmake.in ${package_dir}/longpoll-config.cmake
    INSTALL_DESTINATION ${config_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${package_dir}/longpoll-config-version.cmake
                                 COMPATIBILITY SameMajorVersion)
install(FILES ${package_dir}/longpoll-config.cmake ${package_dir}/longpoll-config-version.cmake
        DESTINATION ${config_dir} COMPONENT longpoll_dev)

# Headers, without those of libraries that are not built.
set(absent)
foreach(name http sqlite lmdb)
    if(NOT name IN_LIST libraries)
        list(APPEND absent PATTERN ${name}.h EXCLUDE)
    endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/longpoll DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        COMPONENT longpoll_dev FILES_MATCHING PATTERN "*.h" ${absent})

# Documents: what the headers refer to.
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${PROJECT_SOURCE_DIR}/LICENSE
        DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT longpoll_dev)
foreach(name ${libraries})
    if(EXISTS ${PROJECT_SOURCE_DIR}/addons/${name}/FORMAT.md)
        install(FILES ${PROJECT_SOURCE_DIR}/addons/${name}/FORMAT.md
                DESTINATION ${CMAKE_INSTALL_DOCDIR}/addons/${name} COMPONENT longpoll_dev)
    endif()
endforeach()

foreach(program longpolld longpoll_tool)
    if(TARGET ${program})
        install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${program})
    endif()
endforeach()

if(PROJECT_IS_TOP_LEVEL)
    include(${CMAKE_CURRENT_LIST_DIR}/debian.cmake)
endif()
