#include "quic/wire.h"

#include <sys/timerfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "quic/internal.h"

/* Times of the timer are rounded up to about a quarter of a millisecond: a grid bounds how often it
 * is set, whatever the number of connections. */
enum { GRID_NS = 1 << 18, PATIENCE_NS = 30 * 1000 };

struct udp_wire {
    struct sl_quic_wire base;
    struct sl_loop *loop;
    struct sl_udp *udp;
    struct sl_watch timer;
    uint64_t armed; /* SL_QUIC_NEVER: not */
};

static struct udp_wire *of(struct sl_quic_wire *w)
{
    return sl_container_of(w, struct udp_wire, base);
}

static void on_packet(void *user, const struct sl_udp_packet *packet)
{
    struct udp_wire *w = user;

    sl_quic_endpoint_take(w->base.endpoint, packet, true);
}

static void on_writable(void *user)
{
    struct udp_wire *w = user;

    sl_quic_endpoint_on_writable(w->base.endpoint);
}

static const struct sl_udp_handler udp_handler = {.on_packet = on_packet,
                                                  .on_writable = on_writable};

static int wire_send(struct sl_quic_wire *base, const struct sl_udp_send *msgs, int n)
{
    return sl_udp_send(of(base)->udp, msgs, n, NULL);
}

static uint64_t wire_now(struct sl_quic_wire *base)
{
    (void)base;
    return sl_clock_ns();
}

static void wire_arm(struct sl_quic_wire *base, uint64_t due_ns)
{
    struct udp_wire *w = of(base);
    struct itimerspec at = {0};

    if (due_ns == SL_QUIC_NEVER || (due_ns |= GRID_NS - 1) >= w->armed)
        return;
    w->armed = due_ns;
    at.it_value.tv_sec = (time_t)(due_ns / NGTCP2_SECONDS);
    at.it_value.tv_nsec = (long)(due_ns % NGTCP2_SECONDS);
    sl_assert(timerfd_settime(w->timer.fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

static void on_timer(struct sl_watch *watch, unsigned what)
{
    struct udp_wire *w = watch->user;
    uint64_t n;

    (void)what;
    if (read(watch->fd, &n, sizeof(n)) < 0)
        return; /* it was set anew in this turn */
    w->armed = SL_QUIC_NEVER;
    sl_quic_endpoint_on_time(w->base.endpoint);
}

static int wire_rebind(struct sl_quic_wire *base, struct sl_addr *local)
{
    struct udp_wire *w = of(base);
    int fd, rc;

    sl_addr_set_port(local, 0);
    if ((rc = sl_socket_bind_udp(&fd, local, false, NULL)) < 0)
        return rc;
    sl_udp_free(w->udp);
    w->udp = sl_udp_new(w->loop, fd, &udp_handler, w);
    return 0;
}

static void wire_free(struct sl_quic_wire *base)
{
    struct udp_wire *w = of(base);

    sl_udp_free(w->udp);
    sl_watch_set(&w->timer, 0);
    close(w->timer.fd);
    sl_loop_defer(w->loop, w, sl_free);
}

static const struct sl_quic_wire_ops udp_wire_ops = {wire_send, wire_now, wire_arm, wire_rebind,
                                                     wire_free};

struct sl_quic_wire *sl_quic_wire_new(struct sl_loop *loop, int fd)
{
    struct udp_wire *w = sl_zalloc(sizeof(*w));
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    sl_assert(timer >= 0);
    w->base.ops = &udp_wire_ops;
    w->base.patience_ns = PATIENCE_NS;
    w->loop = loop;
    w->armed = SL_QUIC_NEVER;
    w->udp = sl_udp_new(loop, fd, &udp_handler, w);
    sl_watch_init(&w->timer, loop, timer, on_timer, w);
    sl_watch_set(&w->timer, SL_READ);
    return &w->base;
}
