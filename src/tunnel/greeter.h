/*
 * A connection between an edge and a hub that is not the link of a tunnel yet: lines go over it, in
 * the same way over TLS and over the control stream of QUIC; then it is handed to a tunnel with
 * what was read too far, or closed.
 *
 * Not here: what the lines say (codec/tunnel_greeting.h), deadlines, how the connection was made.
 *
 * Owner: embedded in whoever greets, who has sl_greeter_clear() called before he is freed; one
 * thread. Callbacks come from the loop; every one of them may clear it.
 *
 *     sl_greeter_init(&g, loop, &handler);
 *     sl_greeter_use_tls(&g, &tls);                   // or sl_greeter_use_quic()
 *     ... on_open(): sl_greeter_say(&g, line, n, false); sl_greeter_read(&g, true);
 *     ... on_bytes(): n = sl_greeting_answer(sl_buf_at(&g.in), ...); sl_buf_consume(&g.in, n);
 *     rc = sl_greeter_attach(&g, tunnel, &terms);
 */
#ifndef SL_TUNNEL_GREETER_H
#define SL_TUNNEL_GREETER_H

#include "base/buf.h"
#include "tunnel/quic_link.h"

struct sl_greeter;

struct sl_greeter_handler {
    /* Lines may go. It is paused. */
    void (*on_open)(struct sl_greeter *g);
    /* More has come and stands in g->in; at most SL_SCRATCH_LEN bytes after a pause. */
    void (*on_bytes)(struct sl_greeter *g);
    /* The connection is gone: the last call. `why` for the log. */
    void (*on_end)(struct sl_greeter *g, int code, const char *why);
};

struct sl_greeter {
    struct sl_loop *loop;
    const struct sl_greeter_handler *handler;
    struct sl_stream *stream;    /* TLS, or the control stream; NULL before on_open() of QUIC */
    struct sl_tunnel_quic *quic; /* NULL: TLS */
    struct sl_quic_conn *conn;
    struct sl_buf in;
};

void sl_greeter_init(struct sl_greeter *g, struct sl_loop *loop,
                     const struct sl_greeter_handler *handler);
/* Takes a TLS stream. on_open() comes when its handshake ends, and not at all when it has. */
void sl_greeter_use_tls(struct sl_greeter *g, struct sl_stream **tls);
/* A QUIC connection that is about to be made: its app is &sl_quic_streams_app, its user what this
 * returns. The edge opens the control stream, the hub waits for it. */
struct sl_quic_streams *sl_greeter_use_quic(struct sl_greeter *g, bool is_edge);
/* Then, when it is there: in on_accept(), or after sl_quic_connect(). */
void sl_greeter_begin_quic(struct sl_greeter *g, struct sl_quic_conn *conn);

/* Once for each answer of the other side. `fin`: nothing more will be said, and the connection is
 * kept until the other side has heard it, or for as long as its owner likes. */
void sl_greeter_say(struct sl_greeter *g, const void *bytes, size_t len, bool fin);
void sl_greeter_read(struct sl_greeter *g, bool on);
/* Hands the connection to the tunnel with the bytes that are left in g->in; g is empty then. 0, or
 * SL_E_REFUSED as sl_tunnel_attach_frames(): nothing has changed. */
int sl_greeter_attach(struct sl_greeter *g, struct sl_tunnel *t,
                      const struct sl_tunnel_terms *terms);
/* Closes the connection, if there is one. */
void sl_greeter_clear(struct sl_greeter *g);

/* The settings of QUIC endpoints that carry tunnels. */
struct sl_quic_settings sl_greeter_quic_settings(uint32_t idle_ms);

#endif
