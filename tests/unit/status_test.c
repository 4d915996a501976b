#include <criterion/criterion.h>
#include <string.h>

#include <longpoll/status.h>

Test(status, every_code_has_its_name_and_its_text)
{
#define CHECK(name, value, text)                                                                   \
    cr_assert_eq((int)LP_##name, (value));                                                         \
    cr_assert_str_eq(lp_status_name(value), #name);                                                \
    cr_assert_str_eq(lp_strerror(value), (text));
    LP_STATUS_MAP(CHECK)
#undef CHECK
}

Test(status, no_two_codes_are_the_same)
{
#define NUMBER(name, value, text) (value),
    const int codes[] = {LP_STATUS_MAP(NUMBER)};
#undef NUMBER
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        for (size_t n = 0; n < i; n++)
            cr_assert_neq(codes[i], codes[n]);
    }
}

Test(status, unknown_numbers_are_called_unknown)
{
    const int unknown[] = {2, 99, -19, -1000, (int)0x80000000};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        cr_assert_str_eq(lp_strerror(unknown[i]), "unknown status");
        cr_assert_str_eq(lp_status_name(unknown[i]), "UNKNOWN");
    }
}

Test(status, an_error_carries_its_sentence_and_returns_its_status)
{
    lp_error error;
    cr_assert_eq(lp_error_set(&error, LP_ENOSPC, "%s: disk full", "dir"), LP_ENOSPC);
    cr_assert_eq(error.status, LP_ENOSPC);
    cr_assert_str_eq(error.message, "dir: disk full");
    cr_assert_eq(lp_error_set(NULL, LP_EIO, "nobody asked"), LP_EIO);
}

Test(status, a_sentence_that_is_too_long_is_cut)
{
    lp_error error;
    char longer[2 * sizeof(error.message)];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    lp_error_set(&error, LP_EINVAL, "%s", longer);
    cr_assert_eq(strlen(error.message), sizeof(error.message) - 1);
}
