/*
 * Any frames from a client: no rule of the exchange is broken, and what the server says can be
 * read. The first byte is the length of the pieces in which they arrive, the second says what the
 * handler does. Then frames, as type, flags, stream, length and payload of a byte each, so that
 * mutations keep them whole; or raw bytes.
 */
#include "http/test_h2.h"

enum { PAUSES = 1, ANSWERS_EARLY = 2, STREAMS = 4, LEAVES = 8, RAW_BYTES = 16, SMALL_PIPE = 32 };

static struct sl_loop *loop;
static struct h2_rig r;
static unsigned flags;

static void answer(struct h2_rig *rig, struct sl_exchange *ex)
{
    static char body[6000];

    (void)rig;
    h2_respond(ex, 200, flags & STREAMS ? SL_LENGTH_UNKNOWN : sizeof(body));
    if (flags & STREAMS)
        (void)h2_write(ex, "piece", 5, false);
    (void)h2_write(ex, body, sizeof(body), true);
}

static void on_request(struct h2_rig *rig, struct sl_exchange *ex)
{
    if (ex->req.upgrade.len > 0) {
        h2_respond(ex, 101, SL_LENGTH_UNKNOWN);
        (void)h2_write(ex, "raw", 3, (flags & ANSWERS_EARLY) != 0);
        sl_exchange_read(ex, true);
    } else if (ex->request_ended || flags & ANSWERS_EARLY) {
        answer(rig, ex);
    } else if (!(flags & LEAVES)) {
        sl_exchange_read(ex, true);
    }
}

static void toggle_reading(void)
{
    for (int on = 0; on < 2; on++) {
        for (int i = 0; i < H2_MAX_EXCHANGES && i < r.n_requests; i++) {
            if (r.ex[i] != NULL)
                sl_exchange_read(r.ex[i], on == 1);
        }
        h2_settle(&r);
    }
}

static void make_frames(struct sl_buf *out, const uint8_t *p, size_t len)
{
    while (len >= 4) {
        size_t n = SL_MIN((size_t)p[3], len - 4);

        h2_put(out, p[0], p[1], p[2], p + 4, n);
        p += 4 + n;
        len -= 4 + n;
    }
}

static void feed(const struct sl_buf *bytes, size_t piece)
{
    size_t len = sl_buf_len(bytes);

    for (size_t at = 0; at < len && r.conn != NULL && !r.wire->is_writing; at += piece) {
        h2_send(&r, sl_buf_at(bytes) + at, SL_MIN(piece, len - at));
        if (flags & PAUSES)
            toggle_reading();
        (void)h2_seen(&r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_buf out = {0};

    if (len < 2)
        return 0;
    if (loop == NULL)
        sl_assert(sl_loop_new(&loop) == 0);
    flags = bytes[1];
    r.on_request = on_request;
    r.on_body_end = answer;
    h2_begin_quiet(&r, loop, flags & SMALL_PIPE ? 100 : H2_PIPE);
    if (flags & RAW_BYTES) {
        sl_buf_append(&out, bytes + 2, len - 2);
    } else {
        h2_greet(&r);
        make_frames(&out, bytes + 2, len - 2);
    }
    feed(&out, bytes[0] == 0 ? SIZE_MAX / 2 : (size_t)bytes[0]);
    if (r.conn != NULL)
        sl_http_conn_drain(r.conn);
    h2_settle(&r);
    (void)h2_seen(&r);
    h2_end(&r);
    sl_buf_clear(&out);
    sl_assert(sl_check_failures == 0);
    return 0;
}
