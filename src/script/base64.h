/*
 * Base64 (RFC 4648), the plain alphabet with padding and the URL one without. Pure functions.
 * Decoding is strict: nothing but the alphabet, padding as the form has it, and no bits left over,
 * so that a text has one meaning and a meaning one text.
 *
 *     char out[SL_BASE64_LEN(32)];
 *     n = sl_base64_encode(out, digest, 32, false);
 */
#ifndef SL_SCRIPT_BASE64_H
#define SL_SCRIPT_BASE64_H

#include <sys/types.h>
#include "base/error.h"
#include "base/str.h"

/* Room for the text of `n` bytes. */
#define SL_BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Returns the length of the text. */
size_t sl_base64_encode(char *out, const void *bytes, size_t len, bool url);
/* `out` has room for text.len / 4 * 3 + 3 bytes. The count of bytes, or SL_E_PROTOCOL. The URL form
 * takes padding, too. */
ssize_t sl_base64_decode(uint8_t *out, struct sl_str text, bool url);

#endif
