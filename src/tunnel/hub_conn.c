/*
 * A connection of a hub until it is the link of a tunnel.
 *
 *     HANDSHAKE -> GREETING -> [DECIDING ->] ANSWERED -> link
 *                     '-> REFUSING -> LEAVING
 *
 * Each state has a deadline, after which the connection is closed, or, when it is to be refused,
 * told so.
 */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include "net/tcp.h"
#include "tls/stream.h"
#include "tunnel/hub_internal.h"

enum { LEAVING_MS = 2000 }; /* for an edge to read why it was refused */

enum conn_state { HANDSHAKE, GREETING, DECIDING, ANSWERED, REFUSING, LEAVING };

struct sl_hub_conn {
    struct sl_hub *hub;
    struct sl_link link; /* in hub->handshakes or hub->conns */
    enum conn_state state;
    struct sl_greeter greeter;
    struct sl_addr remote;
    enum sl_edge_transport transport;
    uint64_t since_ms;
    struct sl_deadline deadline;
    struct sl_hub_edge *edge; /* since it has proven who it is, until it is a link */
    bool is_pacing;           /* counts among the handshakes over TLS */
};

static struct sl_hub_conn *conn_of(struct sl_greeter *g)
{
    return sl_container_of(g, struct sl_hub_conn, greeter);
}

/* --- states --- */

static void leave_handshake(struct sl_hub_conn *c)
{
    if (!c->is_pacing)
        return;
    c->is_pacing = false;
    c->hub->n_handshakes--;
    sl_link_remove(&c->link);
    sl_list_append(&c->hub->conns, &c->link);
    sl_hub_pace(c->hub);
}

static void set_state(struct sl_hub_conn *c, enum conn_state state, uint32_t ms)
{
    static const uint8_t next[] = {
        [HANDSHAKE] = 1 << GREETING,
        [GREETING] = 1 << DECIDING | 1 << ANSWERED | 1 << REFUSING,
        [DECIDING] = 1 << ANSWERED | 1 << REFUSING,
        [ANSWERED] = 0,
        [REFUSING] = 1 << LEAVING,
        [LEAVING] = 0,
    };

    sl_assert(next[c->state] >> state & 1);
    leave_handshake(c);
    c->state = state;
    sl_deadline_set(&c->deadline, ms);
}

/* --- the end --- */

/* Everything but the connection itself, which may be a link by now. */
static void destroy(struct sl_hub_conn *c)
{
    leave_handshake(c);
    sl_link_remove(&c->link);
    c->hub->n_conns--;
    sl_deadline_stop(&c->deadline);
    sl_greeter_clear(&c->greeter);
    sl_loop_defer(c->hub->opts.loop, c, sl_free);
}

/* Its edge goes before it has become one. */
static void drop_edge(struct sl_hub_conn *c)
{
    const struct sl_hub_opts *opts = &c->hub->opts;
    struct sl_hub_edge *e = c->edge;

    if (e == NULL)
        return;
    c->edge = NULL;
    e->entry->conn = NULL;
    if (c->state == DECIDING && opts->handler->on_edge_gone != NULL)
        opts->handler->on_edge_gone(opts->user, e);
    sl_hub_edge_drop(e, NULL);
}

static void log_drop(struct sl_hub_conn *c, const char *why)
{
    char text[SL_ADDR_TEXT_LEN];
    unsigned n_suppressed;

    if (!sl_log_may(&c->hub->drops, &n_suppressed))
        return;
    sl_log_info("a connection to the hub came to nothing",
                sl_f_strn("edge", c->edge != NULL ? c->edge->entry->id : SL_STR_NONE),
                sl_f_str("remote", sl_addr_text(&c->remote, text)),
                sl_f_str("transport", sl_hub_transport(c->transport)), sl_f_str("error", why),
                sl_f_int("suppressed", n_suppressed));
}

void sl_hub_conn_drop(struct sl_hub_conn *c, const char *why)
{
    if (c->state <= GREETING)
        c->hub->stats.dropped++;
    if (why != NULL && c->state != LEAVING)
        log_drop(c, why);
    drop_edge(c);
    destroy(c);
}

/* --- refusals --- */

static void refuse(struct sl_hub_conn *c, struct sl_str id, const char *why)
{
    c->hub->stats.refused++;
    sl_hub_alarm_refused(&c->hub->alarm, &c->remote, id, why);
    set_state(c, REFUSING, c->hub->opts.refusal_ms);
}

static void say_refusal(struct sl_hub_conn *c)
{
    static const char line[] = "ERROR not authorized\n";

    set_state(c, LEAVING, LEAVING_MS);
    sl_greeter_say(&c->greeter, line, sizeof(line) - 1, true);
    sl_greeter_read(&c->greeter, true); /* to hear that the edge has gone */
}

static void on_due(struct sl_deadline *d)
{
    static const char *const why[] = {
        [HANDSHAKE] = "no handshake in time",
        [GREETING] = "no greeting in time",
        [DECIDING] = "nobody has decided in time",
        [ANSWERED] = "no frame behind the greeting",
        [LEAVING] = "",
    };
    struct sl_hub_conn *c = d->user;

    if (c->state == REFUSING)
        say_refusal(c);
    else
        sl_hub_conn_drop(c, why[c->state]);
}

