#include "tls/conn.h"

enum { AREA_LEN = 64 * 1024 };

/* The bytes that came from below in this call, as far as they were not taken yet. */
struct input {
    const uint8_t *bytes;
    size_t len;
    bool is_in_scratch; /* they lie where payload would go */
};

static void skip(struct input *in, size_t len)
{
    in->bytes += len;
    in->len -= len;
}

/* Is a TLS stream further down delivering its payload, which has led to this call? */
static _Thread_local bool is_delivering;

static bool is_in_scratch(struct sl_loop *loop, const uint8_t *bytes)
{
    const uint8_t *scratch = sl_loop_scratch(loop, 1);

    return bytes >= scratch && bytes < scratch + SL_SCRATCH_LEN;
}

/* Ciphertext that was held back goes first; what is used of it is given back at once. */
static const uint8_t *source(struct sl_tls_conn *t, const struct input *in, size_t *len)
{
    if (sl_buf_len(&t->held_in) > 0) {
        *len = sl_buf_len(&t->held_in);
        return sl_buf_at(&t->held_in);
    }
    *len = in->len;
    return in->bytes;
}

static void consume(struct sl_tls_conn *t, struct input *in, size_t used)
{
    if (used == 0)
        return;
    if (sl_buf_len(&t->held_in) == 0) {
        skip(in, used);
        return;
    }
    sl_buf_consume(&t->held_in, used);
    if (sl_buf_len(&t->held_in) == 0)
        sl_buf_clear(&t->held_in);
}

/* Completes the record whose beginning is held back; the rest of the input need not be copied. */
static bool top_up(struct sl_tls_conn *t, struct input *in)
{
    size_t n;

    if (sl_buf_len(&t->held_in) == 0 || in->len == 0)
        return false;
    n = SL_MIN(t->engine->missing(sl_buf_at(&t->held_in), sl_buf_len(&t->held_in)), in->len);
    sl_buf_append(&t->held_in, in->bytes, n);
    skip(in, n);
    return n > 0;
}

static bool step_handshake(struct sl_tls_conn *t, struct input *in)
{
    size_t len, used;
    const uint8_t *bytes = source(t, in, &len);

    if (t->handshake->is_waiting || (len == 0 && !t->handshake->is_due))
        return false;
    t->handshake->is_due = false;
    used = sl_tls_handshake_run(t, bytes, len);
    if (t->is_freed)
        return false;
    consume(t, in, used);
    if (t->handshake != NULL) {
        sl_tls_flush(t);
        return used > 0;
    }
    /* The last flight goes out with what the owner may write now. */
    sl_tls_hold(t);
    sl_tls_area_clear(&t->out);
    sl_tls_update_reading(t);
    if (t->stream.handler->on_ready != NULL)
        t->stream.handler->on_ready(&t->stream);
    return true;
}

static void choose_area(struct sl_tls_conn *t, const struct input *in, struct sl_tls_area *area)
{
    if (is_delivering || in->is_in_scratch)
        *area = (struct sl_tls_area){sl_alloc(AREA_LEN), 0, AREA_LEN, true};
    else
        *area = (struct sl_tls_area){sl_loop_scratch(t->stream.loop, 1), 0, SL_SCRATCH_LEN, false};
}

static void deliver(struct sl_tls_conn *t, const struct sl_tls_area *payload)
{
    bool was_delivering = is_delivering;

    is_delivering = true;
    t->stream.bytes_in += payload->len;
    t->stream.handler->on_data(&t->stream, payload->base, payload->len);
    is_delivering = was_delivering;
}

/* Decrypts as many records as fit and delivers their payload in one piece. */
static bool step_payload(struct sl_tls_conn *t, struct input *in)
{
    struct sl_tls_area payload;
    size_t len, used;
    const uint8_t *bytes = source(t, in, &len);

    if (!t->stream.is_reading || t->got_close || len == 0)
        return false;
    choose_area(t, in, &payload);
    used = t->engine->decrypt(t, bytes, len, &payload);
    consume(t, in, used);
    sl_tls_flush(t); /* an answer to a key update, an alert */
    if (payload.len > 0)
        deliver(t, &payload);
    sl_tls_area_clear(&payload);
    return used > 0 || (!t->is_freed && top_up(t, in));
}

/* What is left is the beginning of a record, or the reader does not want it now. */
static void keep(struct sl_tls_conn *t, const struct input *in)
{
    if (in->len == 0 || t->got_close)
        return;
    sl_buf_append(&t->held_in, in->bytes, in->len);
    if (t->handshake != NULL && sl_buf_len(&t->held_in) > SL_TLS_HANDSHAKE_MAX)
        sl_tls_fail(t, SL_E_LIMIT, "the handshake is too long");
}

static void report_fin(struct sl_tls_conn *t)
{
    if (!t->stream.is_reading || t->stream.got_fin || !(t->got_close || t->below_fin))
        return;
    t->is_truncated = !t->got_close;
    t->stream.got_fin = true;
    sl_buf_clear(&t->held_in);
    sl_tls_update_reading(t);
    t->stream.handler->on_fin(&t->stream);
}

void sl_tls_advance(struct sl_tls_conn *t, const uint8_t *bytes, size_t len)
{
    struct input in = {bytes, len, len > 0 && is_in_scratch(t->stream.loop, bytes)};
    bool goes_on = true;

    while (goes_on && t->stream.error == 0 && !t->is_freed)
        goes_on = t->handshake != NULL ? step_handshake(t, &in) : step_payload(t, &in);
    if (t->is_freed)
        return;
    sl_tls_flush(t);
    if (t->stream.error != 0)
        return;
    keep(t, &in);
    if (t->handshake == NULL)
        report_fin(t);
}
