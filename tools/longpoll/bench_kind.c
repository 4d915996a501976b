/* See bench_kind.h. */
#include "bench_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shared/load_figures.h"

enum { ENVELOPE_LEN_MAX = 64 };

static const bench_kind kinds[] = {
    {"longpoll", CAN_CATEGORIES | CAN_CURSOR | CAN_BATCH | CAN_STREAM | CAN_WAKE},
    {"golongpoll", CAN_CATEGORIES | CAN_CURSOR | CAN_WAKE},
    {"nchan", CAN_CATEGORIES | CAN_CURSOR | CAN_STREAM | CAN_WAKE},
    {"responder", CAN_CURSOR | CAN_WAKE},
    {"h2o", CAN_WAKE},
};

const bench_kind *kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}

bool kind_is(const bench_kind *kind, const char *name)
{
    return strcmp(kind->name, name) == 0;
}

static void reserve(bench_message *message, size_t capacity)
{
    if (capacity <= message->capacity)
        return;
    message->body = realloc(message->body, capacity);
    if (message->body == NULL)
        fail("out of memory");
    message->capacity = capacity;
}

static void make(bench_message *message, const char *path)
{
    snprintf(message->path, sizeof(message->path), "%s", path);
    message->request = (request){
        .method = "POST", .path = message->path, .body = message->body, .body_len = message->len};
}

static void format_events(bench_message *message, const char *category, const char *data,
                          size_t len, int count)
{
    reserve(message, (strlen(category) + len + ENVELOPE_LEN_MAX) * (size_t)count);
    char *at = message->body;
    for (int i = 0; i < count; i++) {
        const char *before = i > 0 ? "," : count > 1 ? "[" : "";
        at += sprintf(at, "%s{\"category\":\"%s\",\"data\":\"", before, category);
        memcpy(at, data, len);
        at += len;
        at += sprintf(at, "\"}");
    }
    if (count > 1)
        *at++ = ']';
    message->len = (size_t)(at - message->body);
}

void kind_publish(const bench_kind *kind, bench_message *message, const char *category,
                  const char *data, size_t len, int count)
{
    char path[sizeof(message->path)];
    if (!kind_is(kind, "nchan")) {
        format_events(message, category, data, len, count);
        make(message, "/publish");
        return;
    }
    reserve(message, len);
    memcpy(message->body, data, len);
    message->len = len;
    snprintf(path, sizeof(path), "/pub?id=%s", category);
    make(message, path);
}

void kind_wake(const bench_kind *kind, bench_message *message, const char *category,
               const char *data, size_t len)
{
    kind_publish(kind, message, category, data, len, 1);
    if (kind_is(kind, "h2o"))
        make(message, "/wake");
}

void message_free(bench_message *message)
{
    free(message->body);
    *message = (bench_message){0};
}

bool kind_published(const bench_kind *kind, int status, const char *body, size_t len)
{
    static const char success[] = "{\"success\": true}";
    if (kind_is(kind, "nchan"))
        return status >= 200 && status < 300;
    return status == 200 && len == sizeof(success) - 1 && memcmp(body, success, len) == 0;
}
