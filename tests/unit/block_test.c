/* Memory in blocks, and the events of a large replay, which are in them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/engine/block.h"
#include "core/engine/engine_private.h"
#include "subject.h"

enum { PIECE = 1000, PIECES = 5000 /* more than two blocks */ };

typedef struct piece {
    unsigned char *at;
    uint32_t offset;
} piece;

static bool is_mapped(const void *at)
{
    unsigned char resident;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)at / page * page);
    return mincore(start, page, &resident) == 0 || errno != ENOMEM;
}

static lp__block *take_all(piece *pieces)
{
    lp__block *block = NULL;
    for (int i = 0; i < PIECES; i++) {
        pieces[i].at = lp__block_take(&block, PIECE, &pieces[i].offset);
        cr_assert_not_null(pieces[i].at);
        memset(pieces[i].at, i % 251, PIECE);
    }
    return block;
}

Test(block, pieces_are_aligned_and_apart)
{
    static piece pieces[PIECES];
    lp__block *block = take_all(pieces);
    for (int i = 0; i < PIECES; i++) {
        cr_assert_neq(pieces[i].offset, 0);
        cr_assert_eq((uintptr_t)pieces[i].at % 8, 0);
        for (int n = 0; n < PIECE; n++)
            cr_assert_eq(pieces[i].at[n], i % 251);
    }
    for (int i = 0; i < PIECES; i++)
        lp__block_give(pieces[i].at, pieces[i].offset);
    lp__block_close(block);
}

Test(block, goes_with_the_last_of_its_pieces)
{
    static piece pieces[PIECES];
    lp__block *block = take_all(pieces);
    for (int i = 1; i < PIECES; i++)
        lp__block_give(pieces[i].at, pieces[i].offset);
    cr_assert(is_mapped(block), "it is open");
    cr_assert(is_mapped(pieces[0].at), "its first piece is held");
    cr_assert_not(is_mapped(pieces[PIECES / 2].at), "nothing of it is held");
    lp__block_close(block);
    cr_assert_not(is_mapped(block));
    lp__block_give(pieces[0].at, pieces[0].offset);
    cr_assert_not(is_mapped(pieces[0].at));
}

Test(block, refuses_what_would_waste_it)
{
    lp__block *block = NULL;
    uint32_t offset;
    cr_assert_null(lp__block_take(&block, (size_t)1 << 20, &offset));
    cr_assert_null(block);
    lp__block_close(NULL);
}

/* ---- a large replay ---------------------------------------------------------------------------
 */

enum { DATA_LEN = 500, EVENTS = 20000 };

static void replay(subject *s, int categories)
{
    char data[DATA_LEN], name[16];
    memset(data, 'x', sizeof(data));
    data[0] = data[sizeof(data) - 1] = '"';
    lp__engine_replay_begin(s->engine);
    for (int i = 0; i < EVENTS; i++) {
        lp_id id = lp_id_make(lp_seq_first(T0 - EVENTS + i), 7);
        snprintf(name, sizeof(name), "c%d", i % categories);
        cr_assert_eq(lp__engine_replay_event(s->engine, s->now, id, lp_str_of(name),
                                             (lp_str){data, sizeof(data)}),
                     LP_OK);
    }
}

Test(engine_replay, an_event_of_a_large_replay_outlives_the_engine)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = EVENTS;
    subject_start(&s);
    replay(&s, 1);
    cr_assert_gt(s.engine->replay_block_bytes, 0);
    lp__engine_replay_end(s.engine, s.now);
    const lp__category *category = lp__category_find(s.engine, lp_str_of("c0"));
    cr_assert_eq(category->count, EVENTS);
    lp_event *last = lp_event_ref(lp__category_event(category, EVENTS - 1));
    subject_end(&s);

    cr_assert_eq(lp_event_timestamp_ms(last), T0 - 1);
    cr_assert_eq(lp_event_data(last).len, DATA_LEN);
    cr_assert_eq(lp_event_data(last).base[DATA_LEN - 2], 'x');
    lp_event_unref(last);
    cr_assert_not(is_mapped(last));
}

Test(engine_replay, rings_that_overflow_leave_few_events_in_blocks)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = 500;
    subject_start(&s);
    replay(&s, 10);
    size_t living = s.engine->event_bytes, in_blocks = s.engine->replay_block_bytes;
    cr_assert_eq(s.engine->event_count, 5000);
    cr_assert_gt(in_blocks, 0);
    cr_assert_lt(in_blocks, living + living / 4 + 2 * DATA_LEN);
    lp__engine_replay_end(s.engine, s.now);
    subject_end(&s);
}

Test(engine_replay, what_may_be_removed_at_the_end_is_in_no_block)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = EVENTS;
    s.options.delete_after_first_retrieval = true;
    subject_start(&s);
    replay(&s, 1);
    cr_assert_eq(s.engine->replay_block_bytes, 0);
    subject_end(&s);
}

Test(engine_replay, an_engine_may_go_in_the_middle_of_a_large_replay)
{
    subject s = subject_with_defaults();
    s.options.event_buffer_max = EVENTS;
    subject_start(&s);
    replay(&s, 3);
    cr_assert_not_null(s.engine->replay_block);
    subject_end(&s);
}
