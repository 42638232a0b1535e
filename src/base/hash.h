/*
 * Hashing of byte strings under a secret key (SipHash-1-3), so that nobody who chooses the strings
 * can make them collide.
 *
 * sl_hash() uses a key that this process drew when it began: its values differ from run to run and
 * are never stored or sent. sl_hash_with() takes the key from the caller, for values that must be
 * the same everywhere. Any thread.
 *
 * Not a digest: 64 bits are too few to prove that two texts are equal.
 */
#ifndef SL_BASE_HASH_H
#define SL_BASE_HASH_H

#include "base/mem.h"

struct sl_hash_key {
    uint64_t k0, k1;
};

uint64_t sl_hash(const void *bytes, size_t len);
uint64_t sl_hash_with(const struct sl_hash_key *key, const void *bytes, size_t len);

#endif
