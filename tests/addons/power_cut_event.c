/* Events by their numbers, and the sink that knows them again. See power_cut_world.h. */
#include "power_cut_event.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "power_cut_disk.h"

#define BASE ((uint64_t)1700000000000 << LP_SEQ_COUNTER_BITS)
enum { STEP = 37, DATA_MAX = 70000 };

uint64_t pw_seq(uint64_t n)
{
    return BASE + n * STEP;
}

uint64_t pw_number(uint64_t seq)
{
    return seq > BASE && (seq - BASE) % STEP == 0 ? (seq - BASE) / STEP : 0;
}

static lp_id id_of(uint64_t n)
{
    return lp_id_make(pw_seq(n), pc_mix(n ^ 0x1d));
}

size_t pw_category_of(uint64_t n)
{
    return (size_t)(pc_mix(n) % PW_CATEGORIES);
}

/* Two of them agree in more bytes than LMDB takes for a key. */
lp_str pw_category(size_t i)
{
    static const char *const names[] = {"plain", " ", "\xc3\xbcn\xc3\xaf/\xe2\x98\x83 %s",
                                        "line\nbreak \"quoted\" \\ 'and' more"};
    static char longer[3][LP_CATEGORY_MAX];
    static const size_t lengths[3] = {LP_CATEGORY_MAX, 601, 601};
    if (i == PW_CATEGORIES)
        return (lp_str){"", 0};
    if (i < 4)
        return lp_str_of(names[i]);
    char *name = longer[i - 4];
    memset(name, i == 4 ? 'x' : 'p', lengths[i - 4]);
    name[lengths[i - 4] - 1] = (char)('0' + i);
    return (lp_str){name, lengths[i - 4]};
}

/* JSON of all sorts and sizes, the number in it. */
static lp_str data_of(uint64_t n)
{
    static char text[DATA_MAX];
    static const size_t sizes[] = {0, 40, 200, 200, 900, 2100, 4200, 9000};
    uint64_t kind = pc_mix(n ^ 0xda7a);
    size_t pad = sizes[kind % 8] > 0 ? (size_t)(kind >> 8) % sizes[kind % 8] : 0;
    unsigned long long number = n;
    int len;
    if (kind % 256 == 255)
        pad = 60000;
    switch (kind >> 32 & 3) {
    case 0:
        len = snprintf(text, 100, "%llu%030d", number, 1);
        return (lp_str){text, (size_t)len};
    case 1:
        len = snprintf(text, 100, "\"%llu \\u0000\\n\xe2\x98\x83\\ud83d\\ude00 ", number);
        break;
    default:
        len = snprintf(text, 100, "{ \"n\" :%llu,\t\"n\":[ ] , \"pad\":\"", number);
        break;
    }
    for (size_t i = 0; i < pad; i++)
        text[(size_t)len + i] = (char)('a' + (n + i) % 26);
    strcpy(text + len + pad, (kind >> 32 & 3) == 1 ? "\"" : "\" }");
    return lp_str_of(text);
}

lp_event *pw_event_of(uint64_t n)
{
    lp_event *event = NULL;
    if (lp_event_new(id_of(n), pw_category(pw_category_of(n)), data_of(n), &event) != LP_OK)
        abort();
    return event;
}

int64_t pw_expiry_ms(uint64_t key)
{
    return INT64_C(4102444800000) + (int64_t)key; /* the year 2100 */
}

lp_idempotency pw_key(uint64_t i, pw_publication published, char *text)
{
    snprintf(text, PW_KEY_TEXT, "key %llu%s", (unsigned long long)i,
             i % 5 == 0 ? " \n\xc3\xbc" : "");
    return (lp_idempotency){lp_str_of(text), pc_mix(i), pw_seq(published.first), published.count,
                            pw_expiry_ms(i)};
}

/* ---- the sink -------------------------------------------------------------------------------- */

static void wrong(pw_content *content, const char *format, ...)
{
    va_list args;
    if (content->wrong[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(content->wrong, sizeof(content->wrong), format, args);
    va_end(args);
}

static bool is_same(lp_str a, lp_str b)
{
    return a.len == b.len && memcmp(a.base, b.base, a.len) == 0;
}

static int take_event(void *ctx, lp_id id, lp_str category, lp_str data)
{
    pw_content *content = ctx;
    uint64_t n = pw_number(lp_id_seq(id));
    lp_id right = id_of(n);
    if (n == 0 || n >= PW_EVENTS || memcmp(id.bytes, right.bytes, sizeof(id.bytes)) != 0) {
        wrong(content, "an event with an id that nobody published");
        return LP_OK;
    }
    if (!is_same(category, pw_category(pw_category_of(n))) || !is_same(data, data_of(n)))
        wrong(content, "event %llu has other bytes", (unsigned long long)n);
    if (n <= content->last)
        wrong(content, "event %llu comes after %llu", (unsigned long long)n,
              (unsigned long long)content->last);
    content->last = n;
    content->has[n] = 1;
    content->count++;
    return LP_OK;
}

static int take_removal(void *ctx, uint64_t seq)
{
    pw_content *content = ctx;
    uint64_t n = pw_number(seq);
    if (n < PW_EVENTS && content->has[n]) {
        content->has[n] = 0;
        content->count--;
    }
    return LP_OK;
}

static int take_horizon(void *ctx, lp_str category, uint64_t seq)
{
    pw_content *content = ctx;
    for (size_t i = 0; i <= PW_CATEGORIES; i++)
        if (is_same(category, pw_category(i))) {
            if (seq > content->horizons[i])
                content->horizons[i] = seq;
            return LP_OK;
        }
    wrong(content, "a horizon of a category that nobody named");
    return LP_OK;
}

static int take_key(void *ctx, const lp_idempotency *record)
{
    pw_content *content = ctx;
    char text[PW_KEY_TEXT];
    uint64_t i = (uint64_t)(record->expires_ms - pw_expiry_ms(0));
    pw_publication published = {pw_number(record->seq), record->count};
    if (i >= PW_KEYS || !is_same(record->key, pw_key(i, published, text).key)) {
        wrong(content, "a key that nobody gave");
        return LP_OK;
    }
    if (record->digest != pc_mix(i))
        wrong(content, "key %llu has another digest", (unsigned long long)i);
    content->has_key[i] = 1;
    content->keys[i] = published;
    return LP_OK;
}

static int take_highest(void *ctx, uint64_t seq)
{
    pw_content *content = ctx;
    if (seq > content->highest)
        content->highest = seq;
    return LP_OK;
}

static int take_loss(void *ctx, uint64_t records, const char *detail)
{
    pw_content *content = ctx;
    (void)records;
    content->losses++;
    snprintf(content->loss, sizeof(content->loss), "%s", detail);
    return LP_OK;
}

static void take_log(void *ctx, const char *line)
{
    pw_content *content = ctx;
    snprintf(content->log, sizeof(content->log), "%s", line);
}

lp_store_sink pw_sink(pw_content *content)
{
    memset(content, 0, sizeof(*content));
    return (lp_store_sink){.ctx = content,
                           .event = take_event,
                           .removal = take_removal,
                           .horizon = take_horizon,
                           .idempotency = take_key,
                           .highest = take_highest,
                           .loss = take_loss,
                           .log = take_log,
                           .expired_ms = INT64_MIN};
}
