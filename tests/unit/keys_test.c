/* Idempotency keys: the table alone, against plain arithmetic. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/engine/keys.h"

static const uint64_t SEED[2] = {7, 11};
static int owner;

static lp_str str(const char *text)
{
    return lp_str_of(text);
}

static void keep(lp__keys *keys, const char *text, uint64_t seq, int64_t now_ms)
{
    lp__key *key = lp__keys_add(keys, str(text), seq, &owner, now_ms);
    cr_assert_not_null(key);
    key->seq = seq;
    key->count = 1;
    lp__keys_keep(keys, key, now_ms);
}

static int replay(lp__keys *keys, const char *text, uint64_t seq, uint32_t count,
                  int64_t expires_ms, int64_t now_ms)
{
    lp_idempotency record = {str(text), seq, seq, count, expires_ms};
    return lp__keys_replay(keys, &record, now_ms);
}

Test(keys, digest_is_the_same_in_every_version_and_tells_items_apart)
{
    uint64_t one = lp__keys_digest(0, str("a"), str("[1]"));
    cr_assert_eq(one, UINT64_C(0xea23fc95e7616f43), "%llx", (unsigned long long)one);
    cr_assert_neq(one, lp__keys_digest(0, str("a["), str("1]")));
    cr_assert_neq(one, lp__keys_digest(0, str("[1]"), str("a")));
    cr_assert_neq(lp__keys_digest(one, str("b"), str("1")), lp__keys_digest(0, str("b"), str("1")));
}

Test(keys, pending_key_is_found_with_its_owner_and_dropped_without_a_trace)
{
    lp__keys keys;
    lp__keys_init(&keys, SEED, 10, 1000);
    cr_assert_null(lp__keys_find(&keys, str("k"), 0));
    lp__key *key = lp__keys_add(&keys, str("k"), 5, &owner, 100);
    cr_assert_eq(lp__keys_find(&keys, str("k"), 100), key);
    cr_assert_eq(lp__keys_find(&keys, str("k"), 9999), key, "what is pending is never over");
    cr_assert_eq(key->owner, &owner);
    cr_assert_eq(key->digest, 5);
    cr_assert_eq(key->expires_ms, 1100);
    cr_assert_null(lp__keys_find(&keys, str("kk"), 100));
    lp__keys_drop(&keys, key);
    cr_assert_null(lp__keys_find(&keys, str("k"), 100));
    cr_assert_eq(keys.count, 0);
    cr_assert_eq(lp__keys_forgotten(&keys), INT64_MIN);
    lp__keys_free(&keys);
}

Test(keys, key_is_over_at_its_time_and_not_before)
{
    lp__keys keys;
    lp__keys_init(&keys, SEED, 10, 1000);
    keep(&keys, "k", 1, 100);
    cr_assert_not_null(lp__keys_find(&keys, str("k"), 1099));
    cr_assert_eq(lp__keys_forgotten(&keys), INT64_MIN);
    cr_assert_null(lp__keys_find(&keys, str("k"), 1100));
    cr_assert_eq(lp__keys_forgotten(&keys), 1100);
    keys.told_ms = 1100;
    cr_assert_eq(lp__keys_forgotten(&keys), INT64_MIN);
    lp__keys_free(&keys);
}

Test(keys, soonest_goes_when_there_are_too_many)
{
    lp__keys keys;
    lp__keys_init(&keys, SEED, 3, 1000);
    char text[16];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%d", i);
        keep(&keys, text, 1, i);
        cr_assert_leq(keys.count, 3);
    }
    cr_assert_null(lp__keys_find(&keys, str("96"), 100));
    cr_assert_not_null(lp__keys_find(&keys, str("97"), 100));
    cr_assert_eq(lp__keys_forgotten(&keys), 1096);
    lp__keys_free(&keys);
}

/* Nothing that is left, kept or pending, may be covered by what the store is told. */
Test(keys, what_is_told_as_forgotten_covers_nothing_that_is_left)
{
    lp__keys keys;
    lp__keys_init(&keys, SEED, 2, 1000);
    keep(&keys, "a", 1, 5);
    keep(&keys, "b", 2, 5);
    keep(&keys, "c", 3, 5);
    cr_assert_eq(keys.count, 2);
    cr_assert_null(lp__keys_find(&keys, str("a"), 5), "the first of them goes first");
    cr_assert_eq(lp__keys_forgotten(&keys), 1004, "others of the same time are left");
    lp__key *pending = lp__keys_add(&keys, str("d"), 1, &owner, 6);
    lp__keys_expire(&keys, 5000);
    cr_assert_eq(keys.count, 1);
    cr_assert_eq(lp__keys_forgotten(&keys), 1005);
    pending->expires_ms = 1003;
    cr_assert_eq(lp__keys_forgotten(&keys), 1002);
    lp__keys_drop(&keys, pending);
    cr_assert_eq(lp__keys_forgotten(&keys), 1005);
    lp__keys_free(&keys);
}

