/* Events, ids and sequence numbers: the nouns that managers, add-ons and clients share.
 *
 * An event is immutable and counted. It may be held and read on any thread. */
#ifndef LONGPOLL_EVENT_H
#define LONGPOLL_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include <longpoll/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cJSON;

/* Bytes with a length, not terminated. Borrowed unless a function says otherwise. */
typedef struct lp_str {
    const char *base;
    size_t len;
} lp_str;

/* The lp_str of a terminated string, which it borrows. */
LP_API lp_str lp_str_of(const char *text);

/* A category is 1 to this many bytes of UTF-8. Source: golongpoll. */
#define LP_CATEGORY_MAX 1024

/* An event's id: a UUIDv7 (RFC 9562) in network byte order. Its first 48 bits are the event's
 * timestamp in milliseconds since the epoch, the next 15 bits that are not version or variant count
 * within the millisecond, the rest is random.
 *
 * Those 63 ordering bits are the event's sequence number `seq`: it strictly rises over all
 * categories of a manager and across restarts, and fits a positive int64_t, so that stores may use
 * it as their key. Zero is no event's number. */
typedef struct lp_id {
    uint8_t bytes[16];
} lp_id;

#define LP_ID_TEXT_LEN 36

LP_API lp_id lp_id_make(uint64_t seq, uint64_t random);
LP_API uint64_t lp_id_seq(lp_id id);
/* The version of a UUID, 7 for ids of this library. */
LP_API int lp_id_version(lp_id id);
/* Writes the canonical lower-case form and a terminating NUL: LP_ID_TEXT_LEN + 1 bytes. */
LP_API void lp_id_format(lp_id id, char *out);
/* Reads any usual spelling: canonical, 32 hex digits, "{…}", "urn:uuid:…", any case.
 * LP_EINVAL when it is none. */
LP_API int lp_id_parse(lp_str text, lp_id *out);

#define LP_SEQ_COUNTER_BITS 15
/* The millisecond of a sequence number, and the first and last number of a millisecond. */
LP_API int64_t lp_seq_ms(uint64_t seq);
LP_API uint64_t lp_seq_first(int64_t ms);
LP_API uint64_t lp_seq_last(int64_t ms);

typedef struct lp_event lp_event;

/* Makes an event that has an id already: for tools that move events between stores, and for tests.
 * (A manager makes its own events and their ids.) `data` is one JSON value and is kept to the byte.
 * The caller owns one reference of `*out`.
 * LP_EINVAL: not an id of version 7, a category that is no UTF-8 of 1..LP_CATEGORY_MAX bytes, data
 * that is not one valid JSON value. LP_ETOOBIG: data of 2 GiB or more. LP_ENOMEM. */
LP_API int lp_event_new(lp_id id, lp_str category, lp_str data, lp_event **out);

LP_API lp_event *lp_event_ref(lp_event *event);
LP_API void lp_event_unref(lp_event *event); /* NULL is fine */

/* What follows borrows from the event. */
LP_API lp_id lp_event_id(const lp_event *event);
LP_API uint64_t lp_event_seq(const lp_event *event);
LP_API int64_t lp_event_timestamp_ms(const lp_event *event);
LP_API lp_str lp_event_category(const lp_event *event);
LP_API lp_str lp_event_data(const lp_event *event); /* JSON, the publisher's bytes */
/* {"timestamp":…,"category":"…","data":…,"id":"…"}: the event as it goes over the wire. */
LP_API lp_str lp_event_wire(const lp_event *event);

/* Reads an event from its wire text: the inverse of lp_event_wire, for clients and for tools.
 * `text` is one JSON object with at least the four members, each once, in any order; members of
 * other names are passed over. The data is kept to the byte. The caller owns one reference of
 * `*out`. LP_EINVAL: no such object, an id that is not of version 7 (golongpoll's are of version
 * 4), a timestamp that is not the id's, a category or data that lp_event_new refuses; `error` (may
 * be NULL) has the sentence. LP_ETOOBIG, LP_ENOMEM. */
LP_API int lp_event_parse(lp_str text, lp_event **out, lp_error *error);

/* The data as a new cJSON tree that the caller deletes; NULL when there is no memory, or when cJSON
 * cannot hold the value (it nests at most 1000 deep, and its numbers are doubles). */
LP_API struct cJSON *lp_event_cjson(const lp_event *event);

#ifdef __cplusplus
}
#endif
#endif
