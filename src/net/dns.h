/*
 * Name resolution (c-ares), one resolver per loop, with a cache that keeps answers for their TTL
 * (between 1 s and 300 s, failures 2 s) and serves the last good answer while a refresh fails. IP
 * literals and /etc/hosts are answered, too.
 *
 * Not a general DNS client: addresses only. Names that were asked for are bounded (4,096 kept, 512
 * in flight); what is beyond gets SL_E_LIMIT. A new /etc/resolv.conf is noticed.
 *
 * Owner: whoever made it, on the loop's thread. Callbacks come from the loop, never inside a call;
 * they may resolve and cancel, but must not free the resolver.
 *
 *     q = sl_dns_resolve(dns, SL_STR("example.com"), on_resolved, conn, &answer);
 *     if (q == NULL)
 *         on_resolved(conn, &answer);
 */
#ifndef SL_NET_DNS_H
#define SL_NET_DNS_H

#include "loop/loop.h"
#include "net/addr.h"

struct sl_dns;
struct sl_dns_query;

enum { SL_DNS_MAX_ADDRS = 16 };

struct sl_dns_answer {
    int n;    /* at least 1 when `code` is 0 */
    int code; /* 0, SL_E_NOT_FOUND, SL_E_TIMEOUT, SL_E_UNREACHABLE (no server could answer),
                 SL_E_LIMIT */
    struct sl_addr addrs[SL_DNS_MAX_ADDRS]; /* port 0; A and AAAA, in the order of RFC 6724 */
};

typedef void sl_on_resolved(void *user, const struct sl_dns_answer *answer);

/* What may be other than the default; zero is the default. Strings are copied. */
struct sl_dns_opts {
    const char *servers;     /* "10.0.0.2,10.0.0.3:5353"; NULL: those of resolv_conf */
    const char *hosts_file;  /* NULL: /etc/hosts */
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    uint32_t try_timeout_ms; /* of one question to one server; 2,000 */
    uint32_t tries;          /* questions per server; 3 */
    uint32_t min_ttl_ms, max_ttl_ms, failure_ttl_ms; /* 1,000, 300,000 and 2,000 */
};

/* 0, or SL_E_CONFIG when the servers or files of the options cannot be used. */
int sl_dns_new(struct sl_dns **out, struct sl_loop *loop);
int sl_dns_new_with(struct sl_dns **out, struct sl_loop *loop, const struct sl_dns_opts *opts);
/* Queries that still wait are dropped without a callback. */
void sl_dns_free(struct sl_dns *dns);
/* A literal or a fresh cache entry is answered at once: fills `*now` and returns NULL without
   calling back. Otherwise returns a query, and the callback comes later, exactly once unless
   cancelled. */
struct sl_dns_query *sl_dns_resolve(struct sl_dns *dns, struct sl_str name, sl_on_resolved *fn,
                                    void *user, struct sl_dns_answer *now);
void sl_dns_cancel(struct sl_dns_query *q);

#endif
