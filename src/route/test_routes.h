/*
 * Short ways to say a route, for the tests of this layer.
 *
 *     static const struct test_route routes[] = {{.name = "a", .domains = "a.example *.b.example",
 * .ports = "80 443"}}; struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
 *     sl_check_str(test_found(test_find(s, 80, "a.example", "/")), SL_STR("a"));
 */
#ifndef SL_ROUTE_TEST_ROUTES_H
#define SL_ROUTE_TEST_ROUTES_H

#include <arpa/inet.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/hash.h"
#include "route/snapshot.h"

enum { TEST_MAX_ITEMS = 8 };

/* Lists are words with blanks between. Without ports it is "80", without a target "target:1". */
struct test_route {
    const char *name, *ports, *domains, *path, *client_ips;
    const char *header, *header_value;
    int priority;
    enum sl_transport transport;
    enum sl_protocol protocol;
    enum sl_tls_mode tls;
    bool is_tunnelled;
    const char *tunnel; /* a second target */
};

static inline size_t test_words(const char *list, struct sl_str out[TEST_MAX_ITEMS])
{
    struct sl_str rest = sl_str_c(list), item;
    size_t n = 0;

    while (sl_str_next(&rest, ' ', &item)) {
        sl_assert(n < TEST_MAX_ITEMS);
        if (item.len > 0)
            out[n++] = item;
    }
    return n;
}

/* "80" or "8000-8999" */
static inline struct sl_port_range test_range(struct sl_str word)
{
    const char *dash = memchr(word.p, '-', word.len);
    long from = strtol(word.p, NULL, 10);

    return (struct sl_port_range){(uint16_t)from,
                                  (uint16_t)(dash ? strtol(dash + 1, NULL, 10) : from)};
}

static inline int test_add(struct sl_snapshot_builder *b, const struct test_route *t,
                           struct sl_err *err)
{
    const struct sl_target_spec targets[] = {{.host = SL_STR("target"), .port = 1},
                                             {.tunnel = sl_str_c(t->tunnel)}};
    const struct sl_header_match header = {sl_str_c(t->header), sl_str_c(t->header_value)};
    struct sl_str words[TEST_MAX_ITEMS], domains[TEST_MAX_ITEMS], ips[TEST_MAX_ITEMS];
    struct sl_port_range ports[TEST_MAX_ITEMS];
    struct sl_route_spec spec = {
        .name = sl_str_c(t->name),
        .priority = t->priority,
        .ports = ports,
        .n_ports = test_words(t->ports != NULL ? t->ports : "80", words),
        .domains = domains,
        .n_domains = test_words(t->domains, domains),
        .path = sl_str_c(t->path),
        .client_ips = ips,
        .n_client_ips = test_words(t->client_ips, ips),
        .headers = &header,
        .n_headers = t->header != NULL,
        .transport = t->transport,
        .protocol = t->protocol,
        .tls = t->tls,
        .is_tunnelled = t->is_tunnelled,
        .targets = targets,
        .n_targets = t->tunnel != NULL ? 2 : 1,
    };

    for (size_t i = 0; i < spec.n_ports; i++)
        ports[i] = test_range(words[i]);
    return sl_snapshot_add(b, &spec, err);
}

static inline struct sl_snapshot *test_snapshot(const struct test_route *routes, size_t n)
{
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_err err = {0};

    for (size_t i = 0; i < n; i++) {
        if (test_add(b, &routes[i], &err) < 0)
            fprintf(stderr, "%s: %s\n", routes[i].name, err.text);
        sl_check(err.code == 0);
    }
    return sl_snapshot_finish(b);
}

static inline struct sl_route *test_find(const struct sl_snapshot *s, unsigned port,
                                         const char *host, const char *path)
{
    static const uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
    const struct sl_route_query q = {
        .port = (uint16_t)port,
        .transport = SL_TRANSPORT_TCP,
        .host = sl_str_c(host),
        .path = sl_str_c(path),
        .client_ip = ip,
    };

    return sl_snapshot_find(s, &q);
}

static inline struct sl_route *test_find_tls(const struct sl_snapshot *s, unsigned port,
                                             enum sl_transport transport, const char *sni,
                                             const uint8_t *client_ip)
{
    const struct sl_route_query q = {.port = (uint16_t)port,
                                     .transport = transport,
                                     .host = sl_str_c(sni),
                                     .client_ip = client_ip};

    return sl_snapshot_find_tls(s, &q);
}

/* The name of what was found, "" for nothing. */
static inline struct sl_str test_found(const struct sl_route *r)
{
    return r != NULL ? r->name : SL_STR("");
}

/* An IPv4 or IPv6 address in 16 bytes; two calls share the room. */
static inline const uint8_t *test_ip(const char *text)
{
    static uint8_t ip[16];
    char mapped[64];

    snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') != NULL ? "" : "::ffff:", text);
    sl_check(inet_pton(AF_INET6, mapped, ip) == 1);
    return ip;
}

#endif
