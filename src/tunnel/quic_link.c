#include "tunnel/quic_link.h"

#include "codec/proxy_header.h"
#include "tunnel/channel.h"

enum {
    CONTROL_ID = 0,
    ID_STEP = 4, /* from one bidirectional stream of a client to the next (RFC 9000, section 2.1) */
    ID_LEN = 4,
    PIECES = 16,
    CONTROL_MAX = 4 << 20, /* waiting frames above which the peer is given up; RESUME fits */
};

struct sl_tunnel_quic {
    struct sl_tunnel_channel channel; /* since it is a link */
    struct sl_loop *loop;
    struct sl_quic_conn *conn;                    /* NULL before it began, and once it has ended */
    struct sl_quic_streams *streams;              /* NULL once it has ended */
    const struct sl_tunnel_quic_handler *handler; /* NULL once it is a link, or freed */
    void *user;
    struct sl_list carriers; /* those with a stream of the tunnel */
    struct sl_list waiting;  /* edge: the same, but the peer allows no more QUIC streams */
    struct sl_list fresh;    /* hub: those that have not said whose they are, by QUIC stream */
    size_t n_fresh;
    int64_t next; /* hub that resumes: the QUIC stream that may say it */
    struct sl_buf datagram;
};

/* One QUIC stream. Owner: the link; freed at the end of the turn. */
struct carrier {
    struct sl_link link; /* in one of the lists above */
    struct sl_tunnel_quic *quic;
    struct sl_stream *below;    /* NULL: not there yet, or no more */
    struct sl_tunnel_stream *s; /* NULL: fresh, or no more */
    int64_t id;                 /* of the QUIC stream */
    struct sl_buf head;         /* of the opening; edge: to be sent, hub: what came of it */
    struct sl_task_link pushing;
    struct sl_deadline deadline; /* for the opening */
    bool is_resumed;
};

static struct sl_tunnel_quic *quic_of(struct sl_tunnel_link *l)
{
    return sl_container_of(l, struct sl_tunnel_quic, channel.link);
}

static struct sl_tunnel *tunnel_of(const struct carrier *c)
{
    return c->quic->channel.link.tunnel;
}

/* --- life of a carrier --- */

static void on_opening_due(struct sl_deadline *d);

static struct carrier *carrier_new(struct sl_tunnel_quic *q)
{
    struct carrier *c = sl_zalloc(sizeof(*c));

    c->quic = q;
    sl_deadline_init(&c->deadline, q->loop, on_opening_due, c);
    return c;
}

static void destroy_carrier(void *ptr)
{
    struct carrier *c = ptr;

    sl_buf_clear(&c->head);
    sl_free(c);
}

static void carrier_free(struct carrier *c, enum sl_close how)
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

static void free_all(struct sl_list *list)
{
    sl_list_each(list, it)
    {
        carrier_free(sl_container_of(it, struct carrier, link), SL_CLOSE_ABORT);
    }
}

/* --- sending --- */

static size_t push_piece(struct carrier *c, size_t most)
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
    struct carrier *c = user;
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

static void push_soon(struct carrier *c)
{
    sl_loop_soon(c->quic->loop, &c->pushing, push, c);
}

/* --- receiving --- */

static void fail(struct sl_tunnel_quic *q, int code, const char *why)
{
    if (q->channel.link.tunnel != NULL)
        sl_tunnel_detach(q->channel.link.tunnel, code, why);
}

static void deliver(struct carrier *c, const uint8_t *bytes, size_t len)
{
    int rc = c->s != NULL ? sl_tunnel_stream_arrived(c->s, bytes, len) : 0;

    if (rc < 0)
        fail(c->quic, rc, "bytes behind the end of a stream");
}

static void update_read(struct carrier *c)
{
    sl_stream_read(c->below, sl_tunnel_stream_wants(c->s));
}

/* --- openings, at the hub --- */

static void await_opening(struct carrier *c)
{
    sl_deadline_set(&c->deadline, SL_TUNNEL_QUIC_OPENING_MS);
    sl_stream_read(c->below, true);
}

static bool is_awaited(const struct carrier *c)
{
    return c->deadline.due_ms != 0;
}

/* The stream has said what it is, or never will. */
static void leave_fresh(struct carrier *c)
{
    sl_link_remove(&c->link);
    sl_deadline_clear(&c->deadline);
    c->quic->n_fresh--;
    c->quic->next = c->id + ID_STEP;
}

/* Whose turn it is to say it. */
static void next_opening(struct sl_tunnel_quic *q)
{
    struct sl_link *it;

    while ((it = sl_list_first(&q->fresh)) != NULL) {
        struct carrier *c = sl_container_of(it, struct carrier, link);

        if (c->id != q->next || is_awaited(c))
            return;
        if (c->below != NULL) {
            await_opening(c);
            return;
        }
        leave_fresh(c);
        carrier_free(c, SL_CLOSE_ABORT);
    }
}

