/* The spare: the file of a segment that is dead, kept to become the next one. Writing over it costs
 * neither new blocks nor, at each sync, a new size. At most one is kept, and none where it would
 * make the directory larger than it may be.
 *
 * It never passes for a segment: the name that it is made under is never read, its header is zeros
 * on disk before it is used, and its old records do not verify under the epoch of the new one. */
#include "inside.h"

#include <fcntl.h>

/* Less than this part of a segment is not worth keeping. */
enum { LEAST_FRACTION = 2 };

static bool is_fit(const lp__journal *journal, const lp__segment *segment)
{
    return !segment->failed && segment->size <= journal->segment_bytes &&
           segment->size >= journal->segment_bytes / LEAST_FRACTION;
}

const lp__segment *lp__spare_link(lp__journal *journal, size_t from, size_t to)
{
    const lp__journal_io *io = &journal->io;
    char name[LP__SEGMENT_NAME_MAX];
    if (journal->spare_bytes > 0)
        return NULL;
    for (size_t i = to + 1; i-- > from;) {
        const lp__segment *segment = journal->segments.at[i];
        if (!is_fit(journal, segment))
            continue;
        lp__segment_name(segment->header.number, name);
        io->unlink(io->ctx, journal->dir, LP__SPARE_NAME);
        return io->link(io->ctx, journal->dir, name, LP__SPARE_NAME) == 0 ? segment : NULL;
    }
    return NULL;
}

void lp__spare_keep(lp__journal *journal, uint64_t bytes, uint32_t seed)
{
    static const uint8_t zeros[LP__SEGMENT_HEADER];
    const lp__journal_io *io = &journal->io;
    bool is_good = false;
    if (lp__journal_disk(journal) + bytes <= lp__journal_bound(journal)) {
        int fd = io->open(io->ctx, journal->dir, LP__SPARE_NAME, O_WRONLY, 0);
        is_good = fd >= 0 &&
                  io->pwrite(io->ctx, fd, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros) &&
                  io->fdatasync(io->ctx, fd) == 0;
        if (fd >= 0)
            io->close(io->ctx, fd);
    }
    journal->spare_bytes = bytes;
    journal->spare_seed = seed;
    if (!is_good)
        lp__spare_drop(journal);
}

int lp__spare_take(lp__journal *journal, const char *name)
{
    const lp__journal_io *io = &journal->io;
    if (journal->spare_bytes == 0)
        return -1;
    int fd = -1;
    if (io->rename(io->ctx, journal->dir, LP__SPARE_NAME, name) == 0) {
        fd = io->open(io->ctx, journal->dir, name, O_RDWR, 0);
        if (fd < 0)
            io->unlink(io->ctx, journal->dir, name);
        journal->spare_bytes = 0;
        return fd;
    }
    io->unlink(io->ctx, journal->dir, name); /* a failed rename may have been done */
    lp__spare_drop(journal);
    return -1;
}

bool lp__spare_drop(lp__journal *journal)
{
    if (journal->spare_bytes == 0)
        return false;
    journal->spare_bytes = 0;
    return journal->io.unlink(journal->io.ctx, journal->dir, LP__SPARE_NAME) == 0;
}
