/* See lines.h. */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

enum { BUFFER = 1 << 18 };

int lines_open(line_file *lines, const char *path, lp_error *error)
{
    *lines = (struct line_file){.fd = STDIN_FILENO, .name = path};
    struct stat there;
    if (strcmp(path, "-") != 0)
        lines->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (lines->fd < 0 || fstat(lines->fd, &there) != 0)
        return lp_error_set(error,
                            errno == ENOENT   ? LP_ENOTFOUND
                            : errno == EACCES ? LP_EACCES
                                              : LP_EIO,
                            "cannot read \"%.200s\": %s", path, strerror(errno));
    if (S_ISDIR(there.st_mode)) {
        lines_close(lines);
        return lp_error_set(error, LP_EIO, "\"%.200s\": is a directory (name a file)", path);
    }
    if (S_ISREG(there.st_mode))
        lines->total = (uint64_t)there.st_size;
    return LP_OK;
}

/* Reads more behind what is there. */
static int fill(line_file *lines, lp_error *error)
{
    if (lines->begin > 0) {
        memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->end == lines->capacity) {
        size_t capacity = lines->capacity == 0 ? BUFFER : lines->capacity * 2;
        char *buffer = realloc(lines->buffer, capacity);
        if (buffer == NULL)
            return lp_error_set(error, LP_ENOMEM, "%s: line %llu is too long for this memory",
                                lines->name, (unsigned long long)lines->number + 1);
        lines->buffer = buffer;
        lines->capacity = capacity;
    }
    for (;;) {
        if (interrupt_check(error) != LP_OK)
            return LP_ECANCELED;
        ssize_t len = read(lines->fd, lines->buffer + lines->end, lines->capacity - lines->end);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return lp_error_set(error, LP_EIO, "cannot read \"%.200s\": %s", lines->name,
                                strerror(errno));
        lines->end += (size_t)len;
        lines->done += (uint64_t)len;
        lines->at_end = len == 0;
        return LP_OK;
    }
}

int lines_next(line_file *lines, lp_str *line, lp_error *error)
{
    for (;;) {
        size_t len = lines->end - lines->begin;
        char *start = lines->buffer + lines->begin;
        char *end =
            len > lines->looked ? memchr(start + lines->looked, '\n', len - lines->looked) : NULL;
        lines->is_torn = end == NULL;
        if (end != NULL || (lines->at_end && len > 0)) {
            *line = (lp_str){start, end != NULL ? (size_t)(end - start) : len};
            lines->begin += line->len + (end != NULL);
            lines->looked = 0;
            lines->number++;
            return LP_OK;
        }
        if (lines->at_end)
            return LP_SKIPPED;
        lines->looked = len;
        int status = fill(lines, error);
        if (status != LP_OK)
            return status;
    }
}

bool line_is_blank(lp_str line)
{
    size_t i = 0;
    while (i < line.len && (line.base[i] == ' ' || line.base[i] == '\t' || line.base[i] == '\r'))
        i++;
    return i == line.len;
}

void lines_close(line_file *lines)
{
    if (lines->fd > STDERR_FILENO)
        close(lines->fd);
    free(lines->buffer);
    lines->buffer = NULL;
    lines->fd = -1;
}
