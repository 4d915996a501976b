/* The lines of a dump, written and read.
 *
 * One JSON object a line. An event is its wire text, which is golongpoll's shape:
 *   {"timestamp":1700000000000,"category":"c","data":{"n":1},"id":"018bcfe5-…"}
 * Where the publisher's bytes have line ends in them (between values, JSON has them nowhere else),
 * blanks stand in their place, and ,"newlines":[4,17] behind the id says where in the data.
 *
 * `dump --all` adds what is no event. Sequence numbers do not fit a double, so they are strings.
 *   {"longpoll":"dump","version":1}                                the first line
 *   {"longpoll":"loss","records":1,"detail":"…"}                   history may be missing
 *   {"longpoll":"floor","seq":"…"}                                 the horizon of every category
 *   {"longpoll":"horizon","category":"c","seq":"…"}                what is gone of one
 *   {"longpoll":"idempotency","key_hex":"…","digest":"…","seq":"…","count":1,"expires_ms":…}
 *   {"longpoll":"highest","seq":"…"}                               the highest number ever given
 *   {"longpoll":"end","events":12}                                 the last line
 * Horizons and keys are in the order of their bytes, so that equal stores have equal dumps. */
#ifndef TOOL_DUMP_FORMAT_H
#define TOOL_DUMP_FORMAT_H

#include <longpoll/addon.h>

#include "output.h"
#include "source.h"

enum { DUMP_VERSION = 1 };

/* ---- writing: `line` is scratch, which the caller frees ---- */

int dump_event(output_file *out, growing_text *line, const lp_event *event, lp_error *error);

/* All that stands before the events, and behind them. */
int dump_head(output_file *out, growing_text *line, const store_survey *found, lp_error *error);
int dump_tail(output_file *out, growing_text *line, const store_survey *found, uint64_t events,
              lp_error *error);

/* ---- reading ---- */

typedef enum dump_kind {
    DUMP_EVENT,
    DUMP_HEAD,
    DUMP_LOSS,
    DUMP_FLOOR,
    DUMP_HORIZON,
    DUMP_IDEMPOTENCY,
    DUMP_HIGHEST,
    DUMP_END
} dump_kind;

typedef struct dump_line {
    dump_kind kind;
    lp_event *event;    /* of an event; the caller's */
    lp_str category;    /* of a horizon, in `storage` */
    uint64_t seq;       /* of a floor, a horizon, the highest */
    uint64_t number;    /* the version, or how many events or records */
    lp_idempotency key; /* in `storage` */
    char storage[LP_CATEGORY_MAX];
} dump_line;

/* `line` may be changed. LP_EINVAL with a sentence, LP_EVERSION, LP_ENOMEM. */
int dump_parse(lp_str line, dump_line *out, lp_error *error);

#endif
