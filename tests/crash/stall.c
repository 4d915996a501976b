/* A disk that stops answering, on command: preloaded into longpolld, fdatasync waits for as long as
 * the file that STALL names is there. It makes the file STALL.reached when it begins to wait. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    const char *stall = getenv("STALL");
    const struct timespec moment = {.tv_nsec = 5000000};
    char reached[4096];
    if (stall != NULL && access(stall, F_OK) == 0) {
        snprintf(reached, sizeof(reached), "%s.reached", stall);
        close(open(reached, O_CREAT | O_WRONLY, 0600));
        while (access(stall, F_OK) == 0)
            nanosleep(&moment, NULL);
    }
    return (int)syscall(SYS_fdatasync, fd);
}
