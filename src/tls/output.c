#include "tls/conn.h"

enum {
    AREA_LEN = 64 * 1024, /* a block of our own, when the scratch buffer is taken */
    SMALL_RECORD = 4096,
    SMALL_TOTAL = 2 * SMALL_RECORD,
    IDLE_MS = 1000,
    DRAIN_MS = 5000,
};

void sl_tls_area_clear(struct sl_tls_area *area)
{
    if (area->is_heap)
        sl_free(area->base);
    *area = (struct sl_tls_area){0};
}

/* Where the part of the scratch buffer that `iov` lies in ends; 0 when it lies elsewhere. */
static size_t taken_len(const uint8_t *scratch, const struct iovec *iov, int n_iov)
{
    size_t taken = 0;

    for (int i = 0; i < n_iov; i++) {
        const uint8_t *base = iov[i].iov_base;

        if (iov[i].iov_len > 0 && base >= scratch && base < scratch + SL_SCRATCH_LEN)
            taken = SL_MAX(taken, (size_t)(base - scratch) + iov[i].iov_len);
    }
    return taken;
}

/* How much of the scratch buffer holds what TLS streams further up, whose writes have led to ours,
 * are handing down just now. */
static _Thread_local size_t n_handed_down;

/* A layer above may have put its bytes together in the same scratch buffer; then what is behind
 * them is used, and a block of our own when that is not enough. */
void sl_tls_choose_out(struct sl_tls_conn *t, const struct iovec *iov, int n_iov)
{
    uint8_t *scratch = sl_loop_scratch(t->stream.loop, 2);
    size_t taken = SL_MAX(taken_len(scratch, iov, n_iov), n_handed_down);

    sl_assert(t->out.base == NULL);
    if (SL_SCRATCH_LEN - taken >= AREA_LEN)
        t->out = (struct sl_tls_area){scratch + taken, 0, SL_SCRATCH_LEN - taken, false};
    else
        t->out = (struct sl_tls_area){sl_alloc(AREA_LEN), 0, AREA_LEN, true};
}

/* Gives bytes to the layer below, which is idle, and with the last of them our fin. */
static void push(struct sl_tls_conn *t, const uint8_t *bytes, size_t len)
{
    bool fin = t->stream.sent_fin && !t->passed_fin;
    size_t n_before = n_handed_down;
    struct iovec iov = {(void *)bytes, len};
    int rc;

    if (t->passed_fin || (len == 0 && !fin))
        return;
    t->passed_fin |= fin;
    n_handed_down = SL_MAX(n_before, taken_len(sl_loop_scratch(t->stream.loop, 2), &iov, 1));
    rc = sl_stream_write(t->below, &iov, len > 0, fin);
    n_handed_down = n_before;
    if (rc < 0 && rc != SL_E_AGAIN)
        sl_tls_fail(t, rc, NULL);
}

void sl_tls_hold(struct sl_tls_conn *t)
{
    sl_buf_append(&t->held_out, t->out.base, t->out.len);
    t->out.len = 0;
}

/* Moves on what was made, the held part first. */
static void pass_down(struct sl_tls_conn *t)
{
    if (t->below->is_writing || sl_buf_len(&t->held_out) > 0)
        sl_tls_hold(t);
    if (t->below->is_writing)
        return;
    if (sl_buf_len(&t->held_out) > 0) {
        push(t, sl_buf_at(&t->held_out), sl_buf_len(&t->held_out));
        sl_buf_clear(&t->held_out);
    } else {
        push(t, t->out.base, t->out.len);
    }
}

void sl_tls_flush(struct sl_tls_conn *t)
{
    if (!t->is_freed)
        pass_down(t);
    sl_tls_area_clear(&t->out);
}

/* On the way the fin must wait, since more bytes follow. */
uint8_t *sl_tls_out(struct sl_tls_conn *t, size_t len)
{
    if (t->out.base == NULL)
        sl_tls_choose_out(t, NULL, 0);
    sl_assert(len <= t->out.cap);
    if (t->out.cap - t->out.len < len) {
        if (!t->is_freed)
            pass_down(t);
        t->out.len = 0;
    }
    return t->out.base + t->out.len;
}

