/* The cases about batches that are seldom and allowed, and about names that are hard to keep. */
#include "kit.h"

#include <stdio.h>
#include <string.h>

/* ---- batches ----------------------------------------------------------------------------------
 */

static void empty_batches(lp__kit *kit)
{
    for (int i = 0; i < 5; i++)
        lp__kit_append(kit);
    lp__kit_reopen(kit, "after empty batches in a new store");
    lp__kit_reopen(kit, "after a start and a stop without a batch");
    lp__kit_any_events(kit, 3);
    lp__kit_append(kit);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after an event and an empty batch");
}

static void removals_of_nothing(lp__kit *kit)
{
    if (!lp__kit_claims(kit, LP_CLAIM_REMOVALS))
        return;
    for (int i = 0; i < 3; i++) {
        lp__kit_removal(kit, lp_seq_first(1), LP_REMOVED_RETRIEVED);
        lp__kit_removal(kit, 1, LP_REMOVED_RING);
        lp__kit_removal(kit, kit->seq - 1, LP_REMOVED_RETRIEVED);
        lp__kit_removal(kit, kit->seq - 1, LP_REMOVED_RETRIEVED);
        lp__kit_append(kit);
    }
    lp__kit_reopen(kit, "after removals of events that are not there");

    for (int i = 0; i < 3; i++) {
        uint64_t first = kit->seq;
        lp__kit_any_events(kit, 4);
        lp__kit_removal(kit, first, LP_REMOVED_RETRIEVED);
        lp__kit_append(kit);
        lp__kit_idle(kit);
    }
    lp__kit_reopen(kit, "after events that were removed by the batch that brought them");
}

static void horizons_alone(lp__kit *kit)
{
    if (!lp__kit_claims(kit, LP_CLAIM_HORIZONS))
        return;
    for (uint64_t i = 1; i <= 5; i++) {
        lp__kit_horizon(kit, lp_str_of("nobody home"), i * 1000);
        lp__kit_append(kit);
    }
    lp__kit_reopen(kit, "after batches of horizons alone");
    lp__kit_horizon(kit, (lp_str){"", 0}, 1);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a batch of the lowest floor alone");
}

static void highest_alone(lp__kit *kit)
{
    if (!lp__kit_claims(kit, LP_CLAIM_HIGHEST))
        return;
    for (int i = 0; i < 3; i++) {
        kit->seq += 100;
        lp_batch_set_highest(kit->batch, kit->seq++);
        lp__kit_append(kit);
        lp__kit_reopen(kit, "after a batch of a higher number alone");
    }
}

/* Above everything that can ever be published. */
static void horizons_at_the_top(lp__kit *kit)
{
    if (!lp__kit_claims(kit, LP_CLAIM_HORIZONS))
        return;
    lp__kit_reset(kit);
    lp__kit_open(kit);
    lp__kit_any_events(kit, 10);
    lp__kit_horizon(kit, lp_str_of("room/1"), INT64_MAX);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after a horizon at the highest number there is");
    lp__kit_horizon(kit, (lp_str){"", 0}, INT64_MAX);
    lp__kit_append(kit);
    lp__kit_idle(kit);
    lp__kit_reopen(kit, "after a floor at the highest number there is");
    lp__kit_any_events(kit, 10);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after events below that floor");
}

void lp__case_batches(lp__kit *kit)
{
    lp__kit_open(kit);
    lp__expect_check(kit, "in a new store");
    empty_batches(kit);
    removals_of_nothing(kit);
    horizons_alone(kit);
    highest_alone(kit);
    lp__kit_any_events(kit, 5);
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after all of these and five events");
    horizons_at_the_top(kit);
}

/* ---- categories -------------------------------------------------------------------------------
 */

