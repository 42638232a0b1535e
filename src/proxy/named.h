/*
 * Visitors whom a trusted proxy in front of us has named by PROXY headers in datagrams, QUIC or
 * not: by the address that their datagrams come from and the port that they come to. A header holds
 * for all datagrams from there until another one comes, or until nobody has used it for ten
 * minutes.
 *
 * One sharded table for all workers, since a QUIC connection may be with another worker than the
 * one to whom the kernel gives the header of its next address; any thread.
 */
#ifndef SL_PROXY_NAMED_H
#define SL_PROXY_NAMED_H

#include "codec/proxy_header.h"
#include "net/addr.h"

enum {
    SL_NAMED_MAX = 65536, /* names; those that nobody uses make room, the oldest first */
    SL_NAMED_IDLE_MS = 600000,
};

enum sl_naming {
    SL_NAMING_NEW,
    SL_NAMING_SAME,    /* it was known */
    SL_NAMING_CHANGED, /* another visitor had the address until now */
    SL_NAMING_FULL,    /* every name is in use */
};

enum sl_naming sl_named_put(const struct sl_addr *source, uint16_t port,
                            const struct sl_proxy_header *header, uint64_t now_ms);
/* Has a header come from there? */
bool sl_named_has(const struct sl_addr *source, uint16_t port, uint64_t now_ms);
/* The same, and what it says. True: the caller owes one sl_named_leave(). */
bool sl_named_enter(const struct sl_addr *source, uint16_t port, uint64_t now_ms,
                    struct sl_proxy_header *header);
void sl_named_leave(const struct sl_addr *source, uint16_t port, uint64_t now_ms);

#endif
