/*
 * What the data plane asks of policy: plain function pointers that the script host fills in (or a
 * test). The data plane knows no Lua; the host knows no sockets.
 *
 * `present` says which hooks exist: an absent one costs one test of a bit. Every hook returns
 *     0             decided: `*v` holds the verdict (SL_VERDICT_NONE: go on)
 *     SL_E_AGAIN    the script waits; sl_hook_resume() follows later with the verdict, unless
 * cancelled A script that throws has been logged by the host and shows as the verdict of the
 * policy's on_error (SL_VERDICT_ERROR). Strings in a verdict live in the arena of the exchange (or
 * until the next hook call for connections).
 */
#ifndef SL_PROXY_HOOKS_H
#define SL_PROXY_HOOKS_H

#include "http/exchange.h"
#include "tls/stream.h"

enum {
    SL_HOOK_CONNECT = 1,
    SL_HOOK_HELLO = 2,
    SL_HOOK_REQUEST = 4,
    SL_HOOK_RESPONSE = 8,
    SL_HOOK_DONE = 16,
    SL_HOOK_STREAM = 32,
    SL_HOOK_EDGE = 64,
    SL_HOOK_FAILURE = 128,
};

enum sl_verdict_kind {
    SL_VERDICT_NONE,        /* go on */
    SL_VERDICT_ERROR,       /* the hook threw: fail closed (500, 502, or close) */
    SL_VERDICT_DENY,        /* status (default 403) */
    SL_VERDICT_REPLY,       /* status, headers, body */
    SL_VERDICT_REDIRECT,    /* status, location in `text` */
    SL_VERDICT_ROUTE,       /* use the route named `text` */
    SL_VERDICT_TARGET,      /* forward to target_host:target_port */
    SL_VERDICT_CERT,        /* on_hello: `cert` (a reference); with a protocol in `text` (ALPN)
                               that one or none, and nothing after the handshake */
    SL_VERDICT_PASSTHROUGH, /* on_hello */
    SL_VERDICT_SERVE,       /* on_request: the host answers itself with `status`, see `serve` */
};

struct sl_verdict {
    enum sl_verdict_kind kind;
    int status;
    struct sl_str text, content_type;
    struct sl_headers headers;
    uint64_t content_length; /* of a reply that serves */
    struct sl_str target_host;
    uint16_t target_port;
    bool target_tls, target_verify;
    struct sl_cert *cert;
    /* Takes the exchange over and returns 0: on_gone() comes once, when it has ended, maybe inside
     * the call, with what the client was told (0: nothing) and what went wrong (NULL: nothing). Or
     * answers it, returns the status, and leaves it with its handler. To be called once. */
    int (*serve)(void *serving, struct sl_exchange *ex,
                 void (*on_gone)(void *user, int status, const char *error), void *user);
    void *serving;
};

/* One per exchange or connection, embedded in the proxy's object: the host keeps its handle and
 * waiting task here. */
struct sl_hook_slot {
    void *script; /* the host's; NULL when nothing refers to this object */
    /* Where the verdict of a waiting hook goes. */
    void (*on_verdict)(struct sl_hook_slot *slot, const struct sl_verdict *v);
};

/* Facts of on_done, valid during the call. */
struct sl_done {
    bool is_exchange;             /* else a raw stream */
    const struct sl_exchange *ex; /* NULL for a raw stream */
    const struct sl_peer *peer;
    struct sl_str route, target;
    int status;
    double duration_s;
    uint64_t bytes_in, bytes_out;
    const char *error; /* NULL: none */
};

/* Facts of on_failure, valid during the call. */
struct sl_failure {
    int status; /* 502, 503 or 504: of the answer that is about to be given */
    const char *error;
    struct sl_str target, route; /* the one that was tried last, "host:port"; may be empty */
};

/* Facts of on_edge, valid during the call. */
struct sl_edge_facts {
    const char *event; /* "authenticated" (the verdict counts), "up", "down" */
    struct sl_str id;
    struct sl_addr remote;
    const char *transport; /* "tls" or "quic" */
};

struct sl_hooks {
    unsigned present;
    void *host;
    int (*on_connect)(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                      struct sl_verdict *v);
    int (*on_hello)(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                    const struct sl_tls_hello *hello, struct sl_verdict *v);
    int (*on_request)(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                      struct sl_verdict *v);
    /* `res` may be edited; `target` is "host:port". */
    int (*on_response)(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                       struct sl_response *res, struct sl_str target, struct sl_verdict *v);
    /* No target has given an answer; does not wait. REPLY, or anything else: the plain answer. */
    int (*on_failure)(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                      const struct sl_failure *failure, struct sl_verdict *v);
    void (*on_done)(void *host, const struct sl_done *done);
    /* A stream or a UDP session of a tunnel opens (peer->edge says whose); does not wait. NONE: the
     * routes decide; TARGET: raw bytes to that host and port; DENY. */
    int (*on_stream)(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                     struct sl_verdict *v);
    int (*on_edge)(void *host, struct sl_hook_slot *slot, const struct sl_edge_facts *edge,
                   struct sl_verdict *v);
    /* The object of this slot ends: its handles go stale, a waiting task is cancelled. Called when
     * slot->script is not NULL. */
    void (*forget)(void *host, struct sl_hook_slot *slot);
};

/* For the host, while an on_request hook of this slot waits: collects the request body (which is
   still forwarded afterwards). `done` comes later, never inside the call, with 0 and the whole
   body, SL_E_LIMIT when it is longer than `max`, or another code; it does not come when the slot is
   forgotten first. A second call gives the same body. Implemented in proxy/body.c. */
void sl_hook_collect_body(struct sl_hook_slot *slot, size_t max,
                          void (*done)(struct sl_hook_slot *slot, int code, struct sl_str body));
/* For the host, while an on_request hook of this slot waits: the request body comes to `on_bytes`
   until the hook has decided, when sl_exchange_read() lets it. What was read so is not forwarded
   any more: such a request can only be answered. Implemented in proxy/body.c. */
void sl_hook_stream_body(struct sl_hook_slot *slot,
                         void (*on_bytes)(struct sl_hook_slot *slot, const uint8_t *bytes,
                                          size_t len, bool fin));
/* For the host: the verdict of a hook that returned SL_E_AGAIN. */
static inline void sl_hook_resume(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    slot->on_verdict(slot, v);
}

#endif
