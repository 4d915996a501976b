/* The file journal: a persistence add-on that appends to segments in a directory of its own.
 * addons/journal/FORMAT.md says what is in them. Link `longpoll::journal`.
 *
 * A host under a limit on file sizes (RLIMIT_FSIZE) must ignore SIGXFSZ: then a write past it fails
 * and publishers are told; else the signal ends the process. */
#ifndef LONGPOLL_JOURNAL_H
#define LONGPOLL_JOURNAL_H

#include <stdbool.h>

#include <longpoll/addon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lp_journal_options {
    size_t struct_size; /* set by LP_JOURNAL_OPTIONS_INIT */
    lp_sync sync;
    int64_t sync_interval_ms; /* 0: 1000 */
    int64_t segment_bytes;    /* 0: 16 MiB; at least 4096 */
    bool read_only;           /* look, change nothing: on_publish fails with LP_EACCES */
} lp_journal_options;

#define LP_JOURNAL_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(lp_journal_options), LP_SYNC_INTERVAL, 0, 0, false                                  \
    }

/* A journal in `directory`, which is made when it is missing (its parent must exist). Nothing is
 * touched before the add-on is started. Its start fails with LP_EACCES, LP_ENOTFOUND (no directory,
 * and none can be made), LP_EINUSE (open already, in this process or another; readers share it) or
 * LP_EVERSION (written by a later library), never because of damage. `options` may be NULL. The
 * add-on belongs to whoever starts it; one that never was started is freed with its own `destroy`.
 * LP_EINVAL: options without struct_size, a negative number, an empty path; `error` (may be NULL)
 * has the sentence. LP_ENOMEM.
 */
LP_API int lp_journal_new(const char *directory, const lp_journal_options *options, lp_addon **out,
                          lp_error *error);

#ifdef __cplusplus
}
#endif
#endif
