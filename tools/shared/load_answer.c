/* See load_answer.h. */
#include "load_answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *answer_header(const char *block, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(block, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, len) && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
    }
    return NULL;
}

answer_head answer_head_read(const char *block, size_t len)
{
    const char *length = answer_header(block, "content-length");
    const char *encoding = answer_header(block, "transfer-encoding");
    const char *connection = answer_header(block, "connection");

    return (answer_head){
        .status = len > 12 ? atoi(block + 9) : 0,
        .has_length = length != NULL,
        .is_chunked = encoding && !strncasecmp(encoding, "chunked", 7),
        .closes = connection && !strncasecmp(connection, "close", 5),
        .length = length ? strtoul(length, NULL, 10) : 0,
    };
}

bool answer_chunk(const char *at, size_t available, size_t *data, size_t *len, size_t *used)
{
    const char *line_end = memmem(at, available, "\r\n", 2);

    if (!line_end)
        return false;
    *len = strtoul(at, NULL, 16);
    *data = (size_t)(line_end - at) + 2;
    *used = *data + *len + 2;
    return *used <= available;
}

bool answer_unchunk(char *body, size_t available, size_t *len, size_t *used)
{
    /* First a look whether it is whole: decoding half of it would spoil it. */
    for (int pass = 0; pass < 2; pass++) {
        size_t data, size, taken;
        *len = *used = 0;
        do {
            if (!answer_chunk(body + *used, available - *used, &data, &size, &taken))
                return false;
            if (pass == 1)
                memmove(body + *len, body + *used + data, size);
            *len += size;
            *used += taken;
        } while (size > 0);
    }
    return true;
}
