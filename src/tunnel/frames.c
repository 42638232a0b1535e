#include "tunnel/frames.h"

#include "tunnel/internal.h"

enum { BATCH_FRAMES = 24, BATCH_PIECES = 64, DATA_PIECES = 4 };

struct frames {
    struct sl_tunnel_link link;
    struct sl_stream *below;
    struct sl_frame_reader reader;
    struct sl_buf control;   /* whole frames */
    struct sl_buf datagrams; /* whole frames */
    struct sl_flow datagram_flow;
    struct sl_task_link flushing;
    struct sl_buf first; /* what came with the handshake */
    struct sl_task_link reading_first;
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
    return sl_container_of(l, struct frames, link);
}

static void flush(void *user);

static void flush_soon(struct frames *f)
{
    sl_loop_soon(f->below->loop, &f->flushing, flush, f);
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
    struct sl_tunnel *t = f->link.tunnel;

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
    struct sl_tunnel *t = f->link.tunnel;
    struct sl_flow *flow;
    size_t most;

    if (sl_buf_len(&f->control) > 0)
        add(b, sl_buf_at(&f->control), sl_buf_len(&f->control));
    while (t->is_started && has_room(b) &&
           (flow = sl_schedule_next(&t->schedule, sl_loop_now_ms(t->loop), &most)) != NULL) {
        if (flow == &f->datagram_flow)
            add_datagrams(f, b, most);
        else
            add_stream(b, sl_container_of(flow, struct sl_tunnel_stream, flow), most);
    }
}

/* --- sending it --- */

static void update_read(struct frames *f)
{
    sl_stream_read(f->below, sl_buf_len(&f->control) < SL_FRAMES_CONTROL_HIGH);
}

/* The stream below has its own copy by now. */
static void let_go(struct frames *f, struct batch *b)
{
    sl_buf_clear(&f->control);
    sl_buf_consume(&f->datagrams, b->n_datagrams);
    if (sl_buf_len(&f->datagrams) == 0)
        sl_buf_clear(&f->datagrams);
    for (int i = 0; i < b->n_streams; i++) {
        if (b->streams[i]->tunnel != NULL) /* it may be in the batch twice */
            sl_tunnel_stream_sent(b->streams[i]);
    }
    update_read(f);
}

static void flush(void *user)
{
    struct frames *f = user;
    int rc = 0;

    while (rc == 0 && !f->below->is_writing && f->below->error == 0) {
        struct batch b;

        b.n_heads = b.n_iov = b.n_streams = 0;
        b.len = b.n_datagrams = 0;
        fill(f, &b);
        if (b.len == 0)
            return;
        rc = sl_stream_write(f->below, b.iov, b.n_iov, false);
        let_go(f, &b);
    }
}

/* --- what the tunnel asks for --- */

static void put_control(struct frames *f, uint32_t id, enum sl_frame_type type, const void *payload,
                        size_t len)
{
    uint8_t head[SL_FRAME_HEAD];

    sl_frame_head(head, id, type, (uint32_t)len);
    sl_buf_append(&f->control, head, sizeof(head));
    if (len > 0)
        sl_buf_append(&f->control, payload, len);
    flush_soon(f);
}

static void do_open(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    put_control(frames_of(l), s->id, SL_FRAME_OPEN, s->opening, s->n_opening);
}

static void do_ready(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    sl_schedule_ready(&l->tunnel->schedule, &s->flow);
    flush_soon(frames_of(l));
}

static void do_credit(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, uint32_t n)
{
    uint8_t payload[SL_FRAME_RECEIPT_LEN];
    size_t len = l->tunnel->resumes ? SL_FRAME_RECEIPT_LEN : SL_FRAME_CREDIT_LEN;

    sl_frame_put_u32(payload, n);
    sl_resume_put_u64(payload + SL_FRAME_CREDIT_LEN, sl_tunnel_stream_receipt(s));
    put_control(frames_of(l), s->id,
                l->tunnel->is_edge ? SL_FRAME_WINDOW_UPDATE : SL_FRAME_WINDOW_UPDATE_BACK, payload,
                len);
}

static void put_reset(struct frames *f, uint32_t id)
{
    static const uint8_t why[4]; /* nobody has asked for reasons yet */
    struct sl_tunnel *t = f->link.tunnel;

    if (t->is_original)
        put_control(f, id, t->is_edge ? SL_FRAME_CLOSE : SL_FRAME_CLOSE_BACK, NULL, 0);
    else
        put_control(f, id, SL_FRAME_RESET, why, sizeof(why));
}

