#include "tunnel/quic_internal.h"

enum {
    CONTROL_ID = 0,
    CONTROL_MAX = 4 << 20, /* waiting frames above which the peer is given up; RESUME fits */
};

static struct sl_tunnel_quic *quic_of(struct sl_tunnel_link *l)
{
    return sl_container_of(l, struct sl_tunnel_quic, channel.link);
}

static void free_all(struct sl_list *list)
{
    sl_list_each(list, it)
    {
        sl_carrier_free(sl_container_of(it, struct sl_carrier, link), SL_CLOSE_ABORT);
    }
}

/* --- what the connection says --- */

static void on_ready(void *user)
{
    struct sl_tunnel_quic *q = user;

    if (q->handler != NULL && q->handler->on_ready != NULL)
        q->handler->on_ready(q->user);
}

static void on_stream(void *user, struct sl_stream *below)
{
    struct sl_tunnel_quic *q = user;
    const struct sl_tunnel *t = q->channel.link.tunnel;

    if (!q->conn->is_server || (q->handler == NULL && t == NULL)) {
        sl_stream_free(&below, SL_CLOSE_ABORT);
        return;
    }
    if (sl_quic_stream_id(below) == CONTROL_ID && q->handler != NULL) {
        q->handler->on_control(q->user, below);
        return;
    }
    sl_opening_add(q, below);
}

static void open_waiting(void *user)
{
    struct sl_tunnel_quic *q = user;
    struct sl_link *it;

    while (q->streams != NULL && (it = sl_list_first(&q->waiting)) != NULL) {
        struct sl_carrier *c = sl_container_of(it, struct sl_carrier, link);
        struct iovec iov = {sl_buf_at(&c->head), sl_buf_len(&c->head)};

        struct sl_stream *below;

        if (sl_quic_stream_open(&below, q->streams) < 0)
            return;
        sl_link_remove(&c->link);
        sl_list_append(&q->carriers, &c->link);
        sl_carrier_use(c, below);
        (void)sl_stream_write(c->below, &iov, 1, c->s->fin_sent); /* over an earlier link */
        sl_buf_clear(&c->head);
        sl_carrier_update_read(c);
        sl_carrier_push_soon(c);
    }
}

static void on_datagram(void *user, const uint8_t *bytes, size_t len)
{
    struct sl_tunnel_quic *q = user;
    struct sl_tunnel *t = q->channel.link.tunnel;
    struct sl_frame f;

    if (t == NULL)
        return;
    if (len < SL_CARRIER_ID_LEN) {
        t->stats.frames_unknown++;
        return;
    }
    f = (struct sl_frame){.stream = sl_frame_u32(bytes),
                          .type = t->is_edge ? SL_FRAME_UDP_DATA_BACK : SL_FRAME_UDP_DATA,
                          .bytes = bytes + SL_CARRIER_ID_LEN,
                          .len = len - SL_CARRIER_ID_LEN};
    t->handler->on_frame(t->user, &f);
}

static void destroy(void *ptr)
{
    struct sl_tunnel_quic *q = ptr;

    sl_tunnel_channel_clear(&q->channel);
    sl_buf_clear(&q->datagram);
    sl_free(q);
}

static void on_closed(void *user, const struct sl_quic_end *end)
{
    struct sl_tunnel_quic *q = user;
    const char *why = end->reason[0] != '\0' ? end->reason : sl_error_text(end->code);

    q->conn = NULL;
    q->streams = NULL;
    if (q->handler != NULL)
        q->handler->on_closed(q->user, end->code, why);
    else if (q->channel.link.tunnel != NULL)
        sl_tunnel_detach(q->channel.link.tunnel, end->code, why);
    else
        sl_loop_defer(q->loop, q, destroy); /* freed before */
}

static const struct sl_quic_streams_handler streams_handler = {
    .on_ready = on_ready,
    .on_stream = on_stream,
    .on_more_streams = open_waiting,
    .on_datagram = on_datagram,
    .on_closed = on_closed,
};

