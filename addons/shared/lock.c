/* See lock.h. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <longpoll/status.h>

#include "errno_status.h"

/* Whose number stands in the file: for the sentence of whoever comes second, and nothing else. */
static long read_holder(int fd)
{
    char text[32] = "";
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    return len > 0 ? strtol(text, NULL, 10) : 0;
}

static void write_holder(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        errno = 0; /* a full disk: the lock holds without it */
}

int lp__lock_take(int dir, const char *name, bool read_only, int *fd, long *holder)
{
    int flags = read_only ? O_RDONLY : O_RDWR | O_CREAT;
    *holder = 0;
    *fd = openat(dir, name, flags | O_CLOEXEC, 0600);
    if (*fd < 0)
        return read_only && errno == ENOENT ? LP_OK : lp__status_of_errno(errno);
    int result;
    do
        result = flock(*fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result == 0) {
        if (!read_only)
            write_holder(*fd);
        return LP_OK;
    }
    int code = errno;
    /* Readers write no number, so what stands there is that of a writer of before. */
    bool is_read = !read_only && flock(*fd, LOCK_SH | LOCK_NB) == 0;
    *holder = is_read ? 0 : read_holder(*fd);
    close(*fd);
    *fd = -1;
    errno = code;
    return code == EWOULDBLOCK ? LP_EINUSE : lp__status_of_errno(code);
}
