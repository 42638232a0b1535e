/*
 * The inside of a compiled route: what only this layer reads. Made by sl_route_compile(), immutable
 * after that.
 *
 * One allocation holds the route, this struct and, for most routes, every string and array of both.
 */
#ifndef SL_ROUTE_COMPILED_H
#define SL_ROUTE_COMPILED_H

#include "base/arena.h"
#include "route/snapshot.h"

enum sl_domain_kind {
    SL_DOMAIN_NONE,   /* every name and no name */
    SL_DOMAIN_EXACT,  /* "a.example.com" */
    SL_DOMAIN_SUFFIX, /* "*.example.com" */
    SL_DOMAIN_GLOB,   /* any other with a star */
};

/* A pattern of match.domains, in lower case. */
struct sl_domain {
    enum sl_domain_kind kind;
    struct sl_str key;    /* the name, the suffix with its dot, or the whole glob */
    unsigned specificity; /* higher is nearer: none, then globs by their literal length, then exact
                             names */
};

/* The sub-match of a target, in parallel to sl_route.targets. */
struct sl_target_rule {
    struct sl_str path;
    const struct sl_str *methods;
    size_t n_methods;
};

struct sl_route_private {
    _Atomic uint32_t n_refs;
    uint8_t digest[32];
    int priority;
    const struct sl_port_range *ports;
    size_t n_ports;
    const struct sl_domain *domains;
    size_t n_domains;
    struct sl_str path;
    bool has_client_ips;
    struct sl_ip_set client_ips;
    const struct sl_header_match *headers;
    size_t n_headers;
    const struct sl_target_rule *rules;
    struct sl_str *credentials; /* "name:password"; wiped when freed */
    void (*release_tls)(void *tls_data);
    struct sl_arena arena;
};

/* Says what is wrong with a spec, as far as that shows without resolving or opening anything. 0 or
 * SL_E_CONFIG. */
int sl_route_check(const struct sl_route_spec *spec, struct sl_err *err);
/* A route with one reference. 0 or SL_E_CONFIG with a sentence; the spec's tls_data is taken on
 * success only. */
int sl_route_compile(struct sl_route **out, const struct sl_route_spec *spec, struct sl_err *err);
/* Does the route listen in this way on its ports? */
bool sl_route_has_use(const struct sl_route *r, enum sl_port_use use);
/* Is the port in one of the route's ranges? */
bool sl_route_has_port(const struct sl_route *r, uint16_t port);

#endif