static void opening_is_over(struct carrier *c)
{
    leave_fresh(c);
    if (tunnel_of(c)->resumes)
        next_opening(c->quic);
}

static void refuse(struct carrier *c)
{
    opening_is_over(c);
    carrier_free(c, SL_CLOSE_ABORT);
}

static void carry(struct carrier *c, struct sl_tunnel_stream *s)
{
    opening_is_over(c);
    sl_list_append(&c->quic->carriers, &c->link);
    c->s = s;
    s->on_link = c;
}

/* A stream of an earlier link goes on; if it is no more, it ended here in the meantime. */
static int take_resumed(struct carrier *c, struct sl_tunnel_stream *s)
{
    if (s == NULL)
        return SL_E_REFUSED;
    if (s->on_link != NULL)
        return SL_E_PROTOCOL;
    c->is_resumed = true;
    carry(c, s);
    if (s->fin_sent) /* the edge has it already; here it is about the QUIC stream */
        (void)sl_stream_write(c->below, NULL, 0, true);
    update_read(c);
    push_soon(c);
    return ID_LEN;
}

/* `id` 0: the edge gives none. The handler may end everything in this call. */
static int take_new(struct carrier *c, uint32_t id, struct sl_str opening)
{
    struct sl_tunnel *t = tunnel_of(c);
    struct sl_tunnel_stream *s;
    int rc = sl_tunnel_admit(&s, t, t->resumes ? id : sl_tunnel_next_id(t));

    if (rc < 0)
        return rc;
    carry(c, s);
    update_read(c);
    t->handler->on_stream(t->user, &s->stream, opening);
    return (int)opening.len;
}

/* SL_E_REFUSED when it is none, which is the end of the stream alone. */
static int take_line(struct carrier *c, const uint8_t *at, size_t len, uint32_t id)
{
    struct sl_proxy_header header;
    const char *why;
    int n = sl_proxy_header_parse(at, len, &header, &why);

    if (n == SL_E_PARTIAL && len < SL_TUNNEL_OPENING_MAX)
        return 0;
    if (n < 0 || header.version != 1)
        return SL_E_REFUSED;
    return take_new(c, id, sl_str((const char *)at, (size_t)n));
}

/* The length of the opening, 0 when more of it is needed, SL_E_REFUSED, or why the link cannot go
 * on. */
static int take_opening(struct carrier *c)
{
    struct sl_tunnel *t = tunnel_of(c);
    const uint8_t *at = sl_buf_at(&c->head);
    size_t len = sl_buf_len(&c->head);
    uint32_t id;
    int n;

    if (!t->resumes)
        return take_line(c, at, len, 0);
    if (len < ID_LEN)
        return 0;
    id = sl_frame_u32(at);
    if (!sl_tunnel_is_unseen(t, id))
        return take_resumed(c, sl_tunnel_find(t, id));
    n = take_line(c, at + ID_LEN, len - ID_LEN, id);
    return n > 0 ? n + ID_LEN : n;
}

/* --- what a QUIC stream says --- */

static void on_opening_data(struct carrier *c, const uint8_t *bytes, size_t len)
{
    struct sl_buf head;
    int n;

    sl_buf_append(&c->head, bytes, len);
    n = take_opening(c);
    if (n == SL_E_REFUSED)
        refuse(c);
    else if (n < 0)
        fail(c->quic, n, "the id of a stream that is there already");
    if (n <= 0 || c->s == NULL)
        return;
    head = c->head; /* the holder may end everything while it reads */
    c->head = (struct sl_buf){0};
    sl_buf_consume(&head, (size_t)n);
    if (sl_buf_len(&head) > 0)
        deliver(c, sl_buf_at(&head), sl_buf_len(&head));
    sl_buf_clear(&head);
}

static void on_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    struct carrier *c = below->user;

    if (c->s == NULL)
        on_opening_data(c, bytes, len);
    else
        deliver(c, bytes, len);
}

static void on_fin(struct sl_stream *below)
{
    struct carrier *c = below->user;

    if (c->s == NULL)
        refuse(c);
    else if (!c->s->fin_arrived) /* else over an earlier link */
        sl_tunnel_stream_fin(c->s);
}

static void on_written(struct sl_stream *below)
{
    push(below->user);
}

/* A fresh one that ends before its turn keeps its place, since the next ones wait for it. */
static void on_error(struct sl_stream *below, int code)
{
    struct carrier *c = below->user;

    if (c->s != NULL)
        sl_tunnel_stream_fail(c->s, code);
    else if (is_awaited(c))
        refuse(c);
    else
        sl_stream_free(&c->below, SL_CLOSE_ABORT);
}

