# The journal on its own: every promise of its FORMAT.md, on real files and on an I/O table that fails.
set(journal_libs longpoll::journal-static longpoll::core-static)
longpoll_test(journal_format SOURCES journal_format.c LIBS ${journal_libs})
longpoll_test(journal_store SOURCES journal_store.c journal_kit.c LIBS ${journal_libs})
longpoll_test(journal_damage SOURCES journal_damage.c journal_kit.c LIBS ${journal_libs} TIMEOUT 300)
longpoll_test(journal_compact SOURCES journal_compact.c journal_kit.c LIBS ${journal_libs})
longpoll_test(journal_upkeep SOURCES journal_upkeep.c journal_kit.c LIBS ${journal_libs})
longpoll_test(journal_power SOURCES journal_power.c journal_model.c journal_disk.c journal_kit.c
              LIBS ${journal_libs} TIMEOUT 300)
longpoll_test(journal_faults SOURCES journal_faults.c journal_model.c journal_disk.c journal_kit.c
              LIBS ${journal_libs} TIMEOUT 300)
longpoll_plain_test(journal_kill SOURCES journal_kill.c journal_kit.c LIBS ${journal_libs} ARGS 8)
# Worlds in which the journal once forgot a loss, and once gave back too low a highest number.
if(NOT LONGPOLL_THREAD_SANITIZER)
    foreach(world mixed-121 mixed-244 never-1045)
        string(REPLACE "-" ";" world_parts ${world})
        list(GET world_parts 0 level)
        list(GET world_parts 1 seed)
        add_test(NAME power_cut_journal_${level}_seed_${seed}
                 COMMAND power_cut_journal ${level} --worlds 1 --seed ${seed})
    endforeach()
endif()
