/*
 * Base32 (RFC 4648, section 6) in lower case without padding: bytes as a label of a host name. Pure
 * functions. Decoding takes upper case, too, since names of hosts have no case, and no bits left
 * over.
 */
#ifndef SL_SCRIPT_BASE32_H
#define SL_SCRIPT_BASE32_H

#include <sys/types.h>
#include "base/error.h"
#include "base/str.h"

/* Room for the text of `n` bytes. */
#define SL_BASE32_LEN(n) (((n) + 4) / 5 * 8)

/* Returns the length of the text. */
size_t sl_base32_encode(char *out, const void *bytes, size_t len);
/* `out` has room for text.len / 8 * 5 + 5 bytes. The count of bytes, or SL_E_PROTOCOL. */
ssize_t sl_base32_decode(uint8_t *out, struct sl_str text);

#endif
