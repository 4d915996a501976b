/* A disk that stops answering, on command: preloaded into longpolld, fdatasync waits for as long as
 * the file that STALL names is there. It makes the file STALL.reached when it begins to wait. Reads
 * at an offset, of which a journal's replay is made, wait for that of STALL_READS. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_while(const char *there)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    while (there != NULL && access(there, F_OK) == 0)
        nanosleep(&moment, NULL);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    const char *stall = getenv("STALL");
    char reached[4096];
    if (stall != NULL && access(stall, F_OK) == 0) {
        snprintf(reached, sizeof(reached), "%s.reached", stall);
        close(open(reached, O_CREAT | O_WRONLY, 0600));
        wait_while(stall);
    }
    return (int)syscall(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    wait_while(getenv("STALL_READS"));
    return syscall(SYS_pread64, fd, data, len, offset);
}