/* A large write after a pause begins with small records: the peer can use the first bytes as soon
 * as they arrive, while a full record takes more than the window a fresh or idle TCP connection may
 * send at once. The cost is two more records. */
size_t sl_tls_next_len(struct sl_tls_conn *t, const struct sl_tls_cursor *from)
{
    size_t len = SL_MIN(from->left, (size_t)SL_RECORD_PLAIN_MAX);
    uint64_t now = sl_loop_now_ms(t->stream.loop);

    if (from->left > SL_RECORD_PLAIN_MAX && now - t->last_write_ms >= IDLE_MS)
        t->n_small = SMALL_TOTAL;
    t->last_write_ms = now;
    if (t->n_small == 0)
        return len;
    len = SL_MIN(len, (size_t)SMALL_RECORD);
    t->n_small -= (uint32_t)SL_MIN(len, (size_t)t->n_small);
    return len;
}

void sl_tls_cursor_copy(struct sl_tls_cursor *from, uint8_t *out, size_t len)
{
    sl_assert(len <= from->left);
    from->left -= len;
    while (len > 0) {
        size_t n = SL_MIN(len, from->iov->iov_len - from->at);

        memcpy(out, (const uint8_t *)from->iov->iov_base + from->at, n);
        out += n;
        len -= n;
        from->at += n;
        if (from->at == from->iov->iov_len) {
            from->iov++;
            from->at = 0;
        }
    }
}

/* --- the last bytes of a stream that was freed while the layer below was busy --- */

struct drain {
    struct sl_stream *below;
    struct sl_buf rest;
    struct sl_deadline deadline;
    struct sl_task_link orphaned; /* nobody owns it: the loop ends it when it is freed first */
};

static void free_drain(void *ptr)
{
    struct drain *d = ptr;

    sl_buf_clear(&d->rest);
    sl_free(d);
}

static void end_drain(struct drain *d, enum sl_close how)
{
    struct sl_loop *loop = d->below->loop;

    sl_deadline_stop(&d->deadline);
    sl_loop_unsoon(&d->orphaned);
    sl_stream_free(&d->below, how);
    sl_loop_defer(loop, d, free_drain);
}

static void on_drain_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    (void)below; /* what arrives now is for nobody */
    (void)bytes;
    (void)len;
}

static void on_drain_fin(struct sl_stream *below)
{
    (void)below; /* it may still read */
}

static void on_drain_written(struct sl_stream *below)
{
    struct drain *d = below->user;

    sl_stream_write1(below, sl_buf_at(&d->rest), sl_buf_len(&d->rest), true);
    end_drain(d, SL_CLOSE_LINGER);
}

static void on_drain_error(struct sl_stream *below, int code)
{
    (void)code;
    end_drain(below->user, SL_CLOSE_ABORT);
}

static void on_drain_due(struct sl_deadline *deadline)
{
    end_drain(deadline->user, SL_CLOSE_ABORT);
}

static void abandon(void *user)
{
    end_drain(user, SL_CLOSE_ABORT);
}

static const struct sl_stream_handler drain_handler = {
    .on_data = on_drain_data,
    .on_fin = on_drain_fin,
    .on_written = on_drain_written,
    .on_error = on_drain_error,
};

void sl_tls_drain(struct sl_stream **below, struct sl_buf *rest)
{
    struct drain *d = sl_zalloc(sizeof(*d));

    d->below = *below;
    *below = NULL;
    d->rest = *rest;
    *rest = (struct sl_buf){0};
    sl_deadline_init(&d->deadline, d->below->loop, on_drain_due, d);
    sl_deadline_set(&d->deadline, DRAIN_MS);
    sl_stream_set_handler(d->below, &drain_handler, d);
    sl_loop_adopt(d->below->loop, &d->orphaned, abandon, d);
}