#define LITERAL(text)                                                                              \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const lp_str names[] = {
    LITERAL("."),
    LITERAL(".."),
    LITERAL("../x"),
    LITERAL("../../../../tmp/x"),
    LITERAL("/"),
    LITERAL("/etc/passwd"),
    LITERAL("a/b"),
    LITERAL("a//b"),
    LITERAL("a/./b"),
    LITERAL("~"),
    LITERAL("-rf"),
    LITERAL("CON"),
    LITERAL("a"),
    LITERAL("A"),
    LITERAL("a "),
    LITERAL(" a"),
    LITERAL("a."),
    LITERAL("%00"),
    LITERAL("%2e%2e"),
    LITERAL("%"),
    LITERAL("%s%n"),
    LITERAL("_"),
    LITERAL("*"),
    LITERAL("?"),
    LITERAL("[a-z]"),
    LITERAL("{a,b}"),
    LITERAL("a'b"),
    LITERAL("a''b"),
    LITERAL("a\"b"),
    LITERAL("a`b"),
    LITERAL("'; DROP TABLE events; --"),
    LITERAL("\\"),
    LITERAL("\\\\"),
    LITERAL("\\n"),
    LITERAL("\n"),
    LITERAL("\r\n"),
    LITERAL("\t"),
    LITERAL("\0"),
    LITERAL("\0\0"),
    LITERAL("a\0"),
    LITERAL("a\0b"),
    LITERAL("a\0c"),
    LITERAL("\x01"),
    LITERAL("\x7f"),
    LITERAL("\xc2\x80"),
    LITERAL("\xc3\xa9"),     /* e acute, composed */
    LITERAL("e\xcc\x81"),    /* and decomposed */
    LITERAL("\xef\xbb\xbf"), /* a byte order mark */
    LITERAL("\xef\xbf\xbf"),
    LITERAL("\xf4\x8f\xbf\xbf"), /* the last there is */
    LITERAL("\xe2\x80\xae"
            "rtl"),
    LITERAL("\xf0\x9f\x98\x80"),
    LITERAL("null"),
    LITERAL("0"),
    LITERAL("1e309"),
    LITERAL("\"\""),
    LITERAL("{\"a\":1}"),
    LITERAL("events"),
    LITERAL("sqlite_master"),
    LITERAL("journal"),
};
#define NAMES (sizeof(names) / sizeof(names[0]))

/* And long ones: of these lengths, that differ in their last byte alone, or in their first. */
static const size_t lengths[] = {63, 64, 127, 128, 255, 256, 257, 510, 511, 512, 1000, 1023, 1024};
#define LENGTHS  (sizeof(lengths) / sizeof(lengths[0]))
#define VARIANTS 3

/* Name `i`, in `room` if it is long. */
static lp_str name_of(size_t i, char room[LP_CATEGORY_MAX])
{
    if (i < NAMES)
        return names[i];
    size_t len = lengths[(i - NAMES) / VARIANTS], variant = (i - NAMES) % VARIANTS;
    memset(room, 'n', len);
    if (variant == 1)
        room[len - 1] = 'm';
    if (variant == 2)
        room[0] = 'm';
    return (lp_str){room, len};
}

#define ALL (NAMES + LENGTHS * VARIANTS)

static void event_of(lp__kit *kit, lp_str name, size_t i)
{
    char data[32];
    snprintf(data, sizeof(data), "{\"name\":%zu}", i);
    lp__kit_event(kit, name, lp_str_of(data));
}

static void mark_all(lp__kit *kit)
{
    char room[LP_CATEGORY_MAX];
    for (size_t i = 0; i < ALL; i++) {
        lp_str name = name_of(i, room);
        if (lp__kit_claims(kit, LP_CLAIM_HORIZONS))
            lp__kit_horizon(kit, name, 1 + i);
        if (name.len <= 255 && lp__kit_claims(kit, LP_CLAIM_IDEMPOTENCY))
            lp__kit_key(
                kit,
                &(lp_idempotency){
                    .key = name, .digest = i, .seq = 1 + i, .count = 1, .expires_ms = INT64_MAX});
    }
    lp__kit_append(kit);
}

void lp__case_categories(lp__kit *kit)
{
    char room[LP_CATEGORY_MAX];
    lp__kit_open(kit);
    for (size_t i = 0; i < ALL; i++) {
        event_of(kit, name_of(i, room), i);
        if (i % 7 == 6)
            lp__kit_append(kit);
    }
    lp__kit_append(kit);
    lp__kit_reopen(kit, "after an event of each category");
    mark_all(kit);
    lp__kit_idle(kit);
    lp__kit_reopen(kit, "after a horizon and a key of each name");
    for (size_t i = ALL; i-- > 0;)
        event_of(kit, name_of(i, room), i);
    lp__kit_append(kit);
    mark_all(kit);
    lp__kit_reopen(kit, "after one batch with an event of each category");
}
