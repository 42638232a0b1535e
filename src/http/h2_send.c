/*
 * What goes out. Frames of all streams are put together and leave with one write at the end of the
 * turn; large bodies are framed where they lie, in the memory of their writer.
 */
#include "http/h2.h"

#include <arpa/inet.h>

enum {
    MAX_PARTS = 96,
    FRAME_PARTS = 40,      /* more than one frame can need */
    BATCH_LEN = 48 * 1024, /* of the scratch buffer: TLS needs the other part */
    FRAME_MAX = 9 + 16384,
    WRITE_MAX = 256 * 1024, /* in one write, about */
    COPY_MAX = 1024,        /* below, a copy costs less than one more part */
    DIRECT_MIN = 4096,      /* a smaller piece waits for the end of the turn */
    BYTES_PER_UPDATE = 512, /* an honest client updates its windows less often */
};

/* One write that is being put together. */
struct sl_h2_out {
    struct iovec parts[MAX_PARTS];
    struct {
        struct sl_mux_stream *stream;
        size_t n;
    } acks[MAX_PARTS]; /* whose bytes are no longer needed after the write */
    int n_parts, n_acks;
    uint8_t *batch;
    size_t n_batch, total;
    bool was_full; /* a frame had to wait for the next write */
};

/* The strings stay where they are: they live as long as the stream. */
static nghttp2_nv *to_nv(struct sl_mux_stream *s, const struct sl_field *fields, size_t n)
{
    nghttp2_nv *nv = sl_arena_alloc(&s->ex.arena, n * sizeof(*nv));

    for (size_t i = 0; i < n; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)fields[i].name.p, (uint8_t *)fields[i].value.p,
                             fields[i].name.len, fields[i].value.len,
                             NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    return nv;
}

static struct sl_h2_conn *conn_of(const struct sl_mux_stream *s)
{
    return s->conn;
}

static bool is_full(const struct sl_h2_out *out)
{
    return out->n_parts > MAX_PARTS - FRAME_PARTS || out->n_acks == MAX_PARTS ||
           out->n_batch > BATCH_LEN - FRAME_MAX || out->total >= WRITE_MAX;
}

static void put_part(struct sl_h2_out *out, const void *bytes, size_t len)
{
    struct iovec *last = out->n_parts > 0 ? &out->parts[out->n_parts - 1] : NULL;

    out->total += len;
    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += len;
        return;
    }
    sl_assert(out->n_parts < MAX_PARTS);
    out->parts[out->n_parts++] = (struct iovec){(void *)bytes, len};
}

static void put_copy(struct sl_h2_out *out, const void *bytes, size_t len)
{
    uint8_t *at = out->batch + out->n_batch;

    sl_assert(len <= BATCH_LEN - out->n_batch);
    memcpy(at, bytes, len);
    out->n_batch += len;
    put_part(out, at, len);
}

static void put_payload(struct sl_h2_out *out, const void *bytes, size_t len)
{
    if (len < COPY_MAX)
        put_copy(out, bytes, len);
    else
        put_part(out, bytes, len);
}

static void put_direct(struct sl_h2_conn *c, size_t len)
{
    struct sl_h2_direct *d = &c->direct;

    d->left -= len;
    while (len > 0) {
        size_t n = SL_MIN(len, d->iov->iov_len - d->at);

        if (n > 0)
            put_payload(c->out, (const uint8_t *)d->iov->iov_base + d->at, n);
        len -= n;
        d->at += n;
        if (d->at == d->iov->iov_len) {
            d->iov++;
            d->at = 0;
        }
    }
}

static void put_queued(struct sl_h2_out *out, struct sl_mux_stream *s, size_t len)
{
    if (len == 0)
        return;
    out->acks[out->n_acks].stream = s;
    out->acks[out->n_acks++].n = len;
    while (len > 0) {
        struct iovec piece;

        sl_assert(sl_mux_peek(s, &piece, 1, len) == 1);
        put_payload(out, piece.iov_base, piece.iov_len);
        sl_mux_sent(s, piece.iov_len);
        len -= piece.iov_len;
    }
}

int sl_h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head,
                       size_t len, nghttp2_data_source *source, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s = source->ptr;

    (void)session;
    (void)frame;
    if (is_full(c->out)) {
        c->out->was_full = true;
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    put_copy(c->out, frame_head, 9);
    if (c->direct.stream == s)
        put_direct(c, len);
    else
        put_queued(c->out, s, len);
    sl_h2_earn(c, len / BYTES_PER_UPDATE);
    return 0;
}

/* How much can be sent of a stream, and whether that is its end. */
static nghttp2_ssize on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                             uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct sl_h2_conn *c = user;
    struct sl_mux_stream *s = source->ptr;
    size_t there = c->direct.stream == s ? c->direct.left : s->n_unsent;
    size_t n = SL_MIN(there, max);

    (void)buf;
    if (there == 0 && !s->out_ended)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < there || !s->out_ended)
        return (nghttp2_ssize)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->n_trailers > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, to_nv(s, s->trailers, s->n_trailers), s->n_trailers);
    }
    return (nghttp2_ssize)n;
}

