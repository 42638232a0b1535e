#include "tunnel/pulse.h"

#include <stdio.h>
#include "net/tcp.h"
#include "tunnel/internal.h"

/* What the link went over is gone with it, which may be before anybody was told. */
bool sl_pulse_has_link(const struct sl_pulse *p)
{
    return p->tunnel != NULL && p->tunnel->link != NULL;
}

static uint64_t bytes_heard(const struct sl_stream *stream, const struct sl_quic_conn *conn)
{
    struct sl_quic_stats stats;

    if (conn == NULL)
        return stream->bytes_in;
    sl_quic_stats(conn, &stats);
    return stats.bytes_in;
}

static void die(struct sl_pulse *p)
{
    char why[64];

    (void)snprintf(why, sizeof(why), "not a byte for %u s", p->dead_ms / 1000);
    sl_tunnel_detach(p->tunnel, SL_E_TIMEOUT, why);
}

static void on_beat(struct sl_deadline *d)
{
    static const struct sl_frame ping = {.type = SL_FRAME_PING};
    struct sl_pulse *p = d->user;
    uint64_t now = sl_loop_now_ms(d->loop), heard;

    if (!sl_pulse_has_link(p))
        return;
    heard = bytes_heard(p->stream, p->conn);
    if (heard != p->heard)
        p->heard_ms = now;
    p->heard = heard;
    if (now - p->heard_ms >= p->dead_ms) {
        die(p);
        return;
    }
    if (p->asks)
        (void)sl_tunnel_send(p->tunnel, &ping);
    sl_deadline_set(&p->beat, p->beat_ms);
}

void sl_pulse_init(struct sl_pulse *p, struct sl_loop *loop, uint32_t beat_ms, uint32_t dead_ms,
                   bool asks)
{
    *p = (struct sl_pulse){.beat_ms = beat_ms, .dead_ms = dead_ms, .asks = asks};
    sl_deadline_init(&p->beat, loop, on_beat, p);
}

int sl_pulse_attach(struct sl_pulse *p, struct sl_greeter *g, struct sl_tunnel *t,
                    const struct sl_tunnel_terms *terms)
{
    const struct sl_stream *stream = g->stream;
    const struct sl_quic_conn *conn = g->conn;
    uint64_t heard = bytes_heard(stream, conn);
    int rc = sl_greeter_attach(g, t, terms);

    if (rc < 0)
        return rc;
    p->tunnel = t;
    p->stream = stream;
    p->conn = conn;
    p->heard = heard;
    p->heard_ms = sl_loop_now_ms(p->beat.loop);
    sl_deadline_set(&p->beat, p->beat_ms);
    return 0;
}

void sl_pulse_stop(struct sl_pulse *p)
{
    p->tunnel = NULL;
    sl_deadline_stop(&p->beat);
}

double sl_pulse_rtt_ms(const struct sl_pulse *p)
{
    struct sl_quic_stats stats;
    const struct sl_stream *tcp;
    uint32_t us = 0;

    if (!sl_pulse_has_link(p))
        return 0;
    if (p->conn != NULL) {
        sl_quic_stats(p->conn, &stats);
        return (double)stats.rtt_us / 1000;
    }
    tcp = sl_stream_below(p->stream);
    return tcp != NULL && sl_tcp_rtt(tcp, &us) == 0 ? us / 1000.0 : 0;
}

bool sl_pulse_remote(const struct sl_pulse *p, struct sl_addr *out)
{
    const struct sl_stream *tcp;

    if (!sl_pulse_has_link(p))
        return false;
    if (p->conn != NULL) {
        *out = p->conn->remote;
        return true;
    }
    tcp = sl_stream_below(p->stream);
    return tcp != NULL && sl_tcp_addrs(tcp, NULL, out) == 0;
}

void sl_pulse_status(const struct sl_pulse *p, const struct sl_tunnel *t,
                     const struct sl_sessions *sessions, struct sl_tunnel_status *out)
{
    out->is_up = sl_tunnel_is_up(t);
    (void)sl_pulse_remote(p, &out->remote);
    out->rtt_ms = sl_pulse_rtt_ms(p);
    out->n_sessions = sessions->by_id.n;
    out->datagrams_in = sessions->n_in;
    out->datagrams_out = sessions->n_out;
    sl_tunnel_stats(t, &out->streams);
    out->streams.datagrams_dropped += sessions->n_dropped;
}
