/*
 * Whether the other side of a tunnel's link is alive, and how far away it is. Every `beat_ms` it
 * looks whether a byte has come since; a hub asks with a PING, so that there is something to come.
 * After `dead_ms` without one the link is detached with SL_E_TIMEOUT, within one beat.
 *
 * Owner: embedded; one thread; sl_pulse_stop() before it is freed.
 */
#ifndef SL_TUNNEL_PULSE_H
#define SL_TUNNEL_PULSE_H

#include "tunnel/edge.h"
#include "tunnel/greeter.h"

struct sl_pulse {
    struct sl_deadline beat;
    struct sl_tunnel *tunnel;        /* NULL while nothing is watched */
    const struct sl_stream *stream;  /* what the link goes over: TLS, */
    const struct sl_quic_conn *conn; /* or QUIC; valid while the tunnel has this link */
    uint64_t heard;                  /* bytes */
    uint64_t heard_ms;               /* when there were more of them */
    uint32_t beat_ms, dead_ms;
    bool asks;
};

void sl_pulse_init(struct sl_pulse *p, struct sl_loop *loop, uint32_t beat_ms, uint32_t dead_ms,
                   bool asks);
/* Hands the connection to the tunnel (sl_greeter_attach()) and watches it from then on. 0, or
 * SL_E_REFUSED: nothing has changed. */
int sl_pulse_attach(struct sl_pulse *p, struct sl_greeter *g, struct sl_tunnel *t,
                    const struct sl_tunnel_terms *terms);
/* The link is gone. */
void sl_pulse_stop(struct sl_pulse *p);
bool sl_pulse_has_link(const struct sl_pulse *p);
/* 0: not known, or no link. */
double sl_pulse_rtt_ms(const struct sl_pulse *p);
/* The other side's address. False: not known, or no link. */
bool sl_pulse_remote(const struct sl_pulse *p, struct sl_addr *out);

/* What both ends say of their tunnel, but for what only they know: transport, links, since when. */
void sl_pulse_status(const struct sl_pulse *p, const struct sl_tunnel *t,
                     const struct sl_sessions *sessions, struct sl_tunnel_status *out);

#endif
