/* Streams that are resumed: by the position that breaks the silence, by Last-Event-ID, across gaps,
 * and by readers that come and go at any byte. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness.h"
#include "stream_reader.h"

#define CATEGORY_C "/events?timeout=60&category=c"

/* Publishes and waits until it is visible, then for the next millisecond. */
static void publish(const char *category, const char *data)
{
    uint64_t before = harness_stats().published;
    harness_publish(category, data);
    while (harness_stats().published == before)
        harness_turn(1);
    harness_turn(2);
}

Test(stream_resume, silence_is_broken_by_the_position)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.http.stream_heartbeat_ms = 30;
    harness_start(&options);
    publish("c", "1");
    stream_reader stream = stream_open(CATEGORY_C, "");
    char first[37], later[37];
    cr_assert(stream_holds(&stream, "\n\n") && stream_last_id(&stream, first));
    publish("other", "1"); /* moves the position on */
    while (stream_count(&stream, "id: ") < 4)
        cr_assert(stream_read_some(&stream, RAW_DEADLINE_MS));
    cr_assert(stream_last_id(&stream, later));
    cr_expect_gt(strcmp(later, first), 0);
    cr_expect_eq(stream_count(&stream, "data"), 0);
    /* who resumes from a heartbeat misses nothing and gets nothing twice */
    publish("c", "2");
    stream_close(&stream);
    char headers[64];
    snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", later);
    stream = stream_open(CATEGORY_C, headers);
    cr_expect(stream_holds(&stream, "\"data\":2"));
    cr_expect_eq(stream_count(&stream, "\ndata: {") + stream_count(&stream, "gap"), 1);
    stream_close(&stream);
    harness_stop();
}

Test(stream_resume, last_event_id_wins_over_the_urls_cursor)
{
    harness_start(NULL);
    for (int i = 0; i < 4; i++) {
        char data[16];
        snprintf(data, sizeof(data), "%d", i);
        publish("c", data);
    }
    stream_reader all = stream_open(CATEGORY_C "&since_time=0", "");
    cr_assert(stream_holds(&all, "\"data\":3"));
    char *second = strstr(strstr(all.text, "\"data\":1"), "\"id\":\"") + 6;
    char headers[64];
    snprintf(headers, sizeof(headers), "Last-Event-ID: %.36s\r\n", second);
    stream_reader stream = stream_open(CATEGORY_C "&since_time=0&last=4", headers);
    cr_expect(stream_holds(&stream, "\"data\":3"));
    cr_expect_eq(stream_count(&stream, "\ndata: {"), 2, "%s", stream.text);
    cr_expect_eq(stream_count(&stream, "gap"), 0);
    stream_close(&stream);
    stream_close(&all);
    harness_stop();
}

Test(stream_resume, a_last_event_id_of_somebody_else_gets_all_there_is_and_a_gap)
{
    static const char *const ids[] = {"42", "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                                      "7fffffff-ffff-7fff-bfff-ffffffffffff"};
    harness_start(NULL);
    publish("c", "1");
    for (size_t i = 0; i < 3; i++) {
        char headers[80];
        snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", ids[i]);
        stream_reader stream = stream_open(CATEGORY_C, headers);
        publish("c", "2");
        cr_expect(stream_holds(&stream, "\"data\":2"));
        cr_expect_eq(stream_count(&stream, "event: gap\ndata: {\"gap\":true}\n\n"), 1, "%s: %s",
                     ids[i], stream.text);
        if (i < 2)
            cr_expect(strstr(stream.text, "\"data\":1"));
        stream_close(&stream);
    }
    harness_stop();
}

Test(stream_resume, a_gap_is_told_once_and_before_what_follows_it)
{
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = 2;
    harness_start(&options);
    for (int i = 0; i < 5; i++)
        publish("c", "0");
    stream_reader stream = stream_open(CATEGORY_C "&since_time=1", "");
    cr_expect(stream_holds(&stream, "\ndata: {\"timestamp\""));
    publish("c", "1");
    cr_expect(stream_holds(&stream, "\"data\":1"));
    cr_expect_eq(stream_count(&stream, "event: gap\ndata: {\"gap\":true}\n\nid: "), 1);
    cr_expect_eq(stream_count(&stream, "event: gap"), 1);
    cr_expect_lt(strstr(stream.text, "event: gap"), strstr(stream.text, "\"data\":0"));
    stream_close(&stream);
    harness_stop();
}

/* ---- at any byte -------------------------------------------------------- */

static uint32_t seed;

static uint32_t below(uint32_t limit)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)seed * limit >> 32);
}

