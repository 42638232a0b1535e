/*
 * The inside of the proxy, for the files of this folder: conn.c (from accept to HTTP or raw),
 * conn_tunnel.c (the same for what a hub's edges accept), request.c (from a request to a decision),
 * forward.c (to a target and back), pipe.c (raw bytes to a target).
 */
#ifndef SL_PROXY_INTERNAL_H
#define SL_PROXY_INTERNAL_H

#include <stdatomic.h>
#include "base/buf.h"
#include "base/log.h"
#include "proxy/adhoc.h"
#include "proxy/proxy.h"

/* A snapshot as one worker holds it: one atomic reference for the worker, plain counting for its
 * exchanges. */
struct sl_live {
    struct sl_proxy *proxy;
    struct sl_snapshot *snapshot;
    unsigned n_users; /* the proxy itself while it is the current one, and each exchange or pipe */
};

struct sl_port_listener {
    struct sl_link link;
    struct sl_proxy *proxy;
    struct sl_listener *listener;
    uint16_t port;
};

/* The UDP socket of a port. Without a port that is listened on it stays until its last connection
 * has ended. */
struct sl_quic_listener {
    struct sl_link link; /* in proxy->quic_listeners */
    struct sl_proxy *proxy;
    struct sl_quic_endpoint *endpoint;
    uint16_t port;
    bool is_closing;
    unsigned n_conns;
    struct sl_task_link soon; /* frees it */
};

struct sl_proxy {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool *pool;
    struct sl_tls_server *tls;
    void (*release_snapshot)(void *user, struct sl_snapshot *snapshot);
    struct sl_edge *(*find_edge)(void *user, struct sl_str name);
    void *user;
    const struct sl_proxy_settings *settings;
    const struct sl_hooks *hooks;
    struct sl_live *live;
    struct sl_list listeners;      /* of sl_port_listener */
    struct sl_list quic_listeners; /* of sl_quic_listener */
    struct sl_flows *flows;        /* raw UDP (udp.h) */
    struct sl_proxy_quic quic;
    struct sl_quic_settings quic_settings;   /* those of `settings`, and what the policy demands */
    struct sl_quic_endpoint_stats quic_past; /* of listeners that are closed */
    struct sl_timer quic_timer;              /* brings the counters up to date */
    struct sl_list conns;                    /* of sl_conn */
    struct sl_list services; /* of sl_service: one for each settings that live connections use */
    struct sl_service *service;
    unsigned n_conns;
    struct sl_proxy_stats stats;
    void (*on_drained)(void *user);
    void *drained_user;
    bool is_draining;
    uint32_t drain_grace; /* ms */
    struct sl_adhoc adhoc;
    struct sl_log_limit refusals, failures; /* lines that strangers can cause */
};

/* The HTTP service of one settings object: http/ keeps a pointer to it for as long as the
 * connection lives. */
struct sl_service {
    struct sl_link link;
    struct sl_http_service http;
};

enum sl_conn_stage {
    SL_CONN_HEADER, /* waiting for a PROXY header */
    SL_CONN_PEEK,   /* waiting for a ClientHello, or for the first byte that tells TLS from plain */
    SL_CONN_HANDSHAKE,
    SL_CONN_HTTP,
    SL_CONN_PIPE,
    SL_CONN_CLOSED,
};

struct sl_client_hello;

/* An accepted connection. */
struct sl_conn {
    struct sl_link link; /* in proxy->conns, oldest first */
    struct sl_proxy *proxy;
    struct sl_peer peer;
    struct sl_hook_slot slot;
    enum sl_conn_stage stage;
    enum sl_transport transport; /* UDP: QUIC */
    uint16_t port;               /* of the listener */
    struct sl_stream *stream;    /* until it is handed to http */
    struct sl_http_conn *http;
    struct sl_pipe *pipe;
    struct sl_quic_conn *quic; /* until it is handed to http */
    struct sl_quic_listener *quic_listener;
    struct sl_addr source; /* QUIC, when `is_named`: the address that a PROXY header was about */
    struct sl_buf first;   /* bytes read before it was clear what they are */
    struct sl_client_hello *peek;
    struct sl_cert *hello_cert; /* on_hello chose it before TLS began: a reference until then */
    enum sl_verdict_kind hello_kind;
    struct sl_str only_alpn; /* on_hello chose a protocol: it alone is offered, in wire form, and
                                the connection is closed after the handshake */
    struct sl_deadline deadline;
    char ip[SL_ADDR_TEXT_LEN]; /* of the visitor */
    bool is_counted;           /* sl_visitor_leave() is owed */
    bool is_waiting;           /* for a hook */
    bool is_hello_asked;       /* on_hello was called, or there is none */
    bool is_trusted;           /* its X-Forwarded-* are believed */
    bool is_named;             /* sl_named_leave() is owed */
    bool is_tunnelled;         /* came through a tunnel, and may use the routes for those */
};

