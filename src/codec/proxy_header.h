/*
 * The PROXY protocol header, versions 1 and 2: who really connected, told by the proxy in front of
 * us.
 *
 * Pure functions of bytes: no socket, no clock, no memory of their own, any thread. Whether the
 * peer may be believed at all, and how long to wait for the header, is for the caller to decide.
 *
 *     n = sl_proxy_header_parse(bytes, len, &header, &why);
 *     if (n == SL_E_PARTIAL)
 *         return; // call again with all bytes so far and more
 *     if (n < 0)
 *         refuse(why);
 *     else
 *         consume(n);
 */
#ifndef SL_CODEC_PROXY_HEADER_H
#define SL_CODEC_PROXY_HEADER_H

#include "base/error.h"

enum {
    SL_PROXY_V1_MAX = 107,                 /* the longest line of version 1, with its end */
    SL_PROXY_V2_TLV_MAX = 4096,            /* our limit for the extensions of version 2 */
    SL_PROXY_HEADER_MAX = 16 + 216 + 4096, /* nothing longer is accepted */
    SL_PROXY_HEADER_WRITE_MAX = SL_PROXY_V1_MAX + 1, /* room that sl_proxy_header_write() wants */
};

struct sl_proxy_header {
    uint8_t version; /* 1 or 2; the parser's finding, ignored when writing */
    /* False for LOCAL, UNKNOWN and Unix sockets: the addresses of the connection itself are the
     * true ones. */
    bool has_addresses;
    bool is_datagram;
    uint8_t from[16], to[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t from_port, to_port;
};

/* Looks for a whole header at the front of `bytes`. Returns its length, or SL_E_PARTIAL (so far so
   good), or SL_E_PROTOCOL with the reason in `*why` (a phrase for the log, never NULL then), at the
   first byte that is wrong. */
int sl_proxy_header_parse(const uint8_t *bytes, size_t len, struct sl_proxy_header *out,
                          const char **why);
/* Does it begin as version 2 does? No packet of QUIC does. */
bool sl_proxy_header_is_v2(const uint8_t *bytes, size_t len);
/* Writes a header of version 1 or 2 and returns its length. What version 1 cannot say becomes
 * UNKNOWN. */
size_t sl_proxy_header_write(uint8_t out[SL_PROXY_HEADER_WRITE_MAX], int version,
                             const struct sl_proxy_header *header);

#endif
