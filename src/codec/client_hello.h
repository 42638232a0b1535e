/*
 * A look at a TLS ClientHello from the outside: the server name, the application protocols and
 * whether TLS 1.3 is offered, for connections that are passed on without being decrypted.
 *
 * Fed with the raw bytes of the connection as they come, in pieces of any size; each byte is looked
 * at once and nothing is allocated. It checks as much as it needs to be sure of the name, not
 * whether the handshake can succeed. Not for QUIC, whose ClientHello does not come in records.
 *
 * Owner: whoever embeds it, any thread. The caller keeps the bytes: the target wants them, too.
 *
 *     struct sl_client_hello hello = {0};
 *     rc = sl_client_hello_feed(&hello, bytes, len);
 *     if (rc == 0)
 *         target = find(sl_client_hello_sni(&hello));
 *     else if (rc != SL_E_PARTIAL)
 *         refuse(rc);
 */
#ifndef SL_CODEC_CLIENT_HELLO_H
#define SL_CODEC_CLIENT_HELLO_H

#include "base/error.h"
#include "base/str.h"

enum {
    SL_CLIENT_HELLO_MAX = 65536, /* raw bytes, records included, that it may take */
    SL_CLIENT_HELLO_NAME_MAX = 255,
    SL_CLIENT_HELLO_FIELD_MAX = 1024, /* of one extension that is looked into */
};

struct sl_client_hello {
    /* What was found; valid after 0. */
    char name[SL_CLIENT_HELLO_NAME_MAX];     /* use sl_client_hello_sni() */
    uint8_t alpn[SL_CLIENT_HELLO_FIELD_MAX]; /* the protocol list in wire form: length, name,
                                                length, name, … */
    uint16_t name_len, alpn_len;
    bool offers_tls13;
    uint32_t n_raw; /* bytes taken so far: where a caller that keeps them all goes on */

    /* Where it stands; private. */
    uint8_t field[SL_CLIENT_HELLO_FIELD_MAX]; /* the part of the message being collected */
    uint8_t record_head[5];
    uint8_t n_record_head, state, seen;
    uint16_t record_left, n_field, want, extension;
    uint32_t skip, message_left;
    int failure;
};

/* 0: the hello is complete and what follows in `bytes` was not looked at. SL_E_PARTIAL: feed more.
   SL_E_PROTOCOL: not a ClientHello, or a malformed one (two names count as that). SL_E_LIMIT: too
   large. After anything but SL_E_PARTIAL the answer stays. */
int sl_client_hello_feed(struct sl_client_hello *h, const uint8_t *bytes, size_t len);

/* The name in lower case without a trailing dot, made of letters, digits, '-', '_' and '.' alone;
 * empty when none was sent. */
static inline struct sl_str sl_client_hello_sni(const struct sl_client_hello *h)
{
    return sl_str(h->name, h->name_len);
}

#endif
