#include "tunnel/quic_internal.h"

enum { PIECES = 16 };

struct sl_carrier *sl_carrier_new(struct sl_tunnel_quic *q)
{
    struct sl_carrier *c = sl_zalloc(sizeof(*c));

    c->quic = q;
    sl_deadline_init(&c->deadline, q->loop, sl_opening_on_due, c);
    return c;
}

static void destroy_carrier(void *ptr)
{
    struct sl_carrier *c = ptr;

    sl_buf_clear(&c->head);
    sl_free(c);
}

void sl_carrier_free(struct sl_carrier *c, enum sl_close how)
{
    if (c->s != NULL)
        c->s->on_link = NULL;
    c->s = NULL;
    sl_link_remove(&c->link);
    sl_loop_unsoon(&c->pushing);
    sl_deadline_stop(&c->deadline);
    sl_stream_free(&c->below, how);
    sl_loop_defer(c->quic->loop, c, destroy_carrier);
}

/* --- sending --- */

static size_t push_piece(struct sl_carrier *c, size_t most)
{
    struct sl_tunnel_stream *s = c->s;
    struct iovec iov[PIECES];
    int n_iov = sl_sendq_peek(&s->out, iov, PIECES, most);
    size_t n = 0;

    for (int i = 0; i < n_iov; i++)
        n += iov[i].iov_len;
    (void)sl_stream_write(c->below, iov, n_iov, false);
    sl_sendq_sent(&s->out, n);
    s->tunnel->stats.bytes_out += n;
    return n;
}

/* The QUIC stream has a queue of its own: it gets no more than it takes gladly. */
static void push(void *user)
{
    struct sl_carrier *c = user;
    struct sl_tunnel_stream *s = c->s;
    size_t most;

    if (s == NULL || c->below == NULL)
        return;
    while (!c->below->is_writing && c->below->error == 0 &&
           (most = SL_MIN(sl_tunnel_stream_sendable(s), (size_t)SL_TUNNEL_QUIC_PIECE)) > 0)
        (void)push_piece(c, most);
    if (s->stream.sent_fin && !s->fin_sent && s->out.n_unsent == 0 && c->below->error == 0) {
        (void)sl_stream_write(c->below, NULL, 0, true);
        s->fin_sent = true;
    }
    sl_tunnel_stream_sent(s);
}

void sl_carrier_push_soon(struct sl_carrier *c)
{
    sl_loop_soon(c->quic->loop, &c->pushing, push, c);
}

/* --- receiving --- */

void sl_carrier_deliver(struct sl_carrier *c, const uint8_t *bytes, size_t len)
{
    int rc = c->s != NULL ? sl_tunnel_stream_arrived(c->s, bytes, len) : 0;

    if (rc < 0)
        sl_carrier_fail_link(c, rc, "bytes behind the end of a stream");
}

void sl_carrier_fail_link(struct sl_carrier *c, int code, const char *why)
{
    if (sl_carrier_tunnel(c) != NULL)
        sl_tunnel_detach(sl_carrier_tunnel(c), code, why);
}

void sl_carrier_update_read(struct sl_carrier *c)
{
    sl_stream_read(c->below, sl_tunnel_stream_wants(c->s));
}

static void on_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    struct sl_carrier *c = below->user;

    if (c->s == NULL)
        sl_opening_data(c, bytes, len);
    else
        sl_carrier_deliver(c, bytes, len);
}

static void on_fin(struct sl_stream *below)
{
    struct sl_carrier *c = below->user;

    if (c->s == NULL)
        sl_opening_refuse(c);
    else if (!c->s->fin_arrived) /* else over an earlier link */
        sl_tunnel_stream_fin(c->s);
}

static void on_written(struct sl_stream *below)
{
    push(below->user);
}

static void on_error(struct sl_stream *below, int code)
{
    struct sl_carrier *c = below->user;

    if (c->s != NULL)
        sl_tunnel_stream_fail(c->s, code);
    else
        sl_opening_error(c);
}

static const struct sl_stream_handler carrier_handler = {
    .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};

void sl_carrier_use(struct sl_carrier *c, struct sl_stream *below)
{
    c->below = below;
    sl_stream_set_handler(below, &carrier_handler, c);
}
