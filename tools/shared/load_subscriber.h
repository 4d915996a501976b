/* A subscriber that follows the documented loop with the cursor habit of a real client: polls,
 * hands on what comes, moves its cursor, polls again. Its reading of answers is strict: what is not
 * to the byte as the wire says ends the program.
 *
 * One thread. Subscribers live in the caller's memory and stay put. */
#ifndef LOAD_SUBSCRIBER_H
#define LOAD_SUBSCRIBER_H

#include "load_client.h"

typedef enum cursor_habit {
    HABIT_GO,   /* golongpoll's Go client: a timeout moves since_time, last_id stays */
    HABIT_JS,   /* its JavaScript client: a timeout moves nothing */
    HABIT_CURL, /* since_time alone, moved by events and timeouts */
    HABIT_COUNT
} cursor_habit;

/* "go", "js", "curl"; ends the program for another. */
cursor_habit habit_parse(const char *name);
const char *habit_name(cursor_habit habit);

/* One event of an answer; borrowed. Data is expected to be a plain JSON string. */
typedef struct seen {
    int64_t timestamp_ms;
    char *data; /* without its quotes, terminated */
    size_t data_len;
} seen;

typedef struct subscriber subscriber;

struct subscriber {
    connection connection;

    /* Set by the caller. */
    cursor_habit habit;
    const char *category; /* needs no escaping */
    int timeout_s;
    int64_t since_ms;
    void (*on_event)(subscriber *s, const seen *event);
    void (*on_answered)(subscriber *s, bool timed_out); /* may be NULL; before the next poll */
    void (*on_polled)(subscriber *s);                   /* may be NULL; a poll has been sent */
    bool stopped;                                       /* no further poll */

    /* Read by the caller. */
    char last_id[40];
    uint64_t polls, timeouts, gaps, refused, lost;
};

/* Sends the first poll. */
void subscriber_start(subscriber *s, http_client *client);
/* Sends the next poll of a subscriber that was stopped. */
void subscriber_poll(subscriber *s);
void subscriber_free(subscriber *s);

#endif
