#include "base/hash.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

static struct sl_hash_key process_key;

/* Runs before main(), so that no call has to ask whether there is a key. */
__attribute__((constructor)) static void draw_process_key(void)
{
    ssize_t n;

    do
        n = getrandom(&process_key, sizeof(process_key), 0);
    while (n < 0 && errno == EINTR);
    sl_assert(n == (ssize_t)sizeof(process_key));
}

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t turn(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void mix(struct state *s)
{
    s->v0 += s->v1;
    s->v1 = turn(s->v1, 13) ^ s->v0;
    s->v0 = turn(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = turn(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = turn(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = turn(s->v1, 17) ^ s->v2;
    s->v2 = turn(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    s->v0 ^= word;
}

static inline uint64_t load(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

/* The last 0 to 7 bytes, little-endian. A long string is read eight bytes at once, over ground
 * already covered. */
static inline uint64_t load_tail(const uint8_t *bytes, size_t len)
{
    size_t n = len % 8;
    uint64_t word = 0;

    if (n == 0)
        return 0;
    if (len > 8)
        return load(bytes + len - 8) >> (64 - 8 * n);
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)bytes[i] << (8 * i);
    return word;
}

uint64_t sl_hash_with(const struct sl_hash_key *key, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    struct state s = {
        key->k0 ^ 0x736f6d6570736575u,
        key->k1 ^ 0x646f72616e646f6du,
        key->k0 ^ 0x6c7967656e657261u,
        key->k1 ^ 0x7465646279746573u,
    };

    for (size_t i = 0; i + 8 <= len; i += 8)
        absorb(&s, load(p + i));
    absorb(&s, (uint64_t)len << 56 | load_tail(p, len));
    s.v2 ^= 0xff;
    mix(&s);
    mix(&s);
    mix(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t sl_hash(const void *bytes, size_t len)
{
    return sl_hash_with(&process_key, bytes, len);
}
