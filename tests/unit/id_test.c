#include <criterion/criterion.h>
#include <string.h>

#include <longpoll/event.h>

static lp_id parsed(const char *text)
{
    lp_id id;
    cr_assert_eq(lp_id_parse(lp_str_of(text), &id), LP_OK, "%s", text);
    return id;
}

static bool same(lp_id a, lp_id b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

Test(id, is_laid_out_as_rfc_9562_says)
{
    /* 48 bits of milliseconds; version 7; the counter's upper 12 bits; variant 10; its lower 3 */
    uint64_t counter = 0x7abc;
    lp_id id = lp_id_make((UINT64_C(0x0123456789ab) << 15) | counter, UINT64_MAX);
    char text[LP_ID_TEXT_LEN + 1];
    lp_id_format(id, text);
    cr_assert_str_eq(text, "01234567-89ab-7f57-a7ff-ffffffffffff");
    cr_assert_eq(lp_id_version(id), 7);
    cr_assert_eq(id.bytes[8] >> 6, 2);
}

Test(id, gives_back_its_number_whatever_is_random)
{
    const uint64_t seqs[] = {1, 7, 8, 0x7fff, 0x8000, UINT64_C(1) << 40, INT64_MAX};
    const uint64_t randoms[] = {0, UINT64_MAX, UINT64_C(0x5555555555555555)};
    for (size_t i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++) {
        for (size_t r = 0; r < 3; r++) {
            lp_id id = lp_id_make(seqs[i], randoms[r]);
            cr_assert_eq(lp_id_seq(id), seqs[i]);
            cr_assert_eq(lp_id_version(id), 7);
        }
    }
}

Test(id, byte_order_is_the_order_of_numbers)
{
    uint64_t seq = 1;
    lp_id last = lp_id_make(seq, UINT64_MAX);
    for (int i = 0; i < 62; i++) {
        const uint64_t next[] = {seq + 1, seq * 2 + 1};
        for (int n = 0; n < 2; n++) {
            lp_id id = lp_id_make(next[n], n ? 0 : UINT64_MAX);
            cr_assert_lt(memcmp(last.bytes, id.bytes, 16), 0);
            last = id;
        }
        seq = next[1];
    }
}

Test(id, reads_every_usual_spelling)
{
    lp_id id = parsed("018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7");
    static const char *const spellings[] = {
        "018f3a2b4c5d7e6f8091a2b3c4d5e6f7",
        "018F3A2B-4C5D-7E6F-8091-A2B3C4D5E6F7",
        "018F3a2b4c5D7e6f8091A2b3c4d5e6f7",
        "{018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7}",
        "{018f3a2b4c5d7e6f8091a2b3c4d5e6f7}",
        "urn:uuid:018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7",
        "urn:uuid:018f3a2b4c5d7e6f8091a2b3c4d5e6f7",
    };
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        cr_assert(same(parsed(spellings[i]), id), "%s", spellings[i]);
    cr_assert_eq(lp_id_seq(id) >> 15, UINT64_C(0x018f3a2b4c5d));
}

Test(id, reads_other_versions_and_says_which)
{
    cr_assert_eq(lp_id_version(parsed("9a8b7c6d-0000-4123-8456-0123456789ab")), 4);
    cr_assert_eq(lp_id_version(parsed("00000000-0000-0000-0000-000000000000")), 0);
    cr_assert_eq(lp_id_version(parsed("ffffffff-ffff-ffff-ffff-ffffffffffff")), 15);
}

Test(id, refuses_what_is_no_uuid)
{
    static const char *const wrong[] = {
        "",
        "0",
        "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f",
        "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f70",
        "018f3a2b4c5d7e6f8091a2b3c4d5e6f",
        "018f3a2b4c5d7e6f8091a2b3c4d5e6f78",
        "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6fg",
        "018f3a2b-4c5d-7e6f-8091_a2b3c4d5e6f7",
        "018f3a2b4-c5d-7e6f-8091-a2b3c4d5e6f7",
        "018f3a2b--4c5d7e6f-8091-a2b3c4d5e6f7",
        "-18f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7",
        "{018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7",
        "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7}",
        "(018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7)",
        "{{018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7}}",
        "urn:uuid:{018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7}",
        "urn:uuid018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7",
        "urn:uuid:",
        "{}",
        " 018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7",
        "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7\n",
        "0x18f3a2b4c5d7e6f8091a2b3c4d5e6f7",
        "+18f3a2b4c5d7e6f8091a2b3c4d5e6f7f",
    };
    lp_id id;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(lp_id_parse(lp_str_of(wrong[i]), &id), LP_EINVAL, "%s", wrong[i]);
    cr_assert_eq(lp_id_parse((lp_str){"018f3a2b\0004c5d7e6f8091a2b3c4d5e6f7", 33}, &id), LP_EINVAL);
}

Test(id, formats_what_it_parses)
{
    const char *canonical = "018f3a2b-4c5d-7e6f-8091-a2b3c4d5e6f7";
    char text[LP_ID_TEXT_LEN + 1];
    lp_id_format(parsed(canonical), text);
    cr_assert_str_eq(text, canonical);
}

Test(id, a_millisecond_has_a_first_and_a_last_number)
{
    const int64_t milliseconds[] = {1, 1616040198889, (INT64_C(1) << 48) - 1};
    for (size_t i = 0; i < 3; i++) {
        int64_t ms = milliseconds[i];
        cr_assert_eq(lp_seq_ms(lp_seq_first(ms)), ms);
        cr_assert_eq(lp_seq_ms(lp_seq_last(ms)), ms);
        cr_assert_eq(lp_seq_ms(lp_seq_first(ms) - 1), ms - 1);
        cr_assert_eq(lp_seq_last(ms) - lp_seq_first(ms), (1u << LP_SEQ_COUNTER_BITS) - 1);
    }
}
