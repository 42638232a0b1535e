/*
 * A snapshot: one immutable, compiled set of routes and access policy. Built from `struct
 * sl_route_spec`s by the control thread, read by every worker without locks, freed when the last
 * holder lets go (reference count, any thread).
 *
 * Knows no sockets, no TLS and no Lua: certificates and whatever else hangs on a route are opaque
 * references with a release function.
 *
 * Look-up: hash by (port, exact host); then suffix wildcards ("*.example.com") by hashing each
 * suffix of the host; then the few general globs ("app-*.example.com", "*") and the host-less
 * routes of the port. The cost does not depend on the number of hosts. Among the candidates the
 * order is: priority, highest first; then more specific first (path by its literal length, then
 * exact domain before longer before shorter wildcard before none, then client IPs, then the number
 * of headers); then declaration order. The first whose criteria all match wins.
 *
 * Unchanged routes are not compiled again: the builder takes routes over from the previous snapshot
 * by their digest (struct sl_route is shared and reference counted by itself).
 *
 *     b = sl_snapshot_begin(old);
 *     if (!sl_snapshot_add_known(b, spec.digest) && (rc = sl_snapshot_add(b, &spec, &err)) < 0)
 *         return sl_snapshot_abandon(b), rc;
 *     new = sl_snapshot_finish(b);
 *     route = sl_snapshot_find(new, &query);
 */
#ifndef SL_ROUTE_SNAPSHOT_H
#define SL_ROUTE_SNAPSHOT_H

#include "base/error.h"
#include "base/str.h"
#include "route/access.h"

struct sl_snapshot;
struct sl_route;

enum sl_transport { SL_TRANSPORT_TCP = 1, SL_TRANSPORT_UDP = 2, SL_TRANSPORT_ALL = 3 };
enum sl_protocol {
    SL_PROTOCOL_ANY,
    SL_PROTOCOL_HTTP,
    SL_PROTOCOL_TCP
}; /* ANY: HTTP unless the route says otherwise */
enum sl_tls_mode { SL_TLS_NONE, SL_TLS_TERMINATE, SL_TLS_PASSTHROUGH, SL_TLS_REENCRYPT };
enum sl_action_kind { SL_ACTION_FORWARD, SL_ACTION_REDIRECT, SL_ACTION_REPLY };
enum sl_balance { SL_BALANCE_ROUND_ROBIN, SL_BALANCE_LEAST_CONNECTIONS, SL_BALANCE_IP_HASH };
enum sl_backend { SL_BACKEND_HTTP1, SL_BACKEND_HTTP2, SL_BACKEND_AUTO };

struct sl_port_range {
    uint16_t from, to;
};

struct sl_header_spec {
    struct sl_str name;
    struct sl_str value; /* p == NULL: remove. May hold {domain} {path} {clientIp} {port}; see
                            sl_route_expand */
};

struct sl_header_match {
    struct sl_str name,
        value; /* value compared exactly, ASCII case ignored; empty also matches a missing header */
};

struct sl_target_spec {
    struct sl_str host;      /* name or literal */
    struct sl_str unix_path; /* instead of host and port */
    struct sl_str tunnel;    /* instead: the name of an edge (tunnel/edge.h); raw routes only */
    uint16_t port;           /* 0: the port the connection came in on ("preserve") */
    int priority;
    unsigned weight; /* 0 counts as 1; at most 65535 */
    /* sub-match; empty: always */
    struct sl_str path;
    const struct sl_str *methods;
    size_t n_methods;
    bool tls, tls_verify; /* re-encrypt */
};

struct sl_user_spec {
    struct sl_str name, password;
};

/* What a route says. All pointers need only live during the call that reads them; the compiled
 * route has copies. */
struct sl_route_spec {
    struct sl_str name;
    uint8_t digest[32]; /* of the whole definition: equal digests are the same route; all zero: not
                           to be taken over */
    int priority;

    const struct sl_port_range *ports;
    size_t n_ports;
    const struct sl_str *domains; /* none: every name and no name */
    size_t n_domains;
    struct sl_str path; /* empty: all. "*" any run, ":name" one segment; anchored at the end only if
                           the pattern has no
                           "*", no ":" and no final "/" */
    const struct sl_str *client_ips;
    size_t n_client_ips;
    const struct sl_header_match *headers;
    size_t n_headers;
    enum sl_transport transport;
    enum sl_protocol protocol;
    /* Only for what comes through a tunnel: its ports are not listened on. */
    bool is_tunnelled;

    enum sl_action_kind action;
    const struct sl_target_spec *targets;
    size_t n_targets;
    enum sl_balance balance;
    enum sl_backend backend;
    bool rewrite_host;
    bool no_websocket;
    unsigned send_proxy;    /* 0, 1 or 2: PROXY header to the target; over UDP any but 0 is 2 */
    int status;             /* redirect, reply */
    struct sl_str location; /* redirect; with {domain} {path} {port}: {path} includes the query */
    struct sl_str body, content_type;

