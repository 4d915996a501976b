/* What tests of the journal may use beyond <longpoll/journal.h>: a journal whose file calls go
 * through a table of one's own, to count them, to let them fail, or to keep what a power cut would
 * leave. */
#ifndef LP_JOURNAL_PRIVATE_H
#define LP_JOURNAL_PRIVATE_H

#include <sys/types.h>

#include <longpoll/journal.h>

/* Every call that changes or reads a file, and every clock. Each behaves as its namesake of POSIX,
 * errno included. Names are relative to the journal's directory, which `dir` is open on. All are
 * called on the add-on's thread. */
typedef struct lp__journal_io {
    void *ctx;
    int (*open)(void *ctx, int dir, const char *name, int flags, mode_t mode);
    int (*close)(void *ctx, int fd);
    ssize_t (*pread)(void *ctx, int fd, void *data, size_t len, off_t offset);
    ssize_t (*pwrite)(void *ctx, int fd, const void *data, size_t len, off_t offset);
    /* Asks the kernel to begin writing a range to disk; promises nothing. */
    void (*begin_writeback)(void *ctx, int fd, off_t offset, off_t len);
    int (*fdatasync)(void *ctx, int fd);
    int (*fsync_dir)(void *ctx, int dir);
    int (*ftruncate)(void *ctx, int fd, off_t size);
    int (*rename)(void *ctx, int dir, const char *from, const char *to);
    int (*link)(void *ctx, int dir, const char *from, const char *to);
    int (*unlink)(void *ctx, int dir, const char *name);
    int64_t (*monotonic_us)(void *ctx);
    int64_t (*wall_ms)(void *ctx);
    uint64_t (*boot)(void *ctx); /* a number of this boot of the machine; 0: not known */
} lp__journal_io;

/* The real calls. */
lp__journal_io lp__journal_io_real(void);

/* lp_journal_new with a table of file calls, which is copied. */
int lp__journal_new(const char *directory, const lp_journal_options *options,
                    const lp__journal_io *io, lp_addon **out, lp_error *error);

#endif
