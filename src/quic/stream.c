#include "quic/stream.h"

#include "base/buf.h"
#include "base/sendq.h"

enum {
    LOW = SL_QUIC_STREAM_HIGH / 2, /* unsent bytes at which a writer goes on */
    QUANTUM = 16 * 1024,           /* bytes until it is the next stream's turn */
    LINGER_MS = 5000,              /* how long the peer may take no byte of our last ones */
    LINGER_BYTES = 1 << 20,        /* and how much input is swallowed meanwhile */
};

struct sl_quic_streams {
    struct sl_quic_conn *conn; /* NULL before the first call of the connection */
    const struct sl_quic_streams_handler *handler;
    void *user;
    struct sl_list all;     /* of struct stream.all */
    struct sl_list sending; /* of struct stream.sending; the first one has its turn */
    size_t turn_left;       /* bytes of that turn */
    size_t n_held;          /* bytes in `in` of all streams */
    size_t n_withheld;      /* of these, bytes whose credit the connection did not give back yet */
};

struct stream {
    struct sl_stream stream;
    struct sl_quic_streams *owner; /* NULL once the connection has done with it */
    int64_t id;
    struct sl_link all, sending;
    struct sl_sendq out;
    struct sl_buf in;            /* arrived, not read yet */
    struct sl_task_link task;    /* the only place that calls back */
    struct sl_deadline deadline; /* lingering */
    size_t n_swallowed;
    bool in_fin;       /* the peer's fin stands behind `in` */
    bool out_fin;      /* ours is out */
    bool is_blocked;   /* by flow control, or shut */
    bool is_drained;   /* on_written() is due */
    bool is_failing;   /* on_error() is due */
    bool is_orphan;    /* freed; the connection still needs it */
    bool is_lingering; /* an orphan that still sends */
    bool is_freed;     /* destroyed at the end of the turn */
};

static const struct sl_stream_ops stream_ops;

static struct stream *to_stream(const struct sl_stream *s)
{
    return sl_container_of(s, struct stream, stream);
}

static struct sl_quic_streams *of(struct sl_quic_conn *c)
{
    struct sl_quic_streams *o = c->user;

    o->conn = c;
    return o;
}

/* --- the end of a stream --- */

static void destroy(void *ptr)
{
    struct stream *s = ptr;

    sl_sendq_clear(&s->out);
    sl_buf_clear(&s->in);
    sl_free(s);
}

static void dispose(struct stream *s)
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
static void give_credit(struct stream *s, size_t n)
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

static void drop_input(struct stream *s)
{
    give_credit(s, sl_buf_len(&s->in));
    sl_buf_clear(&s->in);
}

/* The connection will not touch it again. What arrived in full may still be read. */
static void detach(struct stream *s)
{
    give_credit(s, sl_buf_len(&s->in));
    sl_link_remove(&s->all);
    sl_link_remove(&s->sending);
    s->owner = NULL;
    sl_sendq_clear(&s->out);
    if (s->is_orphan)
        dispose(s);
}

/* --- reading --- */

static void run(void *user);

static void soon(struct stream *s)
{
    sl_loop_soon(s->stream.loop, &s->task, run, s);
}

/* The bytes leave the stream first: the reader may free it. */
static void deliver_data(struct stream *s)
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

static void deliver(struct stream *s)
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
    struct stream *s = user;

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

static void fail(struct stream *s, int code)
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

static void stream_read(struct sl_stream *stream, bool on)
{
    struct stream *s = to_stream(stream);

    stream->is_reading = on;
    if (on && (sl_buf_len(&s->in) > 0 || s->in_fin))
        soon(s);
}

/* Both directions have ended, and nothing is lost when the connection goes away. */
static bool is_complete(const struct stream *s)
{
    return s->stream.sent_fin && s->in_fin && s->out.n_unsent == 0;
}

/* --- writing --- */

static bool has_output(const struct stream *s)
{
    return s->out.n_unsent > 0 || (s->stream.sent_fin && !s->out_fin);
}

static void want_to_send(struct stream *s)
{
    if (!has_output(s) || s->is_blocked)
        return;
    if (!sl_link_is_on(&s->sending))
        sl_list_append(&s->owner->sending, &s->sending);
    sl_quic_wake(s->owner->conn);
}

