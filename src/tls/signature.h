/*
 * Signatures as JWS has them (RFC 7518, section 3): ES256/384/512 as R || S, RS256/384/512,
 * PS256/384/512. An algorithm belongs to one kind of key: ES256 to P-256 alone.
 *
 * Pure functions of key and bytes; one thread at a time per key.
 *
 *     if (sl_signature_make(key, "ES256", text, &signature) < 0) …
 *     if (!sl_signature_is_good(key, "ES256", text, sl_signature_str(&signature))) …
 */
#ifndef SL_TLS_SIGNATURE_H
#define SL_TLS_SIGNATURE_H

#include "tls/key.h"

enum { SL_SIGNATURE_MAX = 512 };

struct sl_signature {
    uint8_t bytes[SL_SIGNATURE_MAX];
    size_t len;
};

static inline struct sl_str sl_signature_str(const struct sl_signature *s)
{
    return sl_str((const char *)s->bytes, s->len);
}

/* Is there such an algorithm, and does it go with this key? */
bool sl_signature_fits(const struct sl_key *key, const char *alg);
/* The algorithm that goes with the key and that everybody knows: "ES256", …, "RS256". */
const char *sl_signature_default(const struct sl_key *key);
/* The key is private. 0; SL_E_CONFIG when the algorithm does not fit; SL_E_TLS. */
int sl_signature_make(const struct sl_key *key, const char *alg, struct sl_str bytes,
                      struct sl_signature *out);
bool sl_signature_is_good(const struct sl_key *key, const char *alg, struct sl_str bytes,
                          struct sl_str signature);

#endif