    enum sl_tls_mode tls;
    void *tls_data; /* reference owned by the route once compiled (a certificate), released by
                       release_tls */
    void (*release_tls)(void *tls_data);

    const struct sl_header_spec *request_headers;
    size_t n_request_headers;
    const struct sl_header_spec *response_headers;
    size_t n_response_headers;

    const struct sl_str *allow; /* IP, CIDR, a-b range, octet glob, "*" */
    size_t n_allow;
    const struct sl_str *block;
    size_t n_block;
    unsigned max_connections;         /* 0: no limit of its own */
    const struct sl_user_spec *users; /* basic auth */
    size_t n_users;
    struct sl_str realm;
    unsigned connect_timeout_ms, response_timeout_ms; /* 0: the default of the proxy */
    /* Alt-Svc on TCP when transport is ALL: the port that visitors see (0: the one they came to)
       for so many seconds (0: nothing is announced). */
    unsigned alt_svc_port, alt_svc_max_age;
};

/* A compiled target; lives as long as its route. `id` belongs to one (host, port, unix path,
   tunnel, tls, tls_verify) in this process, in every route and snapshot that has such a target, and
   is never given to another one: the key of connection pools. */
struct sl_target {
    struct sl_str host, unix_path, tunnel; /* host in lower case, IPv6 without brackets */
    uint16_t port;
    bool tls, tls_verify;
    uint32_t id;
    int priority;
    unsigned weight;
    struct sl_route *route;
    struct sl_target_state
        *state; /* what is known of it, shared with its equals (route/target.h) */
};

enum {
    SL_MAX_TARGETS = 1024, /* of one route */
    SL_MAX_PATH_PATTERN = 1024,
};

/* A compiled route. Everything here is read-only after compilation but the atomic counters. */
struct sl_route {
    struct sl_str name;
    enum sl_transport transport;
    enum sl_protocol protocol;
    bool is_tunnelled;
    enum sl_action_kind action;
    enum sl_tls_mode tls;
    void *tls_data;
    enum sl_balance balance;
    enum sl_backend backend;
    bool rewrite_host, no_websocket, has_path, has_sub_match;
    unsigned send_proxy;
    int status;
    struct sl_str location, body, content_type;
    const struct sl_header_spec *request_headers, *response_headers;
    size_t n_request_headers, n_response_headers;
    struct sl_access access; /* route/access.h: allow and block lists */
    unsigned max_connections;
    size_t n_users; /* > 0: basic auth is on */
    struct sl_str realm;
    unsigned connect_timeout_ms, response_timeout_ms;
    unsigned alt_svc_port, alt_svc_max_age;
    struct sl_target *targets;
    size_t n_targets;
    struct sl_route_private *priv;
    char apart[64]; /* every worker writes what follows: keep it off the cache lines that all of
                       them read */
    /* counters, relaxed atomics */
    _Atomic uint64_t n_requests, n_errors, bytes_in, bytes_out, n_total;
    _Atomic uint32_t n_active;
    _Atomic uint32_t next_target; /* round robin */
};

/* --- building (control thread) --- */

struct sl_snapshot_builder;

/* `previous` (may be NULL) lends compiled routes with equal digests. */
struct sl_snapshot_builder *sl_snapshot_begin(struct sl_snapshot *previous);
/* Is a compiled route with this digest at hand? Then sl_snapshot_add_known() adds it and the caller
 * needs to make no spec. */
bool sl_snapshot_add_known(struct sl_snapshot_builder *b, const uint8_t digest[32]);
/* 0, or SL_E_CONFIG with a sentence that begins at the field ("match.ports[1]: 0 is not a port (1
   to 65535)"). On success the route owns spec->tls_data. */
int sl_snapshot_add(struct sl_snapshot_builder *b, const struct sl_route_spec *spec,
                    struct sl_err *err);
/* The global policy, checked before routing. Sentences begin with "allow[0]" or "block[0]". */
int sl_snapshot_set_policy(struct sl_snapshot_builder *b, const struct sl_policy_spec *policy,
                           struct sl_err *err);
/* Ends the builder: a snapshot with one reference. */
struct sl_snapshot *sl_snapshot_finish(struct sl_snapshot_builder *b);
void sl_snapshot_abandon(struct sl_snapshot_builder *b);

/* The same routes and policy, less those that are left out (by their place): one reference. */
struct sl_snapshot *sl_snapshot_without(const struct sl_snapshot *s, const bool *is_left_out);

struct sl_snapshot *sl_snapshot_ref(struct sl_snapshot *s);
void sl_snapshot_unref(struct sl_snapshot *s); /* NULL is legal */
struct sl_route *sl_route_ref(struct sl_route *r);
void sl_route_unref(struct sl_route *r);

/* --- reading (any thread that holds a reference) --- */

