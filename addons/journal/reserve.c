/* The reserve: a file that holds some space back. On a full disk it is given up for what makes room
 * again: telling which events are dead, and compaction. */
#include "inside.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RESERVE_BYTES = 256 * 1024, RESERVE_BYTES_MIN = 4096 };

static bool has_size(int fd, size_t len)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && stat.st_size == (off_t)len;
}

/* Bytes that were written hold space on every file system; a size alone does not. */
static bool fill(lp__journal *journal, int fd, size_t len)
{
    uint8_t *zeros = calloc(1, len);
    if (zeros == NULL)
        return false;
    ssize_t wrote = journal->io.pwrite(journal->io.ctx, fd, zeros, len, 0);
    free(zeros);
    return wrote == (ssize_t)len;
}

uint64_t lp__reserve_bytes(const lp__journal *journal)
{
    return journal->segment_bytes < RESERVE_BYTES ? RESERVE_BYTES_MIN : RESERVE_BYTES;
}

void lp__reserve_make(lp__journal *journal)
{
    const lp__journal_io *io = &journal->io;
    if (journal->has_reserve || journal->read_only)
        return;
    int fd = io->open(io->ctx, journal->dir, LP__RESERVE_NAME, O_WRONLY | O_CREAT, 0600);
    if (fd < 0)
        return;
    size_t len = (size_t)lp__reserve_bytes(journal);
    journal->has_reserve = has_size(fd, len) || fill(journal, fd, len);
    io->close(io->ctx, fd);
    if (!journal->has_reserve)
        io->unlink(io->ctx, journal->dir, LP__RESERVE_NAME);
}

bool lp__reserve_spend(lp__journal *journal)
{
    bool had = journal->has_reserve;
    journal->has_reserve = false;
    return had && journal->io.unlink(journal->io.ctx, journal->dir, LP__RESERVE_NAME) == 0;
}
