/*
 * Any bytes from a client, at once and in pieces: no rule of the exchange is broken, and the
 * requests that are complete are the same. The first byte is the length of the pieces, the second
 * says what the handler does.
 */
#include "http/test_server.h"

enum { PAUSES = 1, ANSWERS_EARLY = 2, CHUNKED = 4, SENDS_FIN = 8 };

static struct sl_loop *loop;
static unsigned flags;
static struct sl_buf complete; /* the requests that came to their end */

static void echo(struct rig *r)
{
    struct iovec iov = {sl_buf_at(&r->body), sl_buf_len(&r->body)};

    sl_buf_printf(&complete, "%.*s|", SL_STR_FMT(r->seen));
    sl_buf_append(&complete, iov.iov_base, iov.iov_len);
    rig_respond(r, 200, flags & CHUNKED ? SL_LENGTH_UNKNOWN : iov.iov_len);
    (void)sl_exchange_write(r->ex, &iov, iov.iov_len > 0 ? 1 : 0, true);
}

static void on_request(struct rig *r)
{
    if (r->ex->req.upgrade.len > 0) {
        rig_respond(r, 101, SL_LENGTH_UNKNOWN);
        (void)rig_write(r, "raw", (flags & ANSWERS_EARLY) != 0);
        sl_exchange_read(r->ex, true);
    } else if (r->ex->request_ended) {
        echo(r);
    } else if (flags & ANSWERS_EARLY) {
        sl_exchange_fail(r->ex, 413);
    } else {
        sl_exchange_read(r->ex, true);
    }
}

static void keep_going(struct rig *r)
{
    if (r->ex == NULL || !(flags & PAUSES))
        return;
    sl_exchange_read(r->ex, false);
    rig_settle(r);
    if (r->ex != NULL)
        sl_exchange_read(r->ex, true);
    rig_settle(r);
}

static void run(const uint8_t *bytes, size_t len, size_t piece)
{
    struct rig r;

    sl_buf_reset(&complete);
    rig_begin(&r, loop);
    r.on_request = on_request;
    r.on_body_end = echo;
    for (size_t at = 0; at < len && r.conn != NULL; at += piece) {
        rig_send(&r, sl_str((const char *)bytes + at, SL_MIN(piece, len - at)));
        keep_going(&r);
    }
    if (flags & SENDS_FIN)
        rig_fin(&r);
    rig_end(&r);
    sl_assert(sl_check_failures == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_buf whole;

    if (len < 2)
        return 0;
    if (loop == NULL)
        sl_assert(sl_loop_new(&loop) == 0);
    flags = bytes[1];
    run(bytes + 2, len - 2, len);
    whole = complete;
    complete = (struct sl_buf){0};
    run(bytes + 2, len - 2, 1u + bytes[0]);
    sl_assert(sl_buf_len(&whole) == sl_buf_len(&complete));
    sl_assert(sl_buf_len(&whole) == 0 ||
              memcmp(sl_buf_at(&whole), sl_buf_at(&complete), sl_buf_len(&whole)) == 0);
    sl_buf_clear(&whole);
    sl_buf_clear(&complete);
    return 0;
}
