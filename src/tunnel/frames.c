#include "tunnel/frames.h"

#include "net/tcp.h"
#include "tunnel/channel.h"

enum { BATCH_FRAMES = 24, BATCH_PIECES = 64, DATA_PIECES = 4 };

struct frames {
    struct sl_tunnel_channel channel;
    struct sl_buf datagrams; /* whole frames */
    struct sl_flow datagram_flow;
};

/* What goes out in one write: pieces of the control buffer, of the streams' queues, and headers. */
struct batch {
    uint8_t heads[BATCH_FRAMES][SL_FRAME_HEAD];
    struct iovec iov[BATCH_PIECES];
    struct sl_tunnel_stream *streams[BATCH_FRAMES]; /* whose bytes it holds */
    int n_heads, n_iov, n_streams;
    size_t len, n_datagrams;
};

static struct frames *frames_of(struct sl_tunnel_link *l)
{
    return sl_container_of(l, struct frames, channel.link);
}

/* --- putting a batch together --- */

static void add(struct batch *b, const void *bytes, size_t len)
{
    b->iov[b->n_iov++] = (struct iovec){(void *)bytes, len};
    b->len += len;
}

static void add_head(struct batch *b, uint32_t id, enum sl_frame_type type, size_t len)
{
    uint8_t *head = b->heads[b->n_heads++];

    sl_frame_head(head, id, type, (uint32_t)len);
    add(b, head, SL_FRAME_HEAD);
}

/* Room for a turn of a stream: DATA with its pieces, and CLOSE. */
static bool has_room(const struct batch *b)
{
    return b->len < SL_FRAMES_BATCH && b->n_heads + 2 <= BATCH_FRAMES &&
           b->n_iov + DATA_PIECES + 3 <= BATCH_PIECES && b->n_streams < BATCH_FRAMES;
}

static size_t sum(const struct iovec *iov, int n)
{
    size_t total = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    return total;
}

static size_t add_data(struct batch *b, struct sl_tunnel_stream *s, size_t most)
{
    struct iovec pieces[DATA_PIECES];
    size_t n = SL_MIN(most, sl_tunnel_stream_sendable(s));
    int n_pieces = n > 0 ? sl_sendq_peek(&s->out, pieces, DATA_PIECES, n) : 0;

    n = sum(pieces, n_pieces);
    if (n == 0)
        return 0;
    add_head(b, s->id, s->tunnel->is_edge ? SL_FRAME_DATA : SL_FRAME_DATA_BACK, n);
    for (int i = 0; i < n_pieces; i++)
        add(b, pieces[i].iov_base, pieces[i].iov_len);
    sl_sendq_sent(&s->out, n);
    s->credit -= n;
    s->tunnel->stats.bytes_out += n;
    return n;
}

/* CLOSE travels behind the last byte, never before it. */
static void add_close(struct batch *b, struct sl_tunnel_stream *s)
{
    if (!s->stream.sent_fin || s->fin_sent || s->out.n_unsent > 0)
        return;
    add_head(b, s->id, s->tunnel->is_edge ? SL_FRAME_CLOSE : SL_FRAME_CLOSE_BACK, 0);
    s->fin_sent = true;
}

static void add_stream(struct batch *b, struct sl_tunnel_stream *s, size_t most)
{
    struct sl_tunnel *t = s->tunnel;
    size_t n = add_data(b, s, most);

    add_close(b, s);
    sl_schedule_sent(&t->schedule, &s->flow, n, sl_tunnel_stream_sendable(s) > 0,
                     sl_loop_now_ms(t->loop));
    b->streams[b->n_streams++] = s;
}

