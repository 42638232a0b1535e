/*
 * How a tunnel begins, on TLS and on the control stream of QUIC alike: one line from the edge,
 *
 *     EDGE <id> <secret>\n
 *
 * and one from the hub: JSON that says what the edge shall do, or
 *
 *     ERROR <reason>\n
 *
 * The form is our reading of remoteingress, not verified against it; lines may end in \r\n. Pure
 * functions of bytes; any thread. Whether the secret is right is for the caller, in constant time.
 */
#ifndef SL_CODEC_TUNNEL_GREETING_H
#define SL_CODEC_TUNNEL_GREETING_H

#include "base/error.h"
#include "base/str.h"

enum {
    SL_GREETING_MAX = 4096, /* bytes of the edge's line */
    SL_GREETING_ID_MAX = 255,
    SL_GREETING_ANSWER_MAX = 1 << 20, /* bytes of the hub's line */
};

struct sl_greeting {
    struct sl_str id, secret; /* in the bytes */
};

/* Reads the edge's line off the front. Returns its length with the end; SL_E_PARTIAL: call again
 * with more behind it; SL_E_LIMIT: too long; SL_E_PROTOCOL: not such a line. */
int sl_greeting_parse(const uint8_t *bytes, size_t len, struct sl_greeting *out);
/* May these stand in such a line? The id has no space; neither has a byte below the space. */
bool sl_greeting_ok(const struct sl_greeting *g);
/* Writes it; returns the length. sl_greeting_ok() must hold, and `cap` be SL_GREETING_MAX. */
size_t sl_greeting_write(uint8_t *out, size_t cap, const struct sl_greeting *g);

/* Reads the hub's line. Returns its length with the end, `*line` without it; SL_E_REFUSED (`*line`
 * is the reason); SL_E_PARTIAL or SL_E_LIMIT. */
int sl_greeting_answer(const uint8_t *bytes, size_t len, struct sl_str *line);

#endif
