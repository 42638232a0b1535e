/*
 * Strays: QUIC packets that the kernel gave to one worker while their connection is another one's,
 * because the client's address has changed or because its first packets went by the hash. They go
 * from loop to loop in memory.
 *
 * Their number is bounded by bytes for each worker: strangers can make packets that look like it.
 */
#include "app/runtime.h"

enum { MAX_STRAY_BYTES = 4 * 1024 * 1024 };

struct stray {
    struct sl_worker *to;
    uint16_t port;
    struct sl_udp_packet packet;
    uint8_t bytes[];
};

static size_t size_of(const struct sl_udp_packet *packet)
{
    return sizeof(struct stray) + packet->len;
}

static void take(void *arg)
{
    struct stray *s = arg;

    atomic_fetch_sub(&s->to->n_stray, size_of(&s->packet));
    if (s->to->proxy != NULL) /* else the program is ending */
        sl_proxy_receive(s->to->proxy, s->port, &s->packet);
    sl_free(s);
}

void sl_stray_forward(void *user, unsigned worker, uint16_t port,
                      const struct sl_udp_packet *packet)
{
    struct sl_worker *from = user;
    struct sl_worker *to = worker < from->rt->n_workers ? &from->rt->workers[worker] : NULL;
    struct stray *s;

    if (to == NULL || to == from) /* a number that a stranger made up */
        return;
    if (atomic_fetch_add(&to->n_stray, size_of(packet)) + size_of(packet) > MAX_STRAY_BYTES) {
        atomic_fetch_sub(&to->n_stray, size_of(packet));
        return;
    }
    s = sl_alloc(size_of(packet));
    *s = (struct stray){to, port, *packet};
    memcpy(s->bytes, packet->bytes, packet->len);
    s->packet.bytes = s->bytes;
    sl_loop_post(to->loop, take, s);
}