static int stream_write(struct sl_stream *stream, const struct iovec *iov, int n_iov, bool fin)
{
    struct stream *s = to_stream(stream);
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

/* --- freeing --- */

static void shut(struct stream *s)
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

static void on_progress(struct stream *s)
{
    if (s->is_lingering)
        sl_deadline_set(&s->deadline, LINGER_MS);
}

static void swallow(struct stream *s, size_t n)
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
    struct stream *s = to_stream(stream);
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

/* --- making --- */

static struct stream *make(struct sl_quic_streams *o, int64_t id)
{
    struct stream *s = sl_zalloc(sizeof(*s));

    s->stream.ops = &stream_ops;
    s->stream.loop = o->conn->loop;
    s->owner = o;
    s->id = id;
    sl_deadline_init(&s->deadline, s->stream.loop, on_deadline, s);
    sl_list_append(&o->all, &s->all);
    sl_quic_set_stream(o->conn, id, s);
    return s;
}

int sl_quic_stream_open(struct sl_stream **out, struct sl_quic_streams *streams)
{
    int64_t id;
    int rc;

    if (streams->conn == NULL)
        return SL_E_AGAIN;
    if ((rc = sl_quic_open(streams->conn, false, &id)) < 0)
        return rc;
    *out = &make(streams, id)->stream;
    return 0;
}

int64_t sl_quic_stream_id(const struct sl_stream *s)
{
    return s->ops == &stream_ops ? to_stream(s)->id : SL_E_CONFIG;
}

struct sl_quic_streams *sl_quic_streams_new(const struct sl_quic_streams_handler *handler,
                                            void *user)
{
    struct sl_quic_streams *o = sl_zalloc(sizeof(*o));

    o->handler = handler;
    o->user = user;
    sl_list_init(&o->all);
    sl_list_init(&o->sending);
    return o;
}

void sl_quic_streams_free(struct sl_quic_streams *streams)
{
    sl_assert(streams == NULL || streams->conn == NULL);
    sl_free(streams);
}

struct sl_quic_conn *sl_quic_streams_conn(const struct sl_quic_streams *streams)
{
    return streams->conn;
}

/* --- what the connection says --- */

static void on_ready(struct sl_quic_conn *c)
{
    struct sl_quic_streams *o = of(c);

    if (o->handler->on_ready != NULL)
        o->handler->on_ready(o->user);
}

static void on_stream_open(struct sl_quic_conn *c, int64_t id)
{
    enum { UNI = 2 }; /* RFC 9000, section 2.1 */
    struct sl_quic_streams *o = of(c);

    if (id & UNI)
        sl_quic_shut(c, id, SL_QUIC_READ, SL_QUIC_STREAM_ABORTED);
    else if (o->handler->on_stream == NULL)
        sl_quic_shut(c, id, SL_QUIC_READ | SL_QUIC_WRITE, SL_QUIC_STREAM_ABORTED);
    else
        o->handler->on_stream(o->user, &make(o, id)->stream);
}

/* Credit of the connection is given at once, so that one reader does not hold up all. */
static void hold(struct stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_quic_streams *o = s->owner;

    sl_buf_append(&s->in, bytes, len);
    o->n_held += len;
    if (o->n_held > SL_QUIC_STREAMS_HELD)
        o->n_withheld += len;
    else
        sl_quic_consume(o->conn, -1, len);
}

static void on_stream_data(struct sl_quic_conn *c, int64_t id, void *stream, const uint8_t *bytes,
                           size_t len, bool fin)
{
    struct stream *s = stream;

    if (s == NULL) {
        sl_quic_consume(c, id, len);
        return;
    }
    s->in_fin |= fin;
    if (s->is_orphan || s->stream.error != 0) {
        swallow(s, len);
        return;
    }
    hold(s, bytes, len);
    if (s->stream.is_reading)
        soon(s);
}

static void on_stream_reset(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)c;
    (void)id;
    (void)error;
    if (stream != NULL)
        fail(stream, SL_E_RESET);
}

/* Who has said all loses nothing by it, and may still hear the rest. */
static void on_stream_stop(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    struct stream *s = stream;

    (void)c;
    (void)id;
    (void)error;
    if (s == NULL)
        return;
    s->is_blocked = true;
    sl_link_remove(&s->sending);
    if (!s->stream.sent_fin)
        fail(s, SL_E_RESET);
}

