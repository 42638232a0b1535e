/*
 * One stream of a tunnel as its holder sees it. What is written waits in `out` until the link takes
 * it; what arrives goes straight to a holder that reads, else into `in`, which the window bounds.
 *
 * The holder is called from run_later() and by what the link delivers, never inside a call of his.
 * The stream is in the tunnel until both directions have ended or one end was abrupt; its memory
 * goes when the holder has freed it, too.
 */
#include "tunnel/internal.h"

enum {
    OUT_HIGH = 256 * 1024, /* unsent bytes above which the writer has to wait */
    OUT_HIGH_LEAST = 16 * 1024,
    OUT_PART = 8, /* of the budget, for what all streams have not sent; then each has less */
    /* For the next of what a holder has left who is gone. A slow peer gives credit seldom. */
    LINGER_MS = 300000,
    RECEIPT_AT = 256 * 1024, /* bytes that arrived until the peer is told at once */
    RECEIPT_MS = 1000,       /* and until it is told at all */
};

static void run_later(void *user);

static bool has_flow_control(const struct sl_tunnel *t)
{
    return t->link != NULL && t->link->ops->has_flow_control;
}

static void soon(struct sl_tunnel_stream *s)
{
    sl_loop_soon(s->stream.loop, &s->later, run_later, s);
}

/* --- begin and end --- */

static void destroy(void *ptr)
{
    struct sl_tunnel_stream *s = ptr;

    sl_sendq_clear(&s->out);
    sl_buf_clear(&s->in);
    sl_free(s->opening);
    sl_free(s);
}

/* Nobody holds it and the tunnel does not know it any more. */
static void bury(struct sl_tunnel_stream *s)
{
    sl_loop_unsoon(&s->later);
    sl_loop_defer(s->stream.loop, s, destroy);
}

/* Bytes that arrived since the last receipt. */
static uint64_t n_untold(const struct sl_tunnel_stream *s)
{
    return s->window.received - SL_MIN(s->told, s->window.received);
}

static void leave(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;

    if (t == NULL)
        return;
    if (t->link != NULL && t->link->ops->leave != NULL)
        t->link->ops->leave(t->link, s, s->fin_acked && s->fin_arrived);
    s->tunnel = NULL;
    sl_schedule_idle(&t->schedule, &s->flow);
    sl_window_close(&s->window, &t->budget);
    t->budget.held -= sl_sendq_len(&s->out);
    t->n_untold -= n_untold(s);
    sl_deadline_stop(&s->deadline);
    sl_map_remove(&t->by_id, sl_str((const char *)s->key, sizeof(s->key)));
    sl_link_remove(&s->link);
    if (t->handler->on_left != NULL)
        t->handler->on_left(t->user, s->id);
}

/* Both directions have ended, and nothing of them waits here. */
static void settle(struct sl_tunnel_stream *s)
{
    if (s->tunnel == NULL || !s->fin_acked || !s->fin_arrived || sl_buf_len(&s->in) > 0)
        return;
    leave(s);
    if (s->is_orphan)
        bury(s);
}

static void reset(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;

    t->stats.streams_reset++;
    if (t->link != NULL && s->is_opened)
        t->link->ops->reset(t->link, s);
    leave(s);
}

/* The peer takes the rest in its own time, as long as it takes some of it. */
static void go_on_lingering(struct sl_tunnel_stream *s)
{
    if (s->is_orphan)
        sl_deadline_set(&s->deadline, LINGER_MS);
}

/* Between two links it can take nothing; it is for the tunnel to give up then. */
static void on_linger_due(struct sl_deadline *d)
{
    struct sl_tunnel_stream *s = d->user;

    if (!sl_tunnel_is_up(s->tunnel)) {
        go_on_lingering(s);
        return;
    }
    reset(s);
    bury(s);
}

void sl_tunnel_stream_open_windows(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;
    uint32_t first = !t->resumes && !has_flow_control(t) ? SL_WINDOW_MAX : SL_WINDOW_FIRST;

    sl_window_close(&s->window, &t->budget);
    sl_window_open(&s->window, &t->budget, first);
    s->window.is_eager = !t->resumes;
    s->credit = first;
}

struct sl_tunnel_stream *sl_tunnel_stream_new(struct sl_tunnel *t, uint32_t id)
{
    struct sl_tunnel_stream *s = sl_zalloc(sizeof(*s));

    s->stream.ops = &sl_tunnel_stream_ops;
    s->stream.loop = t->loop;
    s->tunnel = t;
    s->id = id;
    sl_frame_put_u32(s->key, id);
    sl_flow_init(&s->flow, sl_loop_now_ms(t->loop));
    sl_deadline_init(&s->deadline, t->loop, on_linger_due, s);
    sl_window_open(&s->window, &t->budget, 0);
    sl_tunnel_stream_open_windows(s);
    *sl_map_at(&t->by_id, sl_str((const char *)s->key, sizeof(s->key))) = s;
    sl_list_append(&t->streams, &s->link);
    t->stats.streams_opened++;
    return s;
}

/* --- receipts --- */