static void do_reset(struct sl_tunnel_link *l, struct sl_tunnel_stream *s)
{
    put_reset(frames_of(l), s->id);
}

static int put_datagram(struct frames *f, const struct sl_frame *frame)
{
    uint8_t head[SL_FRAME_HEAD];

    if (sl_buf_len(&f->datagrams) + frame->len > SL_FRAMES_DATAGRAMS)
        return SL_E_AGAIN;
    sl_frame_head(head, frame->stream, (enum sl_frame_type)frame->type, (uint32_t)frame->len);
    sl_buf_append(&f->datagrams, head, sizeof(head));
    sl_buf_append(&f->datagrams, frame->bytes, frame->len);
    sl_schedule_ready(&f->link.tunnel->schedule, &f->datagram_flow);
    flush_soon(f);
    return 0;
}

static int do_send(struct sl_tunnel_link *l, const struct sl_frame *frame)
{
    if (frame->type == SL_FRAME_UDP_DATA || frame->type == SL_FRAME_UDP_DATA_BACK)
        return put_datagram(frames_of(l), frame);
    put_control(frames_of(l), frame->stream, (enum sl_frame_type)frame->type, frame->bytes,
                frame->len);
    return 0;
}

static size_t do_waiting(const struct sl_tunnel_link *l)
{
    return sl_buf_len(&sl_container_of(l, const struct frames, link)->control);
}

/* --- what arrives --- */

static int on_credit(struct sl_tunnel_stream *s, const struct sl_frame *frame)
{
    int rc = 0;

    if (frame->len >= SL_FRAME_RECEIPT_LEN && s->tunnel->resumes)
        rc = sl_tunnel_stream_acked(s, sl_resume_u64(frame->bytes + SL_FRAME_CREDIT_LEN));
    if (rc == 0 && frame->len >= SL_FRAME_CREDIT_LEN && s->tunnel != NULL)
        sl_tunnel_stream_credit(s, sl_frame_u32(frame->bytes));
    return rc;
}

/* A frame of a stream that is no more is no fault: it crossed our CLOSE or RESET on the way. */
static int take_stream_frame(struct frames *f, const struct sl_frame *frame)
{
    struct sl_tunnel *t = f->link.tunnel;
    struct sl_tunnel_stream *s = sl_tunnel_find(t, frame->stream);

    if (s == NULL) {
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
        return on_credit(s, frame);
    }
}

static int take_open(struct frames *f, const struct sl_frame *frame)
{
    int rc = sl_tunnel_opened(f->link.tunnel, frame->stream,
                              sl_str((const char *)frame->bytes, frame->len));

    if (rc != SL_E_REFUSED)
        return rc;
    put_reset(f, frame->stream);
    return 0;
}

/* Before this a link that replaces another carries nothing of the streams. */
static int take_resume(struct frames *f, const struct sl_frame *frame)
{
    struct sl_tunnel *t = f->link.tunnel;
    struct sl_resume peer;

    if (t->is_started || !t->resumes || sl_resume_parse(frame->bytes, frame->len, &peer) < 0 ||
        sl_tunnel_resumed(t, &peer) < 0)
        return SL_E_PROTOCOL;
    sl_tunnel_start(t);
    return 0;
}

/* The original may have types that nobody told us of; a sluice has announced all that it uses. */
static int take_unknown(struct sl_tunnel *t)
{
    t->stats.frames_unknown++;
    return t->is_original ? 0 : SL_E_PROTOCOL;
}

/* 0, or why the link cannot go on. */
static int take(struct frames *f, const struct sl_frame *frame)
{
    struct sl_tunnel *t = f->link.tunnel;
    unsigned peer = t->is_edge ? SL_FRAME_FROM_HUB : SL_FRAME_FROM_EDGE;

    if (sl_frame_senders(frame->type) == 0)
        return take_unknown(t);
    if (!(sl_frame_senders(frame->type) & peer))
        return SL_E_PROTOCOL;
    switch (frame->type) {
    case SL_FRAME_RESUME:
        return take_resume(f, frame);
    case SL_FRAME_OPEN:
        return take_open(f, frame);
    case SL_FRAME_CONFIG:
    case SL_FRAME_PING:
    case SL_FRAME_PONG:
    case SL_FRAME_UDP_OPEN:
    case SL_FRAME_UDP_DATA:
    case SL_FRAME_UDP_DATA_BACK:
    case SL_FRAME_UDP_CLOSE:
        t->handler->on_frame(t->user, frame);
        return 0;
    default:
        return take_stream_frame(f, frame);
    }
}