/* --- what the tunnel asks for --- */

static void begin(struct sl_tunnel_quic *q, struct sl_tunnel_stream *s, bool is_resumed)
{
    struct sl_carrier *c = sl_carrier_new(q);
    uint8_t id[SL_CARRIER_ID_LEN];

    c->s = s;
    s->on_link = c;
    c->is_resumed = is_resumed;
    sl_frame_put_u32(id, s->id);
    if (s->tunnel->resumes)
        sl_buf_append(&c->head, id, sizeof(id));
    if (!is_resumed)
        sl_buf_append(&c->head, s->opening, s->n_opening);
    sl_list_append(&q->waiting, &c->link);
    open_waiting(q);
}

static void do_open(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    begin(quic_of(l), s, false);
}

static void do_go_on(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    if (l->tunnel->is_edge)
        begin(quic_of(l), s, true);
}

static void do_ready(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    (void)l;
    if (s->on_link != NULL)
        sl_carrier_push_soon(s->on_link);
}

static void do_read(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    struct sl_carrier *c = s->on_link;

    (void)l;
    if (c != NULL && c->below != NULL)
        sl_carrier_update_read(c);
}

static void do_credit(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, uint32_t n)
{
    if (l->tunnel->resumes)
        sl_tunnel_channel_put_credit(&quic_of(l)->channel, s, n);
}

/* The reset of a QUIC stream may come in place of its id. */
static void do_reset(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    const struct sl_carrier *c = s->on_link;

    if (l->tunnel->resumes && (c == NULL || c->below == NULL || c->is_resumed))
        sl_tunnel_channel_put_reset(&quic_of(l)->channel, s->id);
}

