#include "base/hash.h"
#include "base/check.h"

static uint8_t bytes[64];

static uint64_t hash_of(size_t len)
{
    const struct sl_hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

    return sl_hash_with(&key, bytes, len);
}

/* SipHash-1-3 of the bytes 00 01 02 … under the key 00 01 … 0f. */
static void values_are_those_of_siphash_1_3(void)
{
    static const struct {
        size_t len;
        uint64_t want;
    } rows[] = {
        {0, 0xabac0158050fc4dcu},  {1, 0xc9f49bf37d57ca93u},  {7, 0xd3927d989bb11140u},
        {8, 0x369095118d299a8eu},  {9, 0x25a48eb36c063de4u},  {15, 0xd320d86d2a519956u},
        {16, 0xcc4fdd1a7d908b66u}, {23, 0x525a0e7fdae6c123u}, {63, 0x9d199062b7bbb3a8u},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check(hash_of(rows[i].len) == rows[i].want);
}

static void bytes_behind_the_end_do_not_count(void)
{
    for (size_t len = 0; len < sizeof(bytes); len++) {
        uint64_t before = hash_of(len);

        bytes[len] ^= 0xff;
        sl_check(hash_of(len) == before);
        sl_check(hash_of(len + 1) != before);
        bytes[len] ^= 0xff;
    }
}

static void the_key_matters(void)
{
    const struct sl_hash_key a = {1, 2}, b = {1, 3}, c = {0, 2};

    sl_check(sl_hash_with(&a, "x", 1) != sl_hash_with(&b, "x", 1));
    sl_check(sl_hash_with(&a, "x", 1) != sl_hash_with(&c, "x", 1));
}

static void the_process_has_one_secret_key(void)
{
    const struct sl_hash_key zero = {0, 0};

    sl_check(sl_hash("name", 4) == sl_hash("name", 4));
    sl_check(sl_hash("name", 4) != sl_hash("nane", 4));
    sl_check(sl_hash("name", 4) != sl_hash_with(&zero, "name", 4));
    sl_check(sl_hash(NULL, 0) == sl_hash("", 0));
}

int main(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    values_are_those_of_siphash_1_3();
    bytes_behind_the_end_do_not_count();
    the_key_matters();
    the_process_has_one_secret_key();
    return sl_check_done();
}
