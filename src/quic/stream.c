#include "quic/stream_internal.h"

enum {
    LOW = SL_QUIC_STREAM_HIGH / 2, /* unsent bytes at which a writer goes on */
    LINGER_MS = 5000,              /* how long the peer may take no byte of our last ones */
    LINGER_BYTES = 1 << 20,        /* and how much input is swallowed meanwhile */
};

static const struct sl_stream_ops stream_ops;

static struct sl_qstream *to_stream(const struct sl_stream *s)
{
    return sl_container_of(s, struct sl_qstream, stream);
}

/* --- the end of a stream --- */

static void destroy(void *ptr)
{
    struct sl_qstream *s = ptr;

    sl_sendq_clear(&s->out);
    sl_buf_clear(&s->in);
    sl_free(s);
}

static void dispose(struct sl_qstream *s)
{
    if (s->is_freed)
        return;
    s->is_freed = true;
    sl_loop_unsoon(&s->task);
    sl_deadline_stop(&s->deadline);
    sl_loop_defer(s->stream.loop, s, destroy);
}

/* --- credit --- */

/* `n` bytes of `in` are gone. */
static void give_credit(struct sl_qstream *s, size_t n)
{
    struct sl_quic_streams *o = s->owner;
    size_t late;

    if (o == NULL || n == 0)
        return;
    late = SL_MIN(n, o->n_withheld);
    o->n_held -= n;
    o->n_withheld -= late;
    sl_quic_consume_stream(o->conn, s->id, n);
    if (late > 0)
        sl_quic_consume(o->conn, -1, late);
}

static void drop_input(struct sl_qstream *s)
{
    give_credit(s, sl_buf_len(&s->in));
    sl_buf_clear(&s->in);
}

static struct sl_qstream *find_greediest(const struct sl_quic_streams *o)
{
    struct sl_qstream *most = NULL;

    sl_list_each(&o->all, it)
    {
        struct sl_qstream *s = sl_container_of(it, struct sl_qstream, all);

        if (sl_buf_len(&s->in) > (most != NULL ? sl_buf_len(&most->in) : 0))
            most = s;
    }
    return most;
}

static void shed(struct sl_quic_streams *o)
{
    struct sl_qstream *s;

    while (o->max_held > 0 && o->n_held > o->max_held && (s = find_greediest(o)) != NULL)
        sl_qstream_fail(s, SL_E_LIMIT);
}

/* Credit of the connection is given at once, so that one reader does not hold up all. */
static void hold(struct sl_qstream *s, const uint8_t *bytes, size_t len)
{
    struct sl_quic_streams *o = s->owner;

    sl_buf_append(&s->in, bytes, len);
    o->n_held += len;
    if (o->max_held == 0 && o->n_held > SL_QUIC_STREAMS_HELD)
        o->n_withheld += len;
    else
        sl_quic_consume(o->conn, -1, len);
    shed(o);
}

/* --- reading --- */

static void run(void *user);

static void soon(struct sl_qstream *s)
{
    sl_loop_soon(s->stream.loop, &s->task, run, s);
}

/* The bytes leave the stream first: the reader may free it. */
static void deliver_data(struct sl_qstream *s)
{
    struct sl_buf batch = s->in;
    size_t len = SL_MIN(sl_buf_len(&batch), (size_t)SL_SCRATCH_LEN);

    s->in = (struct sl_buf){0};
    s->stream.bytes_in += len;
    s->stream.handler->on_data(&s->stream, sl_buf_at(&batch), len);
    sl_buf_consume(&batch, len);
    give_credit(s, len);
    if (sl_buf_len(&batch) > 0 && !s->is_orphan && !s->is_freed) {
        s->in = batch;
        return;
    }
    give_credit(s, sl_buf_len(&batch));
    sl_buf_clear(&batch);
}

