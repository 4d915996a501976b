/* What log_addon.c and log_compact.c share. */
#ifndef TESTS_ADDONS_LOG_INSIDE_H
#define TESTS_ADDONS_LOG_INSIDE_H

#include "log_addon.h"

#include <sys/types.h>

typedef enum kind { EVENT = 1, REMOVAL, HORIZON, KEY, HIGHEST } kind;

typedef struct log_record {
    uint32_t kind, name_len, data_len, count;
    lp_id id;
    uint64_t seq, digest;
    int64_t expires_ms;
} log_record;

typedef struct frame {
    uint64_t len, checksum;
} frame;

typedef struct state {
    lp_addon addon;
    char path[1100], new_path[1110], clean_path[1110], lock_path[1110];
    log_defect defect;
    int file, lock;
    off_t size;
    off_t compacted;           /* its size after the last compaction */
    uint64_t floor;            /* the newest that a batch has brought */
    int64_t forgotten_keys_ms; /* the greatest that a batch has told */
    bool touched; /* written to since it was opened: the marker of a clean stop is gone */
    bool failed;  /* LOG_STAYS_FAILED */
    char *bytes;  /* the frame that is being filled, LOG_WRITES_LATER: and those before it */
    size_t len, capacity, frame_at;
} state;

/* Reads the whole log; NULL when there is no memory. The caller frees it. */
char *log_read(state *log, size_t *len);
bool log_next_record(const char **at, const char *end, log_record *head, lp_str *name,
                     lp_str *data);
uint64_t log_checksum(const char *bytes, size_t len);
/* Before anything is written: the marker of a clean stop is not true any more. */
void log_touch(state *log);

/* Writes the log anew without what is gone; `lose_one`: and without one event that is not. */
int log_compact(state *log, bool lose_one);
/* The defect of one who writes the log anew where it lies. */
void log_rewrite_in_place(state *log);

#endif