/* --- answers --- */

/* Behind the line goes a PING, so that an original has a reason to send its first frame, too. */
static void welcome(struct sl_hub_conn *c)
{
    struct sl_hub_edge *e = c->edge;
    struct sl_buf answer = {0};
    uint8_t ping[SL_FRAME_HEAD];

    set_state(c, ANSWERED, c->hub->opts.dead_ms);
    sl_assert(RAND_bytes(e->ticket, sizeof(e->ticket)) == 1);
    sl_hub_table_answer(e->entry, e->ticket, &answer);
    sl_frame_head(ping, 0, SL_FRAME_PING, 0);
    sl_buf_append(&answer, ping, sizeof(ping));
    sl_greeter_say(&c->greeter, sl_buf_at(&answer), sl_buf_len(&answer), false);
    sl_buf_clear(&answer);
    sl_greeter_read(&c->greeter, true);
}

static void refuse_edge(struct sl_hub_conn *c)
{
    struct sl_hub_edge *e = c->edge;

    c->edge = NULL;
    e->entry->conn = NULL;
    refuse(c, e->entry->id, "by the script");
    sl_hub_edge_drop(e, NULL);
}

/* Also frames may have come with the greeting; but no edge sends any before it is answered. */
static void take_first_frame(struct sl_hub_conn *c);

static void decide(struct sl_hub_conn *c, int rc)
{
    if (rc < 0) {
        refuse_edge(c);
        return;
    }
    welcome(c);
    take_first_frame(c);
}

void sl_hub_decide(struct sl_hub_edge *e, int rc)
{
    struct sl_hub_conn *c = e->entry->conn;

    sl_assert(c != NULL && c->edge == e && c->state == DECIDING);
    decide(c, rc);
}

/* The newest connection of an edge is the one that counts. */
static void meet(struct sl_hub_conn *c, struct sl_hub_entry *entry)
{
    const struct sl_hub_opts *opts = &c->hub->opts;
    int rc = 0;

    if (entry->conn != NULL)
        sl_hub_conn_drop(entry->conn, "a newer connection of this edge has come");
    c->edge = sl_hub_edge_new(c->hub, entry);
    c->edge->addr = c->remote;
    c->edge->transport = c->transport;
    entry->conn = c;
    if (opts->handler->on_edge != NULL)
        rc = opts->handler->on_edge(opts->user, c->edge);
    if (rc == SL_E_AGAIN)
        set_state(c, DECIDING, opts->greeting_ms);
    else
        decide(c, rc);
}

/* --- what arrives --- */

static void take_greeting(struct sl_hub_conn *c)
{
    struct sl_buf *in = &c->greeter.in;
    struct sl_hub_entry *entry;
    struct sl_greeting greeting;
    bool is_known;
    int n = sl_greeting_parse(sl_buf_at(in), sl_buf_len(in), &greeting);

    if (n == SL_E_PARTIAL)
        return;
    if (n < 0) {
        sl_hub_conn_drop(c, n == SL_E_LIMIT ? "the greeting is too long" : "not a greeting");
        return;
    }
    sl_greeter_read(&c->greeter, false);
    entry = sl_hub_table_check(&c->hub->table, &greeting, &is_known);
    if (entry == NULL) {
        refuse(c, greeting.id, is_known ? "the secret is wrong" : "there is no such edge");
        OPENSSL_cleanse(sl_buf_at(in), sl_buf_len(in));
        sl_buf_clear(in);
        return;
    }
    OPENSSL_cleanse(sl_buf_at(in), (size_t)n);
    sl_buf_consume(in, (size_t)n);
    meet(c, entry);
}

/* The connection is a link, or will never be one. */
static void link_up(struct sl_hub_conn *c, const struct sl_resume *peer)
{
    c->edge->entry->conn = NULL;
    if (sl_hub_edge_link(c->edge, &c->greeter, peer) < 0)
        log_drop(c, "what the edge says of its streams is out of date");
    c->edge = NULL;
    destroy(c);
}

static void take_first_frame(struct sl_hub_conn *c)
{
    struct sl_buf *in = &c->greeter.in;
    struct sl_resume peer;
    size_t n;
    int rc = sl_resume_first(sl_buf_at(in), sl_buf_len(in), &peer, &n);

    if (rc == 0)
        return;
    if (rc == SL_E_REFUSED) {
        link_up(c, NULL);
    } else if (rc < 0) {
        sl_hub_conn_drop(c, "the first frame of the edge cannot be");
    } else {
        sl_buf_consume(in, n); /* `peer` stays where it is until more is read */
        link_up(c, &peer);
    }
}

static void on_bytes(struct sl_greeter *g)
{
    struct sl_hub_conn *c = conn_of(g);

    switch (c->state) {
    case GREETING:
        take_greeting(c);
        return;
    case ANSWERED:
        take_first_frame(c);
        return;
    case LEAVING:
        sl_buf_reset(&g->in);
        return;
    default: /* the rest of a batch: it waits */
        return;
    }
}

