#include "quic/stream_internal.h"

static struct sl_quic_streams *of(struct sl_quic_conn *c)
{
    struct sl_quic_streams *o = c->user;

    o->conn = c;
    return o;
}

/* --- what the owner does --- */

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

void sl_quic_streams_limit(struct sl_quic_streams *streams, size_t max)
{
    streams->max_held = max;
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

int sl_quic_stream_open(struct sl_stream **out, struct sl_quic_streams *streams)
{
    int64_t id;
    int rc;

    if (streams->conn == NULL)
        return SL_E_AGAIN;
    if ((rc = sl_quic_open(streams->conn, false, &id)) < 0)
        return rc;
    *out = &sl_qstream_new(streams, id)->stream;
    return 0;
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
        o->handler->on_stream(o->user, &sl_qstream_new(o, id)->stream);
}

static void on_stream_data(struct sl_quic_conn *c, int64_t id, void *stream, const uint8_t *bytes,
                           size_t len, bool fin)
{
    if (stream != NULL)
        sl_qstream_receive(stream, bytes, len, fin);
    else
        sl_quic_consume(c, id, len); /* of a stream that was refused */
}

static void on_stream_reset(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)c, (void)id, (void)error;
    if (stream != NULL)
        sl_qstream_fail(stream, SL_E_RESET);
}

static void on_stream_stop(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)c, (void)id, (void)error;
    if (stream != NULL)
        sl_qstream_stop(stream);
}

static void on_stream_closed(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)c, (void)id, (void)error;
    if (stream != NULL)
        sl_qstream_close(stream, SL_E_RESET);
}

static void on_acked(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t n)
{
    (void)c, (void)id;
    if (stream != NULL)
        sl_qstream_acked(stream, (size_t)n);
}

static void on_unblocked(struct sl_quic_conn *c, int64_t id, void *stream)
{
    (void)c, (void)id;
    if (stream != NULL)
        sl_qstream_unblock(stream);
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

/* --- what the connection sends --- */

static bool next(struct sl_quic_conn *c, struct sl_quic_chunk *chunk)
{
    struct sl_link *link = sl_list_first(&of(c)->sending);

    if (link == NULL)
        return false;
    sl_qstream_fill(sl_container_of(link, struct sl_qstream, sending), chunk);
    return true;
}

/* Whose turn it is: a stream goes to the end of the list when its turn is over. */
static void take_turn(struct sl_quic_streams *o, struct sl_qstream *s, size_t n)
{
    o->turn_left -= SL_MIN(n, o->turn_left);
    if (sl_qstream_has_output(s) && o->turn_left > 0)
        return;
    sl_link_remove(&s->sending);
    if (sl_qstream_has_output(s))
        sl_list_append(&o->sending, &s->sending);
    o->turn_left = SL_QSTREAM_QUANTUM;
}

static void wrote(struct sl_quic_conn *c, int64_t id, void *stream, size_t n, bool fin)
{
    (void)id;
    sl_qstream_sent(stream, n, fin);
    take_turn(of(c), stream, n);
}

static void blocked(struct sl_quic_conn *c, int64_t id, void *stream, bool is_shut)
{
    (void)id, (void)is_shut;
    sl_qstream_block(stream);
    of(c)->turn_left = SL_QSTREAM_QUANTUM;
}

static void on_closed(struct sl_quic_conn *c, const struct sl_quic_end *end)
{
    struct sl_quic_streams *o = of(c);

    sl_list_each(&o->all, it)
    {
        struct sl_qstream *s = sl_container_of(it, struct sl_qstream, all);

        s->owner = NULL; /* no credit goes to a connection that has ended */
        sl_qstream_close(s, end->code);
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
