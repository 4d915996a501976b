# The journal by its own: every promise of FORMAT.md, with real files and with an I/O table that fails.
set(journal_libs longpoll::journal-static longpoll::core-static)
longpoll_test(journal_format SOURCES journal_format.c LIBS ${journal_libs})
longpoll_test(journal_store SOURCES journal_store.c journal_kit.c LIBS ${journal_libs})
longpoll_test(journal_damage SOURCES journal_damage.c journal_kit.c LIBS ${journal_libs} TIMEOUT 300)