/* One exchange as the proxy sees it. Lives in the arena of the exchange. */
struct sl_work {
    struct sl_exchange *ex;
    struct sl_conn *conn;
    struct sl_proxy *proxy;
    struct sl_live *live;
    const struct sl_hooks *hooks; /* those that may hold the slot */
    struct sl_hook_slot slot;
    struct sl_deadline deadline; /* of a hook that waits */
    struct sl_route *route;
    bool is_waiting, is_counted_on_route;
    int status; /* of the response, for on_done */
    const char *error;
    /* forward.c */
    const struct sl_target *picks[SL_MAX_PICKS];
    size_t n_picks, next_pick;
    const struct sl_target *target; /* in use; NULL with a target from a verdict */
    struct sl_call_target to;
    struct sl_str target_text; /* "host:port"; sl_work_target() makes it */
    struct sl_call *call;
    struct sl_task_link flush;
    bool is_connected, head_unsent, target_is_full, sent_body, response_started, is_retry,
        is_finished;
    /* body.c */
    struct sl_buf body; /* collected for a hook, then forwarded first */
    size_t body_max;
    bool is_collecting, body_complete, body_failed;
    bool is_streamed; /* what has come of the body is with the script */
    void (*on_bytes)(struct sl_hook_slot *slot, const uint8_t *bytes, size_t len, bool fin);
    struct sl_task_link collected;
    void (*on_collected)(struct sl_hook_slot *slot, int code, struct sl_str body);
};

/* request.c */
/* An answer of our own: with the headers that the route puts on every response. */
void sl_work_reply(struct sl_work *w, int status, struct sl_str type, struct sl_str body,
                   const struct sl_headers *extra);
void sl_work_fail(struct sl_work *w, int status, const char *error);
/* The response has begun and cannot be finished: cuts the client off, so that it does not take a
 * part for the whole. */
void sl_work_abort(struct sl_work *w, const char *error);
/* forward.c: forwards to the picks of w->route, or to w->to when it has none. */
void sl_forward_start(struct sl_work *w);
/* "host:port" of the target in use, or empty. */
struct sl_str sl_work_target(struct sl_work *w);
void sl_forward_body(struct sl_work *w, const uint8_t *bytes, size_t len, bool fin);
void sl_forward_written(struct sl_work *w);
void sl_forward_end(struct sl_work *w);
/* body.c */
void sl_body_take(struct sl_work *w, const uint8_t *bytes, size_t len, bool fin);
/* The hook has decided: it gets no more of the body. */
void sl_body_decided(struct sl_work *w);
void sl_body_end(struct sl_work *w);
/* headers.c: what strangers say about themselves is dropped, what we know is set. */
void sl_headers_forwarded(struct sl_work *w);
void sl_headers_for_target(struct sl_work *w, struct sl_request *out);
void sl_headers_for_client(struct sl_work *w, struct sl_response *res);

/* hello.c */
/* Keeps the name that the client has called. */
void sl_hello_keep_sni(struct sl_conn *c, struct sl_str sni);
/* There is a route that decides about TLS, whoever may use it. */
bool sl_hello_is_for_us(const struct sl_conn *c);
/* That route, if this visitor may use it. */
struct sl_route *sl_hello_route(struct sl_conn *c);
/* Is there an on_hello that is to be asked? */
bool sl_hello_has_hook(const struct sl_proxy *p);
/* Asks on_hello, if there is one. 0: `*v` is its verdict; SL_E_AGAIN: `on_verdict` gets it later.
 */
int sl_hello_ask(struct sl_conn *c, const struct sl_tls_hello *hello,
                 void (*on_verdict)(struct sl_hook_slot *slot, const struct sl_verdict *v),
                 struct sl_verdict *v);
/* For on_verdict: true when the connection waits for it, which it does no more. */
bool sl_hello_answered(struct sl_conn *c);
/* Keeps the protocol of a verdict that names one, whose strings do not live long. */
void sl_hello_keep_alpn(struct sl_conn *c, const struct sl_verdict *v);
/* What follows from the verdict: a certificate of the hook or of the route (a reference), or a
 * negative code: refuse. */
