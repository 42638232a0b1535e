/*
 * The inside of keys, for the files of this folder only.
 */
#ifndef SL_TLS_KEY_INTERNAL_H
#define SL_TLS_KEY_INTERNAL_H

#include <openssl/evp.h>
#include "tls/key.h"

struct sl_key {
    EVP_PKEY *pkey;
    enum sl_key_kind kind;
    bool is_private;
};

/* Takes what was read from outside, which may be any key that OpenSSL knows; checks it. 0 or
 * SL_E_CONFIG, with `pkey` freed. */
int sl_key_adopt(struct sl_key **out, EVP_PKEY *pkey, bool is_private, struct sl_err *err);
/* The bytes of one coordinate, or 0 for RSA. */
size_t sl_key_coordinate_len(enum sl_key_kind kind);
/* What a certificate or a request is signed with: a digest as strong as the key. */
const EVP_MD *sl_key_digest(const struct sl_key *key);

#endif