static const struct sl_stream_handler carrier_handler = {
    .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};

static void on_opening_due(struct sl_deadline *d)
{
    refuse(d->user);
}

/* --- what the connection says --- */

static struct carrier *add_fresh(struct sl_tunnel_quic *q, struct sl_stream *below)
{
    struct sl_link *before = &q->fresh.head;
    struct carrier *c = carrier_new(q);

    c->below = below;
    c->id = sl_quic_stream_id(below);
    sl_stream_set_handler(below, &carrier_handler, c);
    while (before->prev != &q->fresh.head &&
           sl_container_of(before->prev, struct carrier, link)->id > c->id)
        before = before->prev;
    sl_link_insert(before, &c->link);
    q->n_fresh++;
    return c;
}

/* Without the order of a tunnel that resumes they are all looked at at once. */
static void begin_openings(struct sl_tunnel_quic *q)
{
    if (q->channel.link.tunnel->resumes) {
        next_opening(q);
        return;
    }
    sl_list_each(&q->fresh, it)
    {
        struct carrier *c = sl_container_of(it, struct carrier, link);

        if (c->below == NULL)
            refuse(c);
        else
            await_opening(c);
    }
}

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
    struct carrier *c;

    if (!q->conn->is_server || (q->handler == NULL && t == NULL)) {
        sl_stream_free(&below, SL_CLOSE_ABORT);
        return;
    }
    if (sl_quic_stream_id(below) == CONTROL_ID && q->handler != NULL) {
        q->handler->on_control(q->user, below);
        return;
    }
    c = add_fresh(q, below);
    if (t == NULL && q->n_fresh > SL_TUNNEL_QUIC_EARLY)
        sl_quic_close(q->conn, 0, "too many streams before the greeting");
    else if (t != NULL && t->resumes)
        next_opening(q);
    else if (t != NULL)
        await_opening(c);
}

static void open_waiting(void *user)
{
    struct sl_tunnel_quic *q = user;
    struct sl_link *it;

    while (q->streams != NULL && (it = sl_list_first(&q->waiting)) != NULL) {
        struct carrier *c = sl_container_of(it, struct carrier, link);
        struct iovec iov = {sl_buf_at(&c->head), sl_buf_len(&c->head)};

        if (sl_quic_stream_open(&c->below, q->streams) < 0)
            return;
        sl_link_remove(&c->link);
        sl_list_append(&q->carriers, &c->link);
        sl_stream_set_handler(c->below, &carrier_handler, c);
        (void)sl_stream_write(c->below, &iov, 1, c->s->fin_sent); /* over an earlier link */
        sl_buf_clear(&c->head);
        update_read(c);
        push_soon(c);
    }
}

static void on_datagram(void *user, const uint8_t *bytes, size_t len)
{
    struct sl_tunnel_quic *q = user;
    struct sl_tunnel *t = q->channel.link.tunnel;
    struct sl_frame f;

    if (t == NULL)
        return;
    if (len < ID_LEN) {
        t->stats.frames_unknown++;
        return;
    }
    f = (struct sl_frame){.stream = sl_frame_u32(bytes),
                          .type = t->is_edge ? SL_FRAME_UDP_DATA_BACK : SL_FRAME_UDP_DATA,
                          .bytes = bytes + ID_LEN,
                          .len = len - ID_LEN};
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
    struct carrier *c = carrier_new(q);
    uint8_t id[ID_LEN];

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
        push_soon(s->on_link);
}

static void do_read(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    struct carrier *c = s->on_link;

    (void)l;
    if (c != NULL && c->below != NULL)
        update_read(c);
}

static void do_credit(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, uint32_t n)
{
    if (l->tunnel->resumes)
        sl_tunnel_channel_put_credit(&quic_of(l)->channel, s, n);
}

/* The reset of a QUIC stream may come in place of its id. */
static void do_reset(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    const struct carrier *c = s->on_link;

    if (l->tunnel->resumes && (c == NULL || c->below == NULL || c->is_resumed))
        sl_tunnel_channel_put_reset(&quic_of(l)->channel, s->id);
}

static void do_leave(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, bool is_complete)
{
    (void)l;
    if (s->on_link != NULL)
        carrier_free(s->on_link, is_complete ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
}

static int send_datagram(struct sl_tunnel_quic *q, const struct sl_frame *f)
{
    uint8_t id[ID_LEN];

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
    q->next = CONTROL_ID + ID_STEP;
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
    q->channel.link.ops = &link_ops;
    q->channel.ops = &channel_ops;
    sl_tunnel_channel_attach(&q->channel, t, control, first, n_first);
    sl_tunnel_channel_begin(&q->channel, terms);
    if (q->channel.link.tunnel != NULL) /* what the edge says may be impossible */
        begin_openings(q);
    return 0;
}