static void deliver(struct sl_qstream *s)
{
    if (sl_buf_len(&s->in) > 0)
        deliver_data(s);
    if (s->is_orphan || s->is_freed || !s->stream.is_reading)
        return;
    if (sl_buf_len(&s->in) > 0) {
        soon(s);
    } else if (s->in_fin && !s->stream.got_fin) {
        s->stream.got_fin = true;
        s->stream.handler->on_fin(&s->stream);
    }
}

static void run(void *user)
{
    struct sl_qstream *s = user;

    if (s->stream.error != 0) {
        if (s->is_failing) {
            s->is_failing = false;
            s->stream.handler->on_error(&s->stream, s->stream.error);
        }
        return;
    }
    if (s->is_drained) {
        s->is_drained = false;
        s->stream.is_writing = false;
        s->stream.handler->on_written(&s->stream);
    }
    if (!s->is_orphan && !s->is_freed && s->stream.error == 0 && s->stream.is_reading)
        deliver(s);
}

static void stream_read(struct sl_stream *stream, bool on)
{
    struct sl_qstream *s = to_stream(stream);

    stream->is_reading = on;
    if (on && (sl_buf_len(&s->in) > 0 || s->in_fin))
        soon(s);
}

/* --- writing --- */

bool sl_qstream_has_output(const struct sl_qstream *s)
{
    return s->out.n_unsent > 0 || (s->stream.sent_fin && !s->out_fin);
}

static void want_to_send(struct sl_qstream *s)
{
    if (!sl_qstream_has_output(s) || s->is_blocked)
        return;
    if (!sl_link_is_on(&s->sending))
        sl_list_append(&s->owner->sending, &s->sending);
    sl_quic_wake(s->owner->conn);
}

static int stream_write(struct sl_stream *stream, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_qstream *s = to_stream(stream);
    size_t n_before = s->out.n_unsent;

    sl_assert(!stream->sent_fin);
    if (stream->error != 0)
        return stream->error;
    sl_sendq_append(&s->out, iov, n_iov);
    sl_assert(!stream->is_writing || s->out.n_unsent == n_before);
    stream->bytes_out += s->out.n_unsent - n_before;
    stream->sent_fin = fin;
    want_to_send(s);
    if (!stream->is_writing && s->out.n_unsent <= SL_QUIC_STREAM_HIGH)
        return 0;
    stream->is_writing = true;
    return SL_E_AGAIN;
}

void sl_qstream_fill(const struct sl_qstream *s, struct sl_quic_chunk *chunk)
{
    size_t len = 0;

    chunk->stream_id = s->id;
    chunk->n_iov = sl_sendq_peek(&s->out, chunk->iov, SL_QUIC_IOV, SL_QSTREAM_QUANTUM);
    for (int i = 0; i < chunk->n_iov; i++)
        len += chunk->iov[i].iov_len;
    chunk->fin = s->stream.sent_fin && len == s->out.n_unsent;
}

static void on_progress(struct sl_qstream *s)
{
    if (s->is_lingering)
        sl_deadline_set(&s->deadline, LINGER_MS);
}

void sl_qstream_sent(struct sl_qstream *s, size_t n, bool fin)
{
    sl_sendq_sent(&s->out, n);
    s->out_fin |= fin;
    on_progress(s);
    if (s->is_orphan || !s->stream.is_writing || s->out.n_unsent > LOW)
        return;
    s->is_drained = true;
    soon(s);
}

void sl_qstream_acked(struct sl_qstream *s, size_t n)
{
    sl_sendq_acked(&s->out, n);
    on_progress(s);
}

void sl_qstream_block(struct sl_qstream *s)
{
    s->is_blocked = true;
    sl_link_remove(&s->sending);
}

void sl_qstream_unblock(struct sl_qstream *s)
{
    s->is_blocked = false;
    want_to_send(s);
}

/* --- the end --- */