static const char *fault(int rc)
{
    return rc == SL_E_LIMIT ? "a frame or a stream is over its limit"
                            : "a frame that must not come here";
}

/* The handler may drop the link, or the tunnel with it, in any of these calls. */
static void take_all(struct frames *f, const uint8_t *bytes, size_t len)
{
    struct sl_frame frame;
    int rc = 1;

    while (rc > 0 && f->link.tunnel != NULL &&
           (rc = sl_frame_next(&f->reader, &bytes, &len, &frame)) > 0) {
        int code = take(f, &frame);

        rc = code < 0 ? code : 1;
    }
    if (rc < 0 && f->link.tunnel != NULL)
        sl_tunnel_detach(f->link.tunnel, rc, fault(rc));
}

static void on_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    take_all(below->user, bytes, len);
}

static void on_fin(struct sl_stream *below)
{
    struct frames *f = below->user;

    sl_tunnel_detach(f->link.tunnel, SL_E_CLOSED, "closed by the other side");
}

static void on_written(struct sl_stream *below)
{
    flush(below->user);
}

static void on_error(struct sl_stream *below, int code)
{
    struct frames *f = below->user;

    sl_tunnel_detach(f->link.tunnel, code, sl_error_text(code));
}

static const struct sl_stream_handler below_handler = {
    .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};

/* --- life --- */

static void destroy(void *ptr)
{
    struct frames *f = ptr;

    sl_frame_reader_clear(&f->reader);
    sl_buf_clear(&f->control);
    sl_buf_clear(&f->datagrams);
    sl_buf_clear(&f->first);
    sl_free(f);
}

static void do_free(struct sl_tunnel_link *l)
{
    struct frames *f = frames_of(l);
    struct sl_loop *loop = f->below->loop;

    sl_schedule_idle(&l->tunnel->schedule, &f->datagram_flow);
    l->tunnel = NULL;
    sl_loop_unsoon(&f->flushing);
    sl_loop_unsoon(&f->reading_first);
    sl_stream_free(&f->below, SL_CLOSE_ABORT);
    sl_loop_defer(loop, f, destroy);
}

static const struct sl_tunnel_link_ops link_ops = {
    .open = do_open,
    .ready = do_ready,
    .credit = do_credit,
    .reset = do_reset,
    .send = do_send,
    .waiting = do_waiting,
    .free = do_free,
};

/* At the end of the turn, so that nobody is called while the link is being made. */
static void read_first(void *user)
{
    struct frames *f = user;

    take_all(f, sl_buf_at(&f->first), sl_buf_len(&f->first));
    if (f->link.tunnel != NULL)
        update_read(f);
}

static struct frames *attach(struct sl_tunnel *t, struct sl_stream **below, const uint8_t *first,
                             size_t n_first)
{
    struct frames *f = sl_zalloc(sizeof(*f));

    f->link.ops = &link_ops;
    f->below = *below;
    *below = NULL;
    sl_flow_init(&f->datagram_flow, sl_loop_now_ms(t->loop));
    sl_stream_set_handler(f->below, &below_handler, f);
    sl_tunnel_attach(t, &f->link);
    if (n_first > 0)
        sl_buf_append(&f->first, first, n_first);
    sl_loop_soon(t->loop, &f->reading_first, read_first, f);
    return f;
}

void sl_tunnel_attach_frames(struct sl_tunnel *t, struct sl_stream **below, const uint8_t *first,
                             size_t n_first)
{
    (void)attach(t, below, first, n_first);
    sl_tunnel_start(t);
}

void sl_tunnel_resume_frames(struct sl_tunnel *t, struct sl_stream **below,
                             const struct sl_resume *peer, const uint8_t *first, size_t n_first)
{
    struct frames *f = attach(t, below, first, n_first);
    struct sl_buf ours = {0};

    sl_assert(t->resumes);
    sl_tunnel_describe(t, &ours);
    put_control(f, 0, SL_FRAME_RESUME, sl_buf_at(&ours), sl_buf_len(&ours));
    sl_buf_clear(&ours);
    if (peer != NULL && sl_tunnel_resumed(t, peer) == 0)
        sl_tunnel_start(t);
    else if (peer != NULL)
        sl_tunnel_detach(t, SL_E_PROTOCOL, "what the edge says of its streams cannot be true");
}