/* The first frame of all is our SETTINGS, and the limit of streams its first entry; see
 * sl_h2_session_new(). */
static void put_max_streams(struct sl_h2_conn *c, uint8_t *frame, size_t len)
{
    uint32_t n = htonl(c->service->limits.max_streams);

    sl_assert(len >= 15 && frame[3] == NGHTTP2_SETTINGS &&
              frame[10] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    memcpy(frame + 11, &n, sizeof(n));
    c->has_greeted = true;
}

/* Puts frames together until there are no more or the write is full. False: nghttp2 has failed. */
static bool gather(struct sl_h2_conn *c, struct sl_h2_out *out)
{
    const uint8_t *bytes;
    nghttp2_ssize n;

    while (!is_full(out)) {
        n = nghttp2_session_mem_send2(c->session, &bytes);
        if (n <= 0)
            return n == 0;
        put_copy(out, bytes, (size_t)n);
        if (!c->has_greeted)
            put_max_streams(c, out->batch, (size_t)n);
    }
    out->was_full = true;
    return true;
}

static int send_out(struct sl_h2_conn *c, struct sl_h2_out *out)
{
    int rc = sl_stream_write(c->stream, out->parts, out->n_parts, false);

    for (int i = 0; i < out->n_acks; i++)
        sl_mux_acked(out->acks[i].stream, out->acks[i].n);
    return rc;
}

void sl_h2_flush(struct sl_h2_conn *c)
{
    struct sl_h2_out out;
    bool ok = true;

    if (c->is_closed || c->stream->is_writing || c->out != NULL || c->is_receiving)
        return;
    c->out = &out;
    do {
        out.n_parts = out.n_acks = 0;
        out.n_batch = out.total = 0;
        out.was_full = false;
        out.batch = sl_loop_scratch(c->loop, 2);
        ok = gather(c, &out);
    } while (out.n_parts > 0 && send_out(c, &out) == 0 && ok && out.was_full);
    c->out = NULL;
    if (!ok) /* it has no memory, or is broken: there is nothing it could still say */
        c->is_broken = true;
}

/* --- what streams ask for --- */

static void mux_submit(struct sl_mux_stream *s, const struct sl_field *fields, size_t n, bool fin)
{
    struct sl_h2_conn *c = conn_of(s);
    nghttp2_data_provider2 body = {.source.ptr = s, .read_callback = on_read};

    nghttp2_submit_response2(c->session, (int32_t)s->id, to_nv(s, fields, n), n,
                             fin ? NULL : &body);
    sl_h2_later(c);
}

static void mux_submit_interim(struct sl_mux_stream *s, const struct sl_field *fields, size_t n)
{
    struct sl_h2_conn *c = conn_of(s);

    nghttp2_submit_headers(c->session, NGHTTP2_FLAG_NONE, (int32_t)s->id, NULL, to_nv(s, fields, n),
                           n, NULL);
    sl_h2_later(c);
}

static size_t mux_write(struct sl_mux_stream *s, const struct iovec *iov, int n_iov)
{
    struct sl_h2_conn *c = conn_of(s);
    size_t total = 0, taken;

    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (total < DIRECT_MIN || c->is_closed || c->is_receiving || c->out != NULL ||
        c->stream->is_writing)
        return 0;
    c->direct = (struct sl_h2_direct){.stream = s, .iov = iov, .left = total};
    (void)nghttp2_session_resume_data(c->session, (int32_t)s->id);
    sl_h2_flush(c);
    taken = total - c->direct.left;
    c->direct = (struct sl_h2_direct){0};
    sl_h2_later(c);
    return taken;
}

static void mux_resume(struct sl_mux_stream *s)
{
    struct sl_h2_conn *c = conn_of(s);

    (void)nghttp2_session_resume_data(c->session, (int32_t)s->id);
    sl_h2_later(c);
}

static void mux_consume(struct sl_mux_stream *s, size_t n)
{
    struct sl_h2_conn *c = conn_of(s);

    (void)nghttp2_session_consume(c->session, (int32_t)s->id, n);
    sl_h2_later(c);
}

static uint32_t code_of(enum sl_mux_error why)
{
    switch (why) {
    case SL_MUX_NO_ERROR:
        return NGHTTP2_NO_ERROR;
    case SL_MUX_PROTOCOL:
        return NGHTTP2_PROTOCOL_ERROR;
    case SL_MUX_REFUSED:
        return NGHTTP2_REFUSED_STREAM;
    case SL_MUX_CANCEL:
    case SL_MUX_TIMEOUT:
        return NGHTTP2_CANCEL;
    case SL_MUX_INTERNAL:
        break;
    }
    return NGHTTP2_INTERNAL_ERROR;
}

static void mux_reset(struct sl_mux_stream *s, enum sl_mux_error why)
{
    struct sl_h2_conn *c = conn_of(s);

    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)s->id, code_of(why));
    sl_h2_later(c);
}

const struct sl_mux_ops sl_h2_mux_ops = {mux_submit, mux_submit_interim, mux_write,
                                         mux_resume, mux_consume,        mux_reset};
