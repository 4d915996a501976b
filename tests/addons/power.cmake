# Simulated power cuts, beneath libc: one program a store. Not under ThreadSanitizer, which takes
# libc's calls for itself. By hand, thousands: tests/power_cut_sqlite always --worlds 1000.
foreach(store journal sqlite lmdb)
    if(LONGPOLL_THREAD_SANITIZER OR NOT TARGET longpoll_${store}_static)
        continue()
    endif()
    longpoll_plain_test(power_cut_${store}
        SOURCES
            power_cut.c power_cut_${store}.c power_cut_calls.c power_cut_disk.c power_cut_event.c
            power_cut_files.c power_cut_image.c power_cut_life.c power_cut_world.c
        LIBS longpoll::${store}-static longpoll::core-static
        ARGS mixed)
    foreach(level always interval never)
        add_test(NAME power_cut_${store}_${level} COMMAND power_cut_${store} ${level})
    endforeach()
    foreach(part files directories)
        add_test(NAME power_cut_${store}_finds_a_disk_that_lies_about_${part}
                 COMMAND power_cut_${store} always --lie ${part})
    endforeach()
    add_test(NAME power_cut_${store}_finds_keys_in_a_commit_of_their_own
             COMMAND power_cut_${store} always --lie keys)
    add_test(NAME power_cut_${store}_finds_a_store_that_forgets_to_sync
             COMMAND power_cut_${store} interval --lie interval --worlds 60)
endforeach()