uint64_t sl_tunnel_stream_receipt(struct sl_tunnel_stream *s)
{
    s->tunnel->n_untold -= n_untold(s);
    s->told = s->window.received + s->fin_arrived;
    return s->told;
}

/* Soon, so that the peer does not keep for long what it needs no more; at once when it is much, of
 * this stream or of all of them, or the last of it. */
static void owe_receipt(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;

    if (!t->resumes || t->link == NULL)
        return;
    if (s->fin_arrived || s->window.received - s->told >= RECEIPT_AT)
        t->link->ops->credit(t->link, s, 0);
    else if (t->n_untold >= SL_TUNNEL_UNTOLD_MAX)
        sl_tunnel_tell_receipts(t);
    else if (t->receipts.due_ms == 0)
        sl_deadline_set(&t->receipts, RECEIPT_MS);
}

static void drop_acked(struct sl_tunnel_stream *s, size_t n)
{
    sl_sendq_acked(&s->out, n);
    s->tunnel->budget.held -= n;
}

int sl_tunnel_stream_acked(struct sl_tunnel_stream *s, uint64_t receipt)
{
    uint64_t sent = s->out_base + s->out.n_unacked, n_new = receipt - s->out_base;

    if (receipt < s->out_base || receipt > sent + s->fin_sent)
        return SL_E_PROTOCOL;
    sl_free(s->opening); /* it has been seen there */
    s->opening = NULL;
    s->fin_acked = receipt > sent;
    n_new -= s->fin_acked;
    drop_acked(s, (size_t)n_new);
    s->out_base += n_new;
    if (n_new > 0)
        go_on_lingering(s);
    settle(s);
    return 0;
}

void sl_tunnel_stream_rewind(struct sl_tunnel_stream *s, uint64_t granted)
{
    sl_sendq_rewind(&s->out);
    s->fin_sent = s->fin_acked;
    s->credit = granted > s->out_base ? granted - s->out_base : 0;
}

/* --- in --- */

bool sl_tunnel_stream_wants(const struct sl_tunnel_stream *s)
{
    return s->is_orphan || (s->stream.is_reading && sl_buf_len(&s->in) == 0);
}

static void tell_reading(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;

    if (t != NULL && t->link != NULL && t->link->ops->read != NULL)
        t->link->ops->read(t->link, s);
}

/* The holder has these bytes, or nobody wants them: the peer may send as many again. */
static void pass(struct sl_tunnel_stream *s, size_t n)
{
    struct sl_tunnel *t = s->tunnel;
    uint32_t credit;

    if (t == NULL)
        return;
    if (has_flow_control(t)) {
        sl_window_pass_granted(&s->window, &t->budget, n);
        return;
    }
    credit = sl_window_pass(&s->window, &t->budget, n);
    if (credit > 0 && !s->fin_arrived && t->link != NULL)
        t->link->ops->credit(t->link, s, credit);
}

static void hand_over(struct sl_tunnel_stream *s, const uint8_t *bytes, size_t len)
{
    s->stream.bytes_in += len;
    pass(s, len);
    s->stream.handler->on_data(&s->stream, bytes, len);
}

/* What waited; the fin behind it. */
static void deliver(struct sl_tunnel_stream *s)
{
    size_t len = SL_MIN(sl_buf_len(&s->in), (size_t)SL_SCRATCH_LEN);

    if (len > 0) {
        const uint8_t *bytes = sl_buf_at(&s->in);

        sl_buf_consume(&s->in, len); /* which leaves them where they are */
        hand_over(s, bytes, len);
        if (s->is_orphan || s->stream.error != 0)
            return;
    }
    if (sl_buf_len(&s->in) > 0) {
        soon(s);
        return;
    }
    sl_buf_clear(&s->in);
    tell_reading(s);
    if (s->fin_arrived && !s->stream.got_fin && s->stream.is_reading) {
        s->stream.got_fin = true;
        settle(s);
        s->stream.handler->on_fin(&s->stream);
    }
}

static void run_later(void *user)
{
    struct sl_tunnel_stream *s = user;

    if (s->stream.error != 0) {
        s->stream.handler->on_error(&s->stream, s->stream.error);
        return;
    }
    if (s->is_drained) {
        s->is_drained = false;
        s->stream.is_writing = false;
        s->stream.handler->on_written(&s->stream);
    }
    if (!s->is_orphan && s->stream.error == 0 && s->stream.is_reading)
        deliver(s);
}

static void keep(struct sl_tunnel_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&s->in, bytes, len);
    sl_tunnel_shed(s->tunnel);
}

int sl_tunnel_stream_arrived(struct sl_tunnel_stream *s, const uint8_t *bytes, size_t len)
{
    int rc;

    if (has_flow_control(s->tunnel))
        sl_window_grant(&s->window, &s->tunnel->budget, len);
    rc = s->fin_arrived ? SL_E_PROTOCOL : sl_window_receive(&s->window, &s->tunnel->budget, len);
    if (rc < 0 || len == 0)
        return rc;
    s->tunnel->stats.bytes_in += len;
    s->tunnel->n_untold += len;
    owe_receipt(s);
    if (s->is_orphan)
        pass(s, len);
    else if (s->stream.is_reading && sl_buf_len(&s->in) == 0)
        hand_over(s, bytes, len);
    else
        keep(s, bytes, len);
    return 0;
}

