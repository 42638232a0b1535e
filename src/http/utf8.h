/*
 * Checks that bytes which arrive in pieces are UTF-8 (RFC 3629: shortest form, no surrogates,
 * nothing past U+10FFFF). Says no at the first byte that no continuation could make right. Changes
 * and keeps nothing but the state.
 *
 *     struct sl_utf8 u = {0};
 *     ok = sl_utf8_feed(&u, bytes, len) && sl_utf8_is_whole(&u);
 */
#ifndef SL_HTTP_UTF8_H
#define SL_HTTP_UTF8_H

#include <stdint.h>
#include "base/str.h"

struct sl_utf8 {
    uint8_t left;        /* continuation bytes that are due */
    uint8_t least, most; /* of the next one */
};

/* False for good when these bytes cannot be part of UTF-8. */
bool sl_utf8_feed(struct sl_utf8 *u, const uint8_t *bytes, size_t len);

/* Does the text end between two characters? */
static inline bool sl_utf8_is_whole(const struct sl_utf8 *u)
{
    return u->left == 0;
}

static inline bool sl_utf8_ok(struct sl_str text)
{
    struct sl_utf8 u = {0};

    return sl_utf8_feed(&u, (const uint8_t *)text.p, text.len) && sl_utf8_is_whole(&u);
}

#endif