static void do_leave(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, bool is_complete)
{
    (void)l;
    if (s->on_link != NULL)
        sl_carrier_free(s->on_link, is_complete ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
}

static int send_datagram(struct sl_tunnel_quic *q, const struct sl_frame *f)
{
    uint8_t id[SL_CARRIER_ID_LEN];

    sl_frame_put_u32(id, f->stream);
    sl_buf_reset(&q->datagram);
    sl_buf_append(&q->datagram, id, sizeof(id));
    sl_buf_append(&q->datagram, f->bytes, f->len);
    return sl_quic_send_datagram(q->conn, sl_buf_at(&q->datagram), sl_buf_len(&q->datagram));
}

/* A datagram that is too large for QUIC becomes a frame, and is still one that may be dropped. */
static int do_send(struct sl_tunnel_link *l, const struct sl_frame *f)
{
    struct sl_tunnel_quic *q = quic_of(l);

    if (f->type == SL_FRAME_UDP_DATA || f->type == SL_FRAME_UDP_DATA_BACK) {
        int rc = send_datagram(q, f);

        if (rc != SL_E_LIMIT)
            return rc;
        if (sl_buf_len(&q->channel.control) + f->len > SL_CHANNEL_HIGH)
            return SL_E_AGAIN;
    }
    sl_tunnel_channel_put(&q->channel, f->stream, (enum sl_frame_type)f->type, f->bytes, f->len);
    return 0;
}

/* --- the control stream --- */

/* What we owe here is owed for bytes on other streams, which come whether this one moves or not. */
static void flush(struct sl_tunnel_channel *channel)
{
    struct sl_stream *below = channel->below;

    while (!below->is_writing && below->error == 0 && sl_buf_len(&channel->control) > 0) {
        (void)sl_stream_write1(below, sl_buf_at(&channel->control), sl_buf_len(&channel->control),
                               false);
        sl_tunnel_channel_sent(channel);
    }
    if (sl_buf_len(&channel->control) > CONTROL_MAX)
        sl_tunnel_detach(channel->link.tunnel, SL_E_LIMIT, "the peer takes no control frames");
}

/* Without a number that both sides know there is nothing to say of streams here. */
static int take(struct sl_tunnel_channel *channel, const struct sl_frame *f)
{
    struct sl_tunnel *t = channel->link.tunnel;
    bool is_reset = f->type == SL_FRAME_RESET;
    struct sl_tunnel_stream *s;

    if (!is_reset && f->type != SL_FRAME_WINDOW_UPDATE && f->type != SL_FRAME_WINDOW_UPDATE_BACK)
        return SL_E_PROTOCOL;
    s = t->resumes ? sl_tunnel_find(t, f->stream) : NULL;
    if (s == NULL)
        t->stats.frames_unknown++;
    else if (!is_reset)
        return sl_tunnel_channel_take_credit(s, f);
    else
        sl_tunnel_stream_fail(s, SL_E_RESET);
    return 0;
}

/* --- life --- */

struct sl_tunnel_quic *sl_tunnel_quic_new(struct sl_loop *loop,
                                          const struct sl_tunnel_quic_handler *handler, void *user)
{
    struct sl_tunnel_quic *q = sl_zalloc(sizeof(*q));

    q->loop = loop;
    q->handler = handler;
    q->user = user;
    q->next_opening = SL_OPENING_FIRST;
    q->streams = sl_quic_streams_new(&streams_handler, q);
    sl_list_init(&q->carriers);
    sl_list_init(&q->waiting);
    sl_list_init(&q->fresh);
    return q;
}

struct sl_quic_streams *sl_tunnel_quic_streams(const struct sl_tunnel_quic *q)
{
    return q->streams;
}

void sl_tunnel_quic_begin(struct sl_tunnel_quic *q, struct sl_quic_conn *conn)
{
    q->conn = conn;
    conn->app = &sl_quic_streams_app;
    conn->user = q->streams;
}

/* The end of the connection goes first, so that the peer does not take it for the end of each
 * stream. */
void sl_tunnel_quic_free(struct sl_tunnel_quic *q)
{
    if (q == NULL)
        return;
    q->handler = NULL;
    if (q->conn != NULL) {
        sl_quic_close(q->conn, 0, "");
    } else {
        sl_quic_streams_free(q->streams);
        sl_loop_defer(q->loop, q, destroy);
    }
    free_all(&q->carriers);
    free_all(&q->waiting);
    free_all(&q->fresh);
}

static void do_free(struct sl_tunnel_link *l)
{
    struct sl_tunnel_quic *q = quic_of(l);

    sl_tunnel_quic_free(q);
    sl_tunnel_channel_stop(&q->channel);
}

static const struct sl_tunnel_link_ops link_ops = {
    .open = do_open,
    .credit = do_credit,
    .ready = do_ready,
    .reset = do_reset,
    .send = do_send,
    .waiting = sl_tunnel_channel_waiting,
    .free = do_free,
    .go_on = do_go_on,
    .read = do_read,
    .leave = do_leave,
    .has_flow_control = true,
};

static const struct sl_tunnel_channel_ops channel_ops = {.flush = flush, .take = take};

int sl_tunnel_attach_quic(struct sl_tunnel *t, struct sl_tunnel_quic **quic,
                          struct sl_stream **control, const struct sl_tunnel_terms *terms,
                          const uint8_t *first, size_t n_first)
{
    struct sl_tunnel_quic *q = *quic;

    if (sl_tunnel_is_late(t, terms))
        return SL_E_REFUSED;
    *quic = NULL;
    q->handler = NULL;
    sl_quic_streams_limit(q->streams, t->budget.total / 4);
    q->channel.link.ops = &link_ops;
    q->channel.ops = &channel_ops;
    sl_tunnel_channel_attach(&q->channel, t, control, first, n_first);
    sl_tunnel_channel_begin(&q->channel, terms);
    if (q->channel.link.tunnel != NULL) /* what the edge says may be impossible */
        sl_opening_begin(q);
    return 0;
}