static void on_stream_closed(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    struct stream *s = stream;

    (void)c;
    (void)id;
    (void)error;
    if (s == NULL)
        return;
    if (!is_complete(s))
        fail(s, SL_E_RESET);
    detach(s);
}

static void on_acked(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t n)
{
    (void)c;
    (void)id;
    if (stream == NULL)
        return;
    sl_sendq_acked(&((struct stream *)stream)->out, (size_t)n);
    on_progress(stream);
}

static void on_unblocked(struct sl_quic_conn *c, int64_t id, void *stream)
{
    struct stream *s = stream;

    (void)c;
    (void)id;
    if (s == NULL)
        return;
    s->is_blocked = false;
    want_to_send(s);
}

static void on_more_streams(struct sl_quic_conn *c)
{
    struct sl_quic_streams *o = of(c);

    if (o->handler->on_more_streams != NULL)
        o->handler->on_more_streams(o->user);
}

static void on_datagram(struct sl_quic_conn *c, const uint8_t *bytes, size_t len)
{
    struct sl_quic_streams *o = of(c);

    if (o->handler->on_datagram != NULL)
        o->handler->on_datagram(o->user, bytes, len);
}

static void on_migrated(struct sl_quic_conn *c)
{
    struct sl_quic_streams *o = of(c);

    if (o->handler->on_migrated != NULL)
        o->handler->on_migrated(o->user);
}

static bool next(struct sl_quic_conn *c, struct sl_quic_chunk *chunk)
{
    struct sl_link *link = sl_list_first(&of(c)->sending);
    struct stream *s;
    size_t len = 0;

    if (link == NULL)
        return false;
    s = sl_container_of(link, struct stream, sending);
    chunk->stream_id = s->id;
    chunk->n_iov = sl_sendq_peek(&s->out, chunk->iov, SL_QUIC_IOV, QUANTUM);
    for (int i = 0; i < chunk->n_iov; i++)
        len += chunk->iov[i].iov_len;
    chunk->fin = s->stream.sent_fin && len == s->out.n_unsent;
    return true;
}

/* Whose turn it is: a stream goes to the end of the list when its turn is over. */
static void take_turn(struct sl_quic_streams *o, struct stream *s, size_t n)
{
    o->turn_left -= SL_MIN(n, o->turn_left);
    if (has_output(s) && o->turn_left > 0)
        return;
    sl_link_remove(&s->sending);
    if (has_output(s))
        sl_list_append(&o->sending, &s->sending);
    o->turn_left = QUANTUM;
}

static void wrote(struct sl_quic_conn *c, int64_t id, void *stream, size_t n, bool fin)
{
    struct stream *s = stream;

    (void)id;
    sl_sendq_sent(&s->out, n);
    s->out_fin |= fin;
    take_turn(of(c), s, n);
    on_progress(s);
    if (s->is_orphan || !s->stream.is_writing || s->out.n_unsent > LOW)
        return;
    s->is_drained = true;
    soon(s);
}

static void blocked(struct sl_quic_conn *c, int64_t id, void *stream, bool is_shut)
{
    struct stream *s = stream;

    (void)id;
    (void)is_shut;
    s->is_blocked = true;
    sl_link_remove(&s->sending);
    of(c)->turn_left = QUANTUM;
}

static void on_closed(struct sl_quic_conn *c, const struct sl_quic_end *end)
{
    struct sl_quic_streams *o = of(c);

    sl_list_each(&o->all, it)
    {
        struct stream *s = sl_container_of(it, struct stream, all);

        s->owner = NULL; /* no credit goes to a connection that has ended */
        if (!is_complete(s))
            fail(s, end->code);
        detach(s);
    }
    o->handler->on_closed(o->user, end);
    sl_loop_defer(c->loop, o, sl_free);
}

const struct sl_quic_app sl_quic_streams_app = {
    .on_ready = on_ready,
    .on_stream_open = on_stream_open,
    .on_stream_data = on_stream_data,
    .on_stream_reset = on_stream_reset,
    .on_stream_stop = on_stream_stop,
    .on_stream_closed = on_stream_closed,
    .on_acked = on_acked,
    .on_unblocked = on_unblocked,
    .on_more_streams = on_more_streams,
    .on_datagram = on_datagram,
    .on_migrated = on_migrated,
    .next = next,
    .wrote = wrote,
    .blocked = blocked,
    .on_closed = on_closed,
};