int sl_hello_certificate(struct sl_conn *c, const struct sl_verdict *v, struct sl_cert **cert);

/* peek_request.c */
/* 0: `*route` is the one for what came first: as it was for bytes that are no request, NULL when
 * there is none; SL_E_PARTIAL: that cannot be said yet. */
int sl_peek_request(struct sl_conn *c, struct sl_route **route);

/* conn.c */
/* In the lists and counters, with the deadline of the handshake. NULL: there is no room. */
struct sl_conn *sl_conn_new(struct sl_proxy *p, enum sl_transport transport, uint16_t port,
                            const struct sl_addr *remote);
/* May this visitor connect? NULL, or why not. */
const char *sl_conn_admit(struct sl_conn *c, const struct sl_addr *visitor);
/* The visitor's address is another one: false when the policy refuses that. */
bool sl_conn_set_remote(struct sl_conn *c, const struct sl_addr *remote);
/* The way out of every stage before http and pipes: logs and closes. */
void sl_conn_fail(struct sl_conn *c, const char *doing, const char *why);
void sl_conn_accept(void *user, int fd, const struct sl_addr *remote);
/* A new connection gets its stream, which is paused. */
void sl_conn_take(struct sl_conn *c, struct sl_stream *stream);
/* Whose connection it is is known: asks whether he may, then goes on to what he says. */
void sl_conn_begin(struct sl_conn *c);
void sl_conn_begin_protocol(struct sl_conn *c);
/* What finds the route of this connection. */
static inline struct sl_route_query sl_conn_query(const struct sl_conn *c, struct sl_str host)
{
    return (struct sl_route_query){.port = c->port,
                                   .transport = c->transport,
                                   .is_tunnelled = c->is_tunnelled,
                                   .host = host,
                                   .client_ip = c->peer.ip16};
}
void sl_conn_close(struct sl_conn *c);
/* Asks it to end soon: at once when idle. */
void sl_conn_drain(struct sl_conn *c);
/* http says that the connection is gone, or pipe. */
void sl_conn_ended(struct sl_conn *c);

/* conn_tunnel.c: sl_conn_begin_protocol() for what came through a tunnel. */
void sl_conn_begin_tunnelled(struct sl_conn *c);

/* Takes the stream of the connection and what was read of it, and becomes its pipe. Ends with
 * sl_conn_ended(), maybe inside the call. */
void sl_pipe_start(struct sl_conn *c, struct sl_route *route);
/* The same to a target that a hook has named (copied), which is told who the visitor is with a
 * PROXY header of version 1. */
void sl_pipe_start_to(struct sl_conn *c, struct sl_str host, uint16_t port);
/* Closes both sides; no sl_conn_ended(). */
void sl_pipe_free(struct sl_pipe *p);

/* conn_quic.c: ends a QUIC connection that http has not got yet. */
void sl_conn_leave_quic(struct sl_conn *c);
/* It ends: what a PROXY header said of it may be forgotten. */
void sl_conn_forget_name(struct sl_conn *c);
/* The client's address has changed: what http calls. */
void sl_conn_migrated(const struct sl_peer *peer, const struct sl_addr *remote);
/* A connection of it has ended. */
void sl_quic_listener_left(struct sl_quic_listener *l);
/* No new connections. */
void sl_quic_listener_stop(struct sl_quic_listener *l);
/* What listeners demand of new connections may have changed: settings, policy or hooks. */
void sl_quic_tune(struct sl_proxy *p);
void sl_quic_begin(struct sl_proxy *p, const struct sl_proxy_quic *opts);
void sl_quic_end(struct sl_proxy *p);

/* udp_port.c */
struct sl_flows *sl_flows_new(struct sl_proxy *p);
void sl_flows_free(struct sl_flows *f);
/* The policy has changed: ends those of visitors that are blocked now. */
void sl_flows_apply_policy(struct sl_flows *f, const struct sl_policy *policy);

/* What http calls (request.c). */
void sl_request_start(struct sl_exchange *ex);

struct sl_live *sl_live_ref(struct sl_proxy *p);
void sl_live_unref(struct sl_live *live);

/* One writer, so no locked instruction. */
static inline void sl_stat_add(_Atomic uint64_t *stat, uint64_t n)
{
    atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

#endif