typedef struct browser {
    stream_reader stream;
    char id[37];  /* of the last whole frame, over all its streams */
    int expected; /* the next number, unless a gap was told */
    bool is_open, lost_some;
} browser;

/* Takes what whole frames say, and leaves a part of one. */
static void take_frames(browser *self)
{
    stream_reader *stream = &self->stream;
    char *at = stream->text, *end;
    for (; (end = strstr(at, "\n\n")); at = end + 2) {
        *end = '\0';
        char *data = strstr(at, "\"data\":");
        if (strncmp(at, "event: gap\n", 11) == 0)
            self->lost_some = true;
        else
            memcpy(self->id, at + 4, 36);
        if (!data)
            continue;
        int number = atoi(data + 7);
        cr_assert(number == self->expected || (self->lost_some && number > self->expected),
                  "%d in place of %d", number, self->expected);
        self->expected = number + 1;
        self->lost_some = false;
    }
    stream->len -= (size_t)(at - stream->text);
    memmove(stream->text, at, stream->len + 1);
}

static void reopen(browser *self)
{
    char headers[64] = "";
    if (self->id[0])
        snprintf(headers, sizeof(headers), "Last-Event-ID: %s\r\n", self->id);
    self->stream = stream_open("/events?timeout=1&category=c&prefix=d", headers);
    self->is_open = true;
}

static void leave(browser *self)
{
    if (below(2))
        raw_reset(&self->stream.conn);
    stream_close(&self->stream);
    self->is_open = false;
}

static void random_step(browser *self, int *next)
{
    char data[32];
    uint32_t what = below(100);
    if (!self->is_open) {
        if (what < 40)
            reopen(self);
    } else if (what < 3) {
        leave(self);
    } else if (what < 40) {
        stream_read_some(&self->stream, 1);
        take_frames(self);
        if (self->stream.has_ended || self->stream.was_cut)
            leave(self);
    }
    if (what % 3 == 0) {
        for (uint32_t i = below(6); i-- > 0;) {
            snprintf(data, sizeof(data), "%d", (*next)++);
            harness_publish(below(2) ? "c" : "d/1", data);
        }
    }
    if (what % 5 == 0)
        harness_turn(1);
}

Test(stream_resume, readers_that_come_and_go_miss_nothing_in_silence)
{
    enum { STEPS = 4000 };
    harness_options options = HARNESS_OPTIONS_INIT;
    options.manager.event_buffer_max = 60;
    options.http.stream_heartbeat_ms = 5;
    harness_start(&options);
    const char *given = getenv("SEED"); /* to see a failure again */
    seed = given ? (uint32_t)strtoul(given, NULL, 10) : (uint32_t)time(NULL);
    printf("seed %u\n", (unsigned)seed);
    browser self = {0};
    int next = 0;
    reopen(&self); /* its position is told before anything is published */
    cr_assert(stream_holds(&self.stream, "\n\n"));
    take_frames(&self);
    for (int i = 0; i < STEPS; i++)
        random_step(&self, &next);
    if (self.is_open)
        leave(&self);
    reopen(&self);
    while (self.expected < next) {
        cr_assert(stream_read_some(&self.stream, RAW_DEADLINE_MS), "%d of %d", self.expected, next);
        take_frames(&self);
    }
    stream_close(&self.stream);
    harness_stop();
}
