#include "net/pair.h"

#include "base/buf.h"

struct end {
    struct sl_stream stream;
    struct end *peer;         /* NULL once it was freed */
    struct sl_buf in;         /* written by the peer, not read yet */
    struct sl_task_link task; /* the only place that calls back */
    size_t limit;
    bool has_fin;    /* the peer's fin stands behind `in` */
    bool is_drained; /* on_written() is due */
    bool is_freed;
};

static struct end *to_end(const struct sl_stream *s)
{
    return sl_container_of(s, struct end, stream);
}

static void run(void *user);

static void soon(struct end *e)
{
    sl_loop_soon(e->stream.loop, &e->task, run, e);
}

static void fail(struct end *e, int code)
{
    if (e->stream.error != 0)
        return;
    e->stream.error = code;
    e->stream.is_writing = false;
    sl_buf_clear(&e->in);
    soon(e);
}

/* The peer may write on once no more than the limit waits. */
static void wake_writer(struct end *e)
{
    struct end *peer = e->peer;

    if (peer == NULL || !peer->stream.is_writing || sl_buf_len(&e->in) > e->limit)
        return;
    peer->is_drained = true;
    soon(peer);
}

/* The bytes move to the scratch buffer first: the reader may make the peer write while it reads. */
static void deliver_data(struct end *e)
{
    uint8_t *batch = sl_loop_scratch(e->stream.loop, 0);
    size_t len = SL_MIN(sl_buf_len(&e->in), (size_t)SL_SCRATCH_LEN);

    memcpy(batch, sl_buf_at(&e->in), len);
    sl_buf_consume(&e->in, len);
    if (sl_buf_len(&e->in) == 0)
        sl_buf_clear(&e->in);
    wake_writer(e);
    e->stream.bytes_in += len;
    e->stream.handler->on_data(&e->stream, batch, len);
}

static void deliver(struct end *e)
{
    if (sl_buf_len(&e->in) > 0)
        deliver_data(e);
    if (e->is_freed || !e->stream.is_reading)
        return;
    if (sl_buf_len(&e->in) > 0) {
        soon(e);
    } else if (e->has_fin && !e->stream.got_fin) {
        e->stream.got_fin = true;
        e->stream.handler->on_fin(&e->stream);
    }
}

static void run(void *user)
{
    struct end *e = user;

    if (e->stream.error != 0) {
        e->stream.handler->on_error(&e->stream, e->stream.error);
        return;
    }
    if (e->is_drained) {
        e->is_drained = false;
        e->stream.is_writing = false;
        e->stream.handler->on_written(&e->stream);
    }
    if (!e->is_freed && e->stream.error == 0 && e->stream.is_reading)
        deliver(e);
}

static size_t put(struct end *to, const struct iovec *iov, int n_iov)
{
    size_t total = 0;

    for (int i = 0; i < n_iov; i++) {
        if (to != NULL)
            sl_buf_append(&to->in, iov[i].iov_base, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    return total;
}

static int pair_write(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin)
{
    struct end *e = to_end(s), *peer = e->peer;
    bool was_writing = s->is_writing;
    size_t total;

    sl_assert(!s->sent_fin);
    if (s->error != 0)
        return s->error;
    total = put(peer, iov, n_iov);
    sl_assert(!was_writing || total == 0);
    s->bytes_out += total;
    s->sent_fin = fin;
    if (peer == NULL)
        return 0;
    peer->has_fin = fin;
    if (peer->stream.is_reading)
        soon(peer);
    if (!was_writing && sl_buf_len(&peer->in) <= e->limit)
        return 0;
    s->is_writing = true;
    return SL_E_AGAIN;
}

static void pair_read(struct sl_stream *s, bool on)
{
    s->is_reading = on;
    if (on)
        soon(to_end(s));
}

static void destroy(void *ptr)
{
    struct end *e = ptr;

    sl_buf_clear(&e->in);
    sl_free(e);
}

static void pair_free(struct sl_stream *s, enum sl_close how)
{
    struct end *e = to_end(s), *peer = e->peer;

    e->is_freed = true;
    sl_loop_unsoon(&e->task);
    if (peer != NULL) {
        peer->peer = NULL;
        if (how == SL_CLOSE_ABORT && !(s->sent_fin && s->got_fin)) {
            fail(peer, SL_E_RESET);
        } else {
            peer->has_fin = true;
            peer->is_drained = peer->stream.is_writing;
            soon(peer);
        }
    }
    sl_loop_defer(s->loop, e, destroy);
}

static const struct sl_stream_ops pair_ops = {pair_write, pair_read, pair_free, NULL};

void sl_pair_new(struct sl_stream *ends[2], struct sl_loop *loop, size_t limit)
{
    struct end *made[2] = {sl_zalloc(sizeof(struct end)), sl_zalloc(sizeof(struct end))};

    for (int i = 0; i < 2; i++) {
        made[i]->stream.ops = &pair_ops;
        made[i]->stream.loop = loop;
        made[i]->limit = limit;
        made[i]->peer = made[1 - i];
        ends[i] = &made[i]->stream;
    }
}