void sl_qstream_fail(struct sl_qstream *s, int code)
{
    if (s->stream.error != 0 || s->is_orphan)
        return;
    s->stream.error = code;
    s->stream.is_writing = false;
    s->is_failing = true;
    drop_input(s);
    sl_link_remove(&s->sending);
    soon(s);
}

/* Who has said all loses nothing by it, and may still hear the rest. */
void sl_qstream_stop(struct sl_qstream *s)
{
    sl_qstream_block(s);
    if (!s->stream.sent_fin)
        sl_qstream_fail(s, SL_E_RESET);
}

/* Both directions have ended, and nothing is lost when the connection goes away. */
static bool is_complete(const struct sl_qstream *s)
{
    return s->stream.sent_fin && s->in_fin && s->out.n_unsent == 0;
}

/* What arrived in full may still be read. */
void sl_qstream_close(struct sl_qstream *s, int code)
{
    if (!is_complete(s))
        sl_qstream_fail(s, code);
    give_credit(s, sl_buf_len(&s->in));
    sl_link_remove(&s->all);
    sl_link_remove(&s->sending);
    s->owner = NULL;
    sl_sendq_clear(&s->out);
    if (s->is_orphan)
        dispose(s);
}

/* --- freeing --- */

static void shut(struct sl_qstream *s)
{
    sl_link_remove(&s->sending);
    s->is_blocked = true;
    sl_quic_shut(s->owner->conn, s->id, SL_QUIC_READ | SL_QUIC_WRITE, SL_QUIC_STREAM_ABORTED);
}

/* The peer takes nothing, or does not end. */
static void on_deadline(struct sl_deadline *d)
{
    shut(d->user);
}

static void swallow(struct sl_qstream *s, size_t n)
{
    bool was_patient = s->n_swallowed <= LINGER_BYTES;

    sl_quic_consume(s->owner->conn, s->id, n);
    s->n_swallowed += n;
    if (was_patient && s->n_swallowed > LINGER_BYTES)
        sl_quic_shut(s->owner->conn, s->id, SL_QUIC_READ, SL_QUIC_STREAM_ABORTED);
}

/* The connection may hold bytes of `out` until it has closed the stream: till then an orphan. */
static void stream_free(struct sl_stream *stream, enum sl_close how)
{
    struct sl_qstream *s = to_stream(stream);
    bool has_ended = stream->sent_fin && s->in_fin;

    if (s->owner == NULL) {
        dispose(s);
        return;
    }
    s->is_orphan = true;
    sl_loop_unsoon(&s->task);
    drop_input(s);
    if (stream->error != 0 || (how == SL_CLOSE_ABORT && !has_ended)) {
        shut(s);
        return;
    }
    s->is_lingering = true;
    stream->sent_fin = true;
    want_to_send(s);
    on_progress(s);
}

static const struct sl_stream_ops stream_ops = {stream_write, stream_read, stream_free, NULL};

/* --- for the connection --- */

struct sl_qstream *sl_qstream_new(struct sl_quic_streams *o, int64_t id)
{
    struct sl_qstream *s = sl_zalloc(sizeof(*s));

    s->stream.ops = &stream_ops;
    s->stream.loop = o->conn->loop;
    s->owner = o;
    s->id = id;
    sl_deadline_init(&s->deadline, s->stream.loop, on_deadline, s);
    sl_list_append(&o->all, &s->all);
    sl_quic_set_stream(o->conn, id, s);
    return s;
}

void sl_qstream_receive(struct sl_qstream *s, const uint8_t *bytes, size_t len, bool fin)
{
    s->in_fin |= fin;
    if (s->is_orphan || s->stream.error != 0) {
        swallow(s, len);
        return;
    }
    hold(s, bytes, len);
    if (s->stream.is_reading)
        soon(s);
}

int64_t sl_quic_stream_id(const struct sl_stream *s)
{
    return s->ops == &stream_ops ? to_stream(s)->id : SL_E_CONFIG;
}
