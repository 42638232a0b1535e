/*
 * STUN Binding (RFC 8489): the question by which an edge learns under which address the world sees
 * it, and its answer.
 *
 * Pure functions of bytes: no socket, no clock; any thread. When to ask again is for the caller. No
 * authentication, no fingerprints: an answer is believed when it has the id of the question, so ids
 * must be random.
 */
#ifndef SL_CODEC_STUN_H
#define SL_CODEC_STUN_H

#include "base/error.h"
#include "base/str.h"

enum {
    SL_STUN_REQUEST_LEN = 20,
    SL_STUN_ID_LEN = 12,
    SL_STUN_RESPONSE_MAX = 1500, /* nothing longer is looked at */
};

void sl_stun_request(uint8_t out[SL_STUN_REQUEST_LEN], const uint8_t id[SL_STUN_ID_LEN]);
/* Reads the datagram that answers the question with this id. 0: `ip` (IPv4 as ::ffff:a.b.c.d) and
 * `port` are set. SL_E_NOT_FOUND: not an answer to it, wait for another; SL_E_REFUSED: the server
 * says that it cannot; SL_E_PROTOCOL: malformed, or without an address. */
int sl_stun_response(const uint8_t *bytes, size_t len, const uint8_t id[SL_STUN_ID_LEN],
                     uint8_t ip[16], uint16_t *port);

#endif