/* As many whole frames of datagrams as fit, at least one. */
static void add_datagrams(struct frames *f, struct batch *b, size_t most)
{
    const uint8_t *at = sl_buf_at(&f->datagrams) + b->n_datagrams;
    size_t left = sl_buf_len(&f->datagrams) - b->n_datagrams, n = 0;
    struct sl_tunnel *t = f->channel.link.tunnel;

    while (n < left) {
        size_t frame = SL_FRAME_HEAD + sl_frame_u32(at + n + 5);

        if (n > 0 && n + frame > most)
            break;
        n += frame;
    }
    add(b, at, n);
    b->n_datagrams += n;
    sl_schedule_sent(&t->schedule, &f->datagram_flow, n, n < left, sl_loop_now_ms(t->loop));
}

static void fill(struct frames *f, struct batch *b)
{
    struct sl_tunnel *t = f->channel.link.tunnel;
    struct sl_flow *flow;
    size_t most;

    if (sl_buf_len(&f->channel.control) > 0)
        add(b, sl_buf_at(&f->channel.control), sl_buf_len(&f->channel.control));
    while (t->is_started && has_room(b) &&
           (flow = sl_schedule_next(&t->schedule, sl_loop_now_ms(t->loop), &most)) != NULL) {
        if (flow == &f->datagram_flow)
            add_datagrams(f, b, most);
        else
            add_stream(b, sl_container_of(flow, struct sl_tunnel_stream, flow), most);
    }
}

/* --- sending it --- */

/* The stream below has its own copy by now. */
static void let_go(struct frames *f, struct batch *b)
{
    sl_tunnel_channel_sent(&f->channel);
    sl_buf_consume(&f->datagrams, b->n_datagrams);
    if (sl_buf_len(&f->datagrams) == 0)
        sl_buf_clear(&f->datagrams);
    for (int i = 0; i < b->n_streams; i++) {
        if (b->streams[i]->tunnel != NULL) /* it may be in the batch twice */
            sl_tunnel_stream_sent(b->streams[i]);
    }
}

static void flush(struct sl_tunnel_channel *c)
{
    struct frames *f = sl_container_of(c, struct frames, channel);
    int rc = 0;

    while (rc == 0 && !c->below->is_writing && c->below->error == 0) {
        struct batch b;

        b.n_heads = b.n_iov = b.n_streams = 0;
        b.len = b.n_datagrams = 0;
        fill(f, &b);
        if (b.len == 0)
            return;
        rc = sl_stream_write(c->below, b.iov, b.n_iov, false);
        let_go(f, &b);
    }
}

/* --- what the tunnel asks for --- */

static void do_open(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    sl_tunnel_channel_put(sl_tunnel_channel_of(l), s->id, SL_FRAME_OPEN, s->opening, s->n_opening);
}

static void do_ready(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    sl_schedule_ready(&l->tunnel->schedule, &s->flow);
    sl_tunnel_channel_flush_soon(sl_tunnel_channel_of(l));
}

static void do_credit(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, uint32_t n)
{
    sl_tunnel_channel_put_credit(sl_tunnel_channel_of(l), s, n);
}

/* The original knows no RESET. */
static void put_reset(struct sl_tunnel_channel *c, uint32_t id)
{
    const struct sl_tunnel *t = c->link.tunnel;

    if (!t->resumes)
        sl_tunnel_channel_put(c, id, t->is_edge ? SL_FRAME_CLOSE : SL_FRAME_CLOSE_BACK, NULL, 0);
    else
        sl_tunnel_channel_put_reset(c, id);
}

static void do_reset(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    put_reset(sl_tunnel_channel_of(l), s->id);
}

static int put_datagram(struct frames *f, const struct sl_frame *frame)
{
    uint8_t head[SL_FRAME_HEAD];

    if (sl_buf_len(&f->datagrams) + frame->len > SL_FRAMES_DATAGRAMS)
        return SL_E_AGAIN;
    sl_frame_head(head, frame->stream, (enum sl_frame_type)frame->type, (uint32_t)frame->len);
    sl_buf_append(&f->datagrams, head, sizeof(head));
    sl_buf_append(&f->datagrams, frame->bytes, frame->len);
    sl_schedule_ready(&f->channel.link.tunnel->schedule, &f->datagram_flow);
    sl_tunnel_channel_flush_soon(&f->channel);
    return 0;
}

