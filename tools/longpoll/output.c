/* See output.h. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

enum { BUFFER = 1 << 18 };

static int failed(output_file *out, const char *what, lp_error *error)
{
    int code = errno;
    int status = code == ENOSPC || code == EFBIG || code == EDQUOT ? LP_ENOSPC
                 : code == EACCES                                  ? LP_EACCES
                                                                   : LP_EIO;
    out->is_closed = code == EPIPE;
    if (out->path == NULL)
        return lp_error_set(error, status, "%s standard output: %s", what, strerror(code));
    return lp_error_set(error, status, "%s \"%.200s\": %s", what, out->path, strerror(code));
}

static int open_file(output_file *out, const char *path)
{
    struct stat there;
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return open(path, O_WRONLY | O_CLOEXEC);
    if (asprintf(&out->temporary, "%s.XXXXXX", path) < 0) {
        out->temporary = NULL;
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(out->temporary, O_CLOEXEC);
    if (fd < 0) {
        free(out->temporary);
        out->temporary = NULL;
        return -1;
    }
    mode_t mask = umask(0); /* as a file has that is made the usual way */
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    return fd;
}

int output_open(output_file *out, const char *path, lp_error *error)
{
    *out = (output_file){.fd = STDOUT_FILENO};
    if (path != NULL && strcmp(path, "-") != 0) {
        out->path = path;
        out->fd = open_file(out, path);
        if (out->fd < 0)
            return failed(out, "cannot make", error);
    }
    out->buffer = malloc(BUFFER);
    if (out->buffer != NULL)
        return LP_OK;
    output_abandon(out);
    return lp_error_set(error, LP_ENOMEM, "out of memory");
}

static int write_all(output_file *out, const char *base, size_t len, lp_error *error)
{
    while (len > 0) {
        if (interrupt_check(error) != LP_OK)
            return LP_ECANCELED;
        ssize_t written = write(out->fd, base, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return failed(out, "cannot write to", error);
        base += written;
        len -= (size_t)written;
    }
    return LP_OK;
}

static int flush(output_file *out, lp_error *error)
{
    size_t len = out->len;
    out->len = 0;
    return write_all(out, out->buffer, len, error);
}

int output_put(output_file *out, lp_str bytes, lp_error *error)
{
    int status = LP_OK;
    if (bytes.len > BUFFER - out->len)
        status = flush(out, error);
    if (status == LP_OK && bytes.len > BUFFER)
        return write_all(out, bytes.base, bytes.len, error);
    if (status != LP_OK)
        return status;
    memcpy(out->buffer + out->len, bytes.base, bytes.len);
    out->len += bytes.len;
    return LP_OK;
}

int output_commit(output_file *out, lp_error *error)
{
    int status = flush(out, error);
    if (status == LP_OK && out->temporary != NULL && fsync(out->fd) != 0)
        status = failed(out, "cannot sync", error);
    if (status == LP_OK && out->temporary != NULL && rename(out->temporary, out->path) != 0)
        status = failed(out, "cannot rename to", error);
    if (status == LP_OK) {
        free(out->temporary);
        out->temporary = NULL;
    }
    output_abandon(out);
    return status;
}

void output_abandon(output_file *out)
{
    if (out->temporary != NULL)
        unlink(out->temporary);
    if (out->path != NULL && out->fd >= 0)
        close(out->fd);
    free(out->temporary);
    free(out->buffer);
    out->temporary = out->buffer = NULL;
    out->fd = -1;
}

/* ---- text ------------------------------------------------------------------------------------ */

static bool make_room(growing_text *text, size_t len)
{
    if (!text->failed && len > text->capacity - text->len) {
        size_t capacity = text->capacity * 2 + len + 256;
        char *base = realloc(text->base, capacity);
        text->failed = base == NULL;
        if (base != NULL) {
            text->base = base;
            text->capacity = capacity;
        }
    }
    return !text->failed;
}

void text_put(growing_text *text, lp_str bytes)
{
    if (!make_room(text, bytes.len) || bytes.len == 0)
        return;
    memcpy(text->base + text->len, bytes.base, bytes.len);
    text->len += bytes.len;
}

void text_print(growing_text *text, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (len > 0)
        text_put(text, (lp_str){line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1});
}

void text_string(growing_text *text, lp_str bytes)
{
    text_put(text, (lp_str){"\"", 1});
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.base[i];
        if (c == '"' || c == '\\')
            text_print(text, "\\%c", c);
        else if ((unsigned char)c < 0x20)
            text_print(text, "\\u%04x", (unsigned)c);
        else
            text_put(text, (lp_str){&bytes.base[i], 1});
    }
    text_put(text, (lp_str){"\"", 1});
}