void sl_tunnel_stream_fin(struct sl_tunnel_stream *s)
{
    s->fin_arrived = true;
    owe_receipt(s);
    if (!s->is_orphan && s->stream.is_reading)
        soon(s);
    settle(s);
}

void sl_tunnel_stream_fail(struct sl_tunnel_stream *s, int code)
{
    leave(s);
    s->stream.error = code;
    s->stream.is_writing = false;
    sl_buf_reset(&s->in); /* the holder may be reading these bytes just now */
    sl_sendq_clear(&s->out);
    if (s->is_orphan)
        bury(s);
    else
        soon(s);
}

/* --- out --- */

/* A link with a flow control of its own is not held back by credit, but what the peer has not said
 * to have is kept, and has a bound. */
size_t sl_tunnel_stream_sendable(const struct sl_tunnel_stream *s)
{
    if (s->tunnel != NULL && has_flow_control(s->tunnel))
        return SL_MIN(s->out.n_unsent,
                      SL_WINDOW_MAX - SL_MIN(s->out.n_unacked, (size_t)SL_WINDOW_MAX));
    return (size_t)SL_MIN(s->credit, (uint64_t)s->out.n_unsent);
}

/* Unsent bytes above which the writer has to wait; so he does until half of them are sent. */
static size_t out_high(const struct sl_tunnel_stream *s)
{
    const struct sl_window_budget *b = &s->tunnel->budget;
    uint64_t share = b->total / OUT_PART / b->n_streams;

    if (sl_window_is_scarce(b))
        return 0;
    return (size_t)SL_MIN(SL_MAX(share, (uint64_t)OUT_HIGH_LEAST), (uint64_t)OUT_HIGH);
}

static void tell_ready(struct sl_tunnel_stream *s)
{
    struct sl_tunnel *t = s->tunnel;
    bool is_end_due = s->stream.sent_fin && !s->fin_sent && s->out.n_unsent == 0;

    if (t != NULL && t->link != NULL && (is_end_due || sl_tunnel_stream_sendable(s) > 0))
        t->link->ops->ready(t->link, s);
}

void sl_tunnel_stream_credit(struct sl_tunnel_stream *s, uint32_t n)
{
    s->credit = sl_window_add(s->credit, n);
    tell_ready(s);
}

void sl_tunnel_stream_sent(struct sl_tunnel_stream *s)
{
    if (!s->tunnel->resumes) {
        drop_acked(s, s->out.n_unacked);
        s->fin_acked = s->fin_sent;
    }
    if (s->stream.is_writing && !s->is_orphan && s->out.n_unsent <= out_high(s) / 2) {
        s->is_drained = true;
        soon(s);
    }
    go_on_lingering(s);
    settle(s);
}

static void append(struct sl_tunnel_stream *s, const struct iovec *iov, int n_iov)
{
    size_t n_before = s->out.n_unsent, n;

    sl_sendq_append(&s->out, iov, n_iov);
    n = s->out.n_unsent - n_before;
    sl_assert(!s->stream.is_writing || n == 0);
    s->stream.bytes_out += n;
    s->tunnel->budget.held += n;
}

static int do_write(struct sl_stream *stream, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_tunnel_stream *s = sl_tunnel_stream_of(stream);

    sl_assert(!stream->sent_fin);
    if (stream->error != 0)
        return stream->error;
    append(s, iov, n_iov);
    stream->sent_fin = fin;
    tell_ready(s);
    sl_tunnel_shed(s->tunnel);
    if (stream->error != 0)
        return stream->error;
    if (!stream->is_writing && s->out.n_unsent <= out_high(s))
        return 0;
    stream->is_writing = true;
    return SL_E_AGAIN;
}

static void do_read(struct sl_stream *stream, bool on)
{
    stream->is_reading = on;
    tell_reading(sl_tunnel_stream_of(stream));
    if (on)
        soon(sl_tunnel_stream_of(stream));
}

/* The rest goes out by itself. */
static void linger(struct sl_tunnel_stream *s)
{
    size_t n_waiting = sl_buf_len(&s->in);

    sl_buf_reset(&s->in); /* the holder may be reading these bytes just now */
    pass(s, n_waiting);
    tell_reading(s);
    go_on_lingering(s);
    if (!s->stream.sent_fin)
        (void)do_write(&s->stream, NULL, 0, true);
    settle(s);
}

static void do_free(struct sl_stream *stream, enum sl_close how)
{
    struct sl_tunnel_stream *s = sl_tunnel_stream_of(stream);
    bool is_over = stream->sent_fin && stream->got_fin;

    sl_loop_unsoon(&s->later);
    s->is_orphan = true;
    if (s->tunnel == NULL) {
        bury(s);
    } else if (how == SL_CLOSE_LINGER || is_over) {
        linger(s);
    } else {
        reset(s);
        bury(s);
    }
}

const struct sl_stream_ops sl_tunnel_stream_ops = {do_write, do_read, do_free, NULL};