static int do_send(struct sl_tunnel_link *l, const struct sl_frame *frame)
{
    if (frame->type == SL_FRAME_UDP_DATA || frame->type == SL_FRAME_UDP_DATA_BACK)
        return put_datagram(frames_of(l), frame);
    sl_tunnel_channel_put(sl_tunnel_channel_of(l), frame->stream, (enum sl_frame_type)frame->type,
                          frame->bytes, frame->len);
    return 0;
}

/* --- what arrives --- */

static int take_open(struct sl_tunnel_channel *c, const struct sl_frame *frame)
{
    int rc = sl_tunnel_opened(c->link.tunnel, frame->stream,
                              sl_str((const char *)frame->bytes, frame->len));

    if (rc != SL_E_REFUSED)
        return rc;
    put_reset(c, frame->stream);
    return 0;
}

/* A frame of a stream that is no more is no fault: it crossed our CLOSE or RESET on the way. */
static int take(struct sl_tunnel_channel *c, const struct sl_frame *frame)
{
    struct sl_tunnel *t = c->link.tunnel;
    struct sl_tunnel_stream *s;

    if (frame->type == SL_FRAME_OPEN)
        return take_open(c, frame);
    if ((s = sl_tunnel_find(t, frame->stream)) == NULL) {
        t->stats.frames_unknown++;
        return 0;
    }
    switch (frame->type) {
    case SL_FRAME_DATA:
    case SL_FRAME_DATA_BACK:
        return sl_tunnel_stream_arrived(s, frame->bytes, frame->len);
    case SL_FRAME_CLOSE:
    case SL_FRAME_CLOSE_BACK:
        sl_tunnel_stream_fin(s);
        return 0;
    case SL_FRAME_RESET:
        sl_tunnel_stream_fail(s, SL_E_RESET);
        return 0;
    default:
        return sl_tunnel_channel_take_credit(s, frame);
    }
}

/* --- life --- */

static void destroy(void *ptr)
{
    struct frames *f = ptr;

    sl_tunnel_channel_clear(&f->channel);
    sl_buf_clear(&f->datagrams);
    sl_free(f);
}

static void do_free(struct sl_tunnel_link *l)
{
    struct frames *f = frames_of(l);
    struct sl_tunnel *t = l->tunnel;

    sl_schedule_idle(&t->schedule, &f->datagram_flow);
    sl_tunnel_channel_stop(&f->channel);
    sl_loop_defer(t->loop, f, destroy);
}

static const struct sl_tunnel_link_ops link_ops = {
    .open = do_open,
    .ready = do_ready,
    .credit = do_credit,
    .reset = do_reset,
    .send = do_send,
    .waiting = sl_tunnel_channel_waiting,
    .free = do_free,
};

static const struct sl_tunnel_channel_ops channel_ops = {.flush = flush, .take = take};

static void limit_unsent(const struct sl_stream *s)
{
    for (const struct sl_stream *below; (below = sl_stream_below(s)) != NULL;)
        s = below;
    (void)sl_tcp_limit_unsent(s, SL_FRAMES_UNSENT); /* memory in tests, and needs none */
}

int sl_tunnel_attach_frames(struct sl_tunnel *t, struct sl_stream **below,
                            const struct sl_tunnel_terms *terms, const uint8_t *first,
                            size_t n_first)
{
    struct frames *f;

    if (sl_tunnel_is_late(t, terms))
        return SL_E_REFUSED;
    f = sl_zalloc(sizeof(*f));
    f->channel.link.ops = &link_ops;
    f->channel.ops = &channel_ops;
    sl_flow_init(&f->datagram_flow, sl_loop_now_ms(t->loop));
    limit_unsent(*below);
    sl_tunnel_channel_attach(&f->channel, t, below, first, n_first);
    sl_tunnel_channel_begin(&f->channel, terms);
    return 0;
}