static void on_open(struct sl_greeter *g)
{
    struct sl_hub_conn *c = conn_of(g);
    uint64_t spent = sl_loop_now_ms(c->hub->opts.loop) - c->since_ms;
    uint32_t greeting_ms = c->hub->opts.greeting_ms;

    set_state(c, GREETING, spent < greeting_ms ? greeting_ms - (uint32_t)spent : 1);
    sl_greeter_read(g, true);
}

/* Whoever only looks whether somebody listens here, as health checks do, is not worth a line. */
static void on_end(struct sl_greeter *g, int code, const char *why)
{
    struct sl_hub_conn *c = conn_of(g);
    bool is_a_look = c->state == HANDSHAKE && (code == SL_E_CLOSED || code == SL_E_RESET);

    sl_hub_conn_drop(c, is_a_look ? NULL : why);
}

static const struct sl_greeter_handler greeter_handler = {on_open, on_bytes, on_end};

/* --- the begin --- */

/* NULL: there are too many. */
static struct sl_hub_conn *conn_new(struct sl_hub *h, const struct sl_addr *remote,
                                    enum sl_edge_transport transport)
{
    struct sl_hub_conn *c;

    h->stats.accepted++;
    if (h->n_conns >= h->opts.max_greetings) {
        h->stats.dropped++;
        return NULL;
    }
    c = sl_zalloc(sizeof(*c));
    c->hub = h;
    c->remote = *remote;
    c->transport = transport;
    c->since_ms = sl_loop_now_ms(h->opts.loop);
    sl_greeter_init(&c->greeter, h->opts.loop, &greeter_handler);
    sl_deadline_init(&c->deadline, h->opts.loop, on_due, c);
    sl_deadline_set(&c->deadline, h->opts.greeting_ms);
    h->n_conns++;
    return c;
}

/* ALPN is offered, and not asked for: to an edge that wants something else none is answered. */
static bool wants_us(const struct sl_tls_hello *hello)
{
    size_t ours = sizeof(SL_HUB_ALPN) - 1;

    for (size_t i = 0; i + ours <= hello->alpn_len; i += 1 + (size_t)hello->alpn[i]) {
        if (memcmp(hello->alpn + i, SL_HUB_ALPN, ours) == 0)
            return true;
    }
    return hello->alpn_len == 0;
}

static int on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **cert)
{
    struct sl_hub_conn *c = user;

    if (!wants_us(hello))
        sl_tls_offer(tls, SL_STR(""));
    *cert = sl_cert_ref(c->hub->opts.cert);
    return 0;
}

void sl_hub_conn_accept(struct sl_hub *h, int fd, const struct sl_addr *remote)
{
    struct sl_stream *tcp = sl_tcp_new(h->opts.loop, fd), *tls;
    struct sl_hub_conn *c = conn_new(h, remote, SL_EDGE_TLS);

    if (c == NULL) {
        sl_stream_free(&tcp, SL_CLOSE_ABORT);
        return;
    }
    c->is_pacing = true;
    h->n_handshakes++;
    sl_list_append(&h->handshakes, &c->link);
    tls =
        sl_tls_accept(&tcp, h->opts.tls, &(struct sl_tls_accept){on_hello, c}, NULL, NULL, NULL, 0);
    sl_greeter_use_tls(&c->greeter, &tls);
    sl_hub_pace(h);
}

void sl_hub_conn_accept_ready(struct sl_hub *h, struct sl_stream **stream,
                              const struct sl_addr *remote)
{
    struct sl_hub_conn *c = conn_new(h, remote, SL_EDGE_TLS);

    if (c == NULL) {
        sl_stream_free(stream, SL_CLOSE_ABORT);
        return;
    }
    sl_list_append(&h->conns, &c->link);
    sl_greeter_use_tls(&c->greeter, stream);
    on_open(&c->greeter);
}

int sl_hub_conn_accept_quic(struct sl_hub *h, struct sl_quic_conn *conn)
{
    struct sl_hub_conn *c = conn_new(h, &conn->remote, SL_EDGE_QUIC);

    if (c == NULL)
        return SL_E_LIMIT;
    sl_list_append(&h->conns, &c->link);
    (void)sl_greeter_use_quic(&c->greeter, false);
    sl_greeter_begin_quic(&c->greeter, conn);
    return 0;
}

void sl_hub_conn_drop_idle(struct sl_hub *h, uint64_t before_ms)
{
    sl_list_each(&h->handshakes, it)
    {
        struct sl_hub_conn *c = sl_container_of(it, struct sl_hub_conn, link);

        if (c->since_ms >= before_ms)
            return;
        sl_hub_conn_drop(c, "no handshake while others wait");
    }
}

void sl_hub_conn_drop_all(struct sl_hub *h)
{
    struct sl_link *it;

    while ((it = sl_list_first(&h->handshakes)) != NULL || (it = sl_list_first(&h->conns)) != NULL)
        sl_hub_conn_drop(sl_container_of(it, struct sl_hub_conn, link), NULL);
}

void sl_hub_conn_reconfigure(struct sl_hub_conn *c)
{
    if (c->state == ANSWERED)
        c->edge->is_stale = true;
}