Test(keys, of_several_records_of_a_key_the_latest_counts_in_any_order)
{
    for (int turned = 0; turned < 2; turned++) {
        lp__keys keys;
        lp__keys_init(&keys, SEED, 10, 1000);
        replay(&keys, "k", turned ? 20 : 10, 1, 900, 0);
        replay(&keys, "k", turned ? 10 : 20, 1, 900, 0);
        cr_assert_eq(lp__keys_find(&keys, str("k"), 0)->seq, 20);
        cr_assert_eq(keys.count, 1);
        lp__keys_free(&keys);
    }
}

Test(keys, record_of_no_event_frees_the_key_in_any_order)
{
    for (int turned = 0; turned < 2; turned++) {
        lp__keys keys;
        lp__keys_init(&keys, SEED, 10, 1000);
        replay(&keys, "k", 10, turned ? 0 : 2, 900, 0);
        replay(&keys, "k", 10, turned ? 2 : 0, 900, 0);
        cr_assert_null(lp__keys_find(&keys, str("k"), 0));
        keep(&keys, "k", 30, 1);
        cr_assert_eq(lp__keys_find(&keys, str("k"), 1)->seq, 30);
        lp__keys_free(&keys);
    }
}

Test(keys, replay_skips_what_is_over_and_what_is_too_much)
{
    lp__keys keys;
    lp__keys_init(&keys, SEED, 3, 1000);
    cr_assert_eq(replay(&keys, "over", 1, 1, 100, 100), LP_SKIPPED);
    for (int i = 9; i >= 0; i--) {
        char text[2] = {(char)('0' + i), '\0'};
        int status = replay(&keys, text, (uint64_t)i + 1, 1, 200 + i, 100);
        cr_assert_geq(status, LP_OK);
    }
    cr_assert_eq(keys.count, 3);
    cr_assert_not_null(lp__keys_find(&keys, str("7"), 100));
    cr_assert_null(lp__keys_find(&keys, str("6"), 100));
    cr_assert_eq(lp__keys_forgotten(&keys), 206);
    lp__keys_free(&keys);
}

Test(keys, of_one_millisecond_the_first_published_goes_first)
{
    for (int turned = 0; turned < 2; turned++) {
        lp__keys keys;
        lp__keys_init(&keys, SEED, 5, 1000);
        for (uint64_t i = 0; i < 20; i++) {
            uint64_t number = turned ? 19 - i : i;
            char text[2] = {(char)('a' + number), '\0'};
            replay(&keys, text, lp_seq_first(77) + number, 1, 500, 100);
        }
        cr_assert_eq(keys.count, 5);
        for (char name = 'a'; name < 'a' + 20; name++)
            cr_assert_eq(lp__keys_find(&keys, (lp_str){&name, 1}, 100) != NULL, name >= 'p');
        cr_assert_eq(lp__keys_forgotten(&keys), 499);
        lp__keys_free(&keys);
    }
}

/* Many keys that come and go, against a list of all. */
Test(keys, agree_with_a_list_of_all)
{
    enum { NAMES = 300, STEPS = 20000, MAX = 100, WINDOW_MS = 500 };
    static int64_t expires_ms[NAMES]; /* 0: not known */
    lp__keys keys;
    uint64_t random = 12345;
    int64_t now_ms = 1;
    lp__keys_init(&keys, SEED, MAX, WINDOW_MS);
    for (int step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t name = (size_t)(random >> 33) % NAMES;
        now_ms += 1 + (int64_t)(random >> 60);
        char text[16];
        snprintf(text, sizeof(text), "name %zu", name);
        lp__key *key = lp__keys_find(&keys, str(text), now_ms);
        size_t living = 0, soonest = 0;
        for (size_t i = 0; i < NAMES; i++) {
            if (expires_ms[i] <= now_ms)
                expires_ms[i] = 0;
            living += expires_ms[i] != 0;
            if (expires_ms[i] != 0 &&
                (expires_ms[soonest] == 0 || expires_ms[i] < expires_ms[soonest]))
                soonest = i;
        }
        cr_assert_eq(key != NULL, expires_ms[name] != 0, "step %d", step);
        cr_assert_eq(keys.count, living);
        if (key != NULL)
            continue;
        if (living == MAX)
            expires_ms[soonest] = 0;
        keep(&keys, text, (uint64_t)step + 1, now_ms);
        expires_ms[name] = now_ms + WINDOW_MS;
    }
    lp__keys_free(&keys);
}
