/*
 * How an HTTP/3 connection ends in good order (RFC 9114 5.2). Requests may be on their way while we
 * decide, so there are two steps: first a GOAWAY that names no stream, then, some round trips
 * later, one that names the first stream that is not served. What comes behind that is rejected,
 * and the client knows that it may try again elsewhere.
 */
#include "http/h3.h"

enum {
    LEAVE_MS = 200, /* at least, between the steps */
    /* Without a sign of the client, when nothing but its acknowledgements lacks. */
    LINGER_MS = 3000,
};

static void leave(struct sl_h3_conn *c)
{
    int rc = nghttp3_conn_shutdown(c->h3);

    if (rc != 0) {
        sl_h3_fail(c, rc);
        return;
    }
    c->state = SL_H3_LEAVING;
    c->heard_ms = sl_loop_now_ms(c->quic->loop);
    sl_deadline_set(&c->grace, LEAVE_MS);
    sl_quic_wake(c->quic);
}

static void give_notice(struct sl_h3_conn *c)
{
    struct sl_quic_stats stats;
    int rc = nghttp3_conn_submit_shutdown_notice(c->h3);

    if (rc != 0) {
        sl_h3_fail(c, rc);
        return;
    }
    c->state = SL_H3_NOTICED;
    sl_quic_stats(c->quic, &stats);
    sl_deadline_set(&c->grace, LEAVE_MS + 2 * stats.rtt_us / 1000);
    sl_quic_wake(c->quic);
}

static bool is_busy(const struct sl_h3_conn *c)
{
    bool busy = !sl_list_is_empty(&c->ended);

    sl_list_each(&c->streams, it)
    {
        busy |= sl_container_of(it, struct sl_mux_stream, link)->has_exchange;
    }
    return busy;
}

/* Streams stay until the client has acknowledged everything, which one that is gone never does. */
static void look_round(struct sl_h3_conn *c)
{
    uint64_t now = sl_loop_now_ms(c->quic->loop);

    if (is_busy(c))
        c->heard_ms = now;
    if (nghttp3_conn_is_drained(c->h3) || now - c->heard_ms > LINGER_MS)
        sl_h3_close(c, SL_H3_NO_ERROR, "");
    else
        sl_deadline_set(&c->grace, LEAVE_MS);
}

static void on_grace(struct sl_deadline *d)
{
    struct sl_h3_conn *c = d->user;

    if (c->state == SL_H3_NOTICED)
        leave(c);
    else if (c->state == SL_H3_LEAVING)
        look_round(c);
}

void sl_h3_drain(struct sl_h3_conn *c)
{
    if (c->state == SL_H3_OPENING)
        sl_h3_close(c, SL_H3_NO_ERROR, "");
    else if (c->state == SL_H3_OPEN && c->service->drain_grace == 0 &&
             sl_http_conn_is_idle(&c->base))
        leave(c);
    else if (c->state == SL_H3_OPEN)
        give_notice(c);
}

void sl_h3_leave_init(struct sl_h3_conn *c)
{
    sl_deadline_init(&c->grace, c->quic->loop, on_grace, c);
}
