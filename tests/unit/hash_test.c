#include <criterion/criterion.h>
#include <string.h>

#include "core/engine/hash.h"

/* Source of the numbers: bytes hash of CPython 3.11, which is an independent SipHash-1-3 (see
 * sys.hash_info.algorithm): `PYTHONHASHSEED=0 python3 -c 'print(hash(b"a") % 2**64)'`. Seed 0 is
 * the key of zeros; seed 42 the bytes (x >> 16) & 255 of the sequence x' = x * 214013 + 2531011. */
static uint64_t hash_text(const uint64_t key[2], const char *text)
{
    return lp__hash(key, text, strlen(text));
}

Test(hash, is_siphash_1_3_with_a_key_of_zeros)
{
    const uint64_t key[2] = {0, 0};
    cr_assert_eq(hash_text(key, "a"), 0x407448d2b89b1813);
    cr_assert_eq(hash_text(key, "room/1"), 0xef102b9dede4ed69);
    cr_assert_eq(hash_text(key, "1234567"), 0xa33d651594fdae81);
    cr_assert_eq(hash_text(key, "12345678"), 0x3489982430560a87);
    cr_assert_eq(hash_text(key, "123456789"), 0x0fbc0f0007965fcf);
    cr_assert_eq(hash_text(key, "a category name of some length, 0123456789"), 0xec3feb09da0d2aee);
}

Test(hash, is_siphash_1_3_with_another_key_at_every_length)
{
    const uint64_t key[2] = {0xdc504fd368cd90af, 0xb920bb9ffe99e9c1};
    /* of the bytes 0, 1, 2, ... n - 1, for n from 1 on */
    static const uint64_t expected[] = {
        0xce880c366bcf3489, 0xef32fbc0469f0756, 0xef4b9dcae9b04417, 0x79793200f3b3b3db,
        0xbe8653fc64f95fbd, 0xb32b5a11619800dd, 0xce280fabc397fbda, 0x60866c3c108c6afb,
        0x68814005f7469e03, 0x060a514cd0a2e301, 0x72f315ef14fb4b09, 0x550fe6ca26ef7fdd,
        0x19c8185b4c3e2799, 0xfaa1fc2224a07929, 0x94ace24d68c18cf8, 0x339176f3ac59ce05,
        0xed2706b414c296f1, 0xcdd77102531929e2, 0x33a51c4b838d8070, 0xa7dbb0b1fa0842a3,
        0x20dfd910e0134ee5, 0xcd0fe2c8291e801e, 0xad71bad831e3a42d, 0xae431c6fb201ce8b,
        0x0979abaf2e4d385e, 0x7a6386516c9db280, 0xb0c2acd9e8f32b9c, 0x539526f9be7bc8e8,
        0x80aca43c39d622a3, 0x02bdd64163fc53a4, 0x06f3af51bda71c61, 0x26f2ecd47de50371,
        0x0c2f62fe705a39bc, 0xf36e3b1fa0873bc4, 0x5f01e52e566b6883, 0x325168a6b0dc469f,
        0x2be7232ee94b7e5f, 0xc475b8968275842d, 0xc6e27a94ae5452f3, 0xde03d697bf20e38a,
        0x738c6863d812c266, 0xde0a234ddc2bb678, 0xb67b95b357062551, 0x29911eff4d51e13d,
        0x53f6e668e7fb95e2, 0xed79c3358e44c539, 0x275680412b4519a3, 0x567c448c8884a52b,
        0x8be2a3cb52704009, 0x164feac24917ec19, 0x39b726f73ef545d1, 0x7ec4a07d0082066b,
        0x23ab9cd189b60fb0, 0x7a5be6d78842117c, 0x1aa5ebf1421bacc3, 0x6d85aecde75643f1,
        0x553957a2ca3d0178, 0x958f5b7f5f952508, 0xa23119bd8d7ba75c, 0xc2f6babeec826e14,
        0xa0d5052b62d88a85, 0x4ff1b6793caa7e77, 0x06e24d6f0d014c37,
    };
    unsigned char bytes[64];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 1; n <= sizeof(expected) / sizeof(expected[0]); n++)
        cr_assert_eq(lp__hash(key, bytes, n), expected[n - 1], "%zu bytes", n);
}

Test(hash, depends_on_both_words_of_the_key_and_on_every_byte)
{
    const uint64_t keys[3][2] = {{1, 2}, {1, 3}, {2, 2}};
    cr_assert_neq(hash_text(keys[0], "c"), hash_text(keys[1], "c"));
    cr_assert_neq(hash_text(keys[0], "c"), hash_text(keys[2], "c"));
    char text[] = "0123456789abcdefghij";
    uint64_t before = hash_text(keys[0], text);
    for (size_t i = 0; text[i]; i++) {
        text[i] ^= 1;
        cr_assert_neq(hash_text(keys[0], text), before, "byte %zu", i);
        text[i] ^= 1;
    }
}

Test(hash, takes_no_bytes_at_all)
{
    const uint64_t key[2] = {5, 6};
    cr_assert_eq(lp__hash(key, NULL, 0), lp__hash(key, "x", 0));
}