struct sl_route_query {
    uint16_t port;
    enum sl_transport transport;
    bool is_tunnelled;        /* came through a tunnel: finds routes for tunnels, too */
    bool is_datagrams;        /* plain UDP: finds only routes that pass datagrams on */
    struct sl_str host;       /* normalized: lower case, no port, no trailing dot; empty: no name */
    struct sl_str path;       /* without query */
    const uint8_t *client_ip; /* 16 bytes */
    /* The value of a request header, or len 0 and p NULL. May be NULL when there is no request. */
    struct sl_str (*header)(const void *message, struct sl_str name);
    const void *message;
};

/* The route of an HTTP request (or of a raw connection: path empty), or NULL. Valid while the
 * snapshot is held. */
struct sl_route *sl_snapshot_find(const struct sl_snapshot *s, const struct sl_route_query *q);
/* The route that decides about TLS for a connection on this port with this name: the first with a
   TLS mode (path and headers are not known yet and ignored). Exact names come before wildcards,
   longer wildcards before shorter ones, and routes without domains last, whatever their priority:
   the nearest name has the certificate that fits. NULL: none. */
struct sl_route *sl_snapshot_find_tls(const struct sl_snapshot *s, const struct sl_route_query *q);
/* What the port needs before a byte was read. */
struct sl_port_info {
    uint16_t port;
    enum sl_transport transport; /* union over its routes */
    bool has_tls, has_plain;     /* routes with and without TLS */
    bool has_passthrough; /* the ClientHello has to be read before it is clear who terminates */
    bool has_raw;         /* SL_PROTOCOL_TCP routes without TLS: no HTTP parsing */
    bool has_http;        /* others over TCP without TLS */
    /* Of the routes that are not for tunnels alone: what is listened on. */
    enum sl_transport listens; /* union; 0: nothing */
    bool has_http3;            /* routes with UDP that end TLS and look at requests */
    bool has_udp;              /* raw routes with UDP: plain datagrams are taken */
    bool is_single;            /* targets are tunnels: for the worker that has them, the first */
};
const struct sl_port_info *sl_snapshot_port(const struct sl_snapshot *s, uint16_t port);
size_t sl_snapshot_ports(const struct sl_snapshot *s, const struct sl_port_info **out);
size_t sl_snapshot_routes(const struct sl_snapshot *s, struct sl_route *const **out);
struct sl_route *sl_snapshot_by_name(const struct sl_snapshot *s, struct sl_str name);
const struct sl_policy *sl_snapshot_policy(const struct sl_snapshot *s);
/* Does a route end TLS without a certificate, which somebody else has to bring? */
bool sl_snapshot_lacks_certificates(const struct sl_snapshot *s);
/* What a listening socket is for. */
enum sl_port_use { SL_PORT_TCP, SL_PORT_QUIC, SL_PORT_UDP };
/* Does this route listen on the port in this way? */
bool sl_route_listens(const struct sl_route *r, uint16_t port, enum sl_port_use use);

/* --- using a route --- */

enum { SL_MAX_PICKS = 8 };
/* Fills `out` with targets in the order in which to try them (at most SL_MAX_PICKS). Targets with a
   sub-match for this path and method come alone when there are any, else those without a sub-match;
   highest priority first, then the balancing rule; the rest follow as fallbacks, and those that
   failed lately come last. Returns the count (0: no target for this request). `client_ip` may be
   NULL; `now_ms` is of the clock that sl_target_failed() gets. */
size_t sl_route_pick(struct sl_route *r, struct sl_str method, struct sl_str path,
                     const uint8_t client_ip[16], uint64_t now_ms, const struct sl_target **out);
/* A target refused a connection: it comes last for 2 s. */
void sl_target_failed(const struct sl_target *t, uint64_t now_ms);
void sl_target_ok(const struct sl_target *t);
bool sl_target_is_resting(const struct sl_target *t, uint64_t now_ms);
/* An exchange or connection uses the target from begin to end: what least-connections counts. Any
 * thread. */
void sl_target_begin(const struct sl_target *t);
void sl_target_end(const struct sl_target *t);
uint32_t sl_target_active(const struct sl_target *t);
/* Checks the value of an Authorization header ("Basic …") in a time that does not tell which user
 * or how much was right. */
bool sl_route_auth_ok(const struct sl_route *r, struct sl_str authorization);

struct sl_expand {
    struct sl_str domain, path, client_ip;
    uint16_t port;
};
struct sl_arena;
/* The template with its variables {domain} {path} {clientIp} {port} filled in; the template itself
   when it has none. Other braces stay. What is filled in comes from strangers: bytes up to the
   space and DEL appear as %XX, so that no header can be split. */
struct sl_str sl_route_expand(struct sl_str template, const struct sl_expand *with,
                              struct sl_arena *arena);
/* Path pattern and domain glob. Time is at most the product of both lengths, whatever the pattern.
 */
bool sl_path_matches(struct sl_str pattern, struct sl_str path);
bool sl_domain_matches(struct sl_str pattern, struct sl_str host);

#endif
