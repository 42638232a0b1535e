/*
 * Access lists by client address, and the global policy. Block is checked first and wins; an empty
 * allow list allows all. Addresses are compared as 16 bytes, IPv4 as ::ffff:a.b.c.d; a range of
 * IPv6 addresses never means IPv4 ones.
 *
 * Owner: whoever embeds a set; immutable after init, then any thread. No names are resolved here.
 *
 *     if ((rc = sl_ip_set_init(&set, texts, n, "security.ipAllowList", err)) < 0)
 *         return rc;
 *     if (sl_ip_set_has(&set, ip)) …
 *     sl_ip_set_clear(&set);
 */
#ifndef SL_ROUTE_ACCESS_H
#define SL_ROUTE_ACCESS_H

#include "base/error.h"
#include "base/str.h"

struct sl_ip_range {
    uint8_t from[16], to[16];
};

/* Sorted, merged ranges: look-up by bisection. */
struct sl_ip_set {
    struct sl_ip_range *ranges;
    size_t n;
    bool all; /* "*" */
};

/* Parses "10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "10.0.0.1-10.0.0.9", "192.168.*.*",
   "192.168.*", "*". 0 or SL_E_CONFIG with a sentence. */
int sl_ip_range_parse(struct sl_str text, struct sl_ip_range *out, struct sl_err *err);
/* `path` names the list in the sentence: "security.ipAllowList[2]: …". On failure the set is empty.
 */
int sl_ip_set_init(struct sl_ip_set *set, const struct sl_str *texts, size_t n, const char *path,
                   struct sl_err *err);
void sl_ip_set_copy(struct sl_ip_set *to, const struct sl_ip_set *from);
void sl_ip_set_clear(struct sl_ip_set *set);
bool sl_ip_set_has(const struct sl_ip_set *set, const uint8_t ip[16]);

struct sl_access {
    struct sl_ip_set allow, block;
};

bool sl_access_allows(const struct sl_access *a, const uint8_t ip[16]);

struct sl_policy_spec {
    const struct sl_str *allow, *block;
    size_t n_allow, n_block;
    unsigned max_connections_per_ip; /* 0: no limit */
    unsigned connections_per_minute; /* per IP; 0: no limit */
};

struct sl_policy {
    struct sl_access access;
    unsigned max_connections_per_ip, connections_per_minute;
};

#endif
