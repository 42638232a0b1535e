/*
 * For the tests of raw UDP: a proxy with UDP ports, targets and visitors that are sockets of this
 * loop, and a tunnel that is not there: an edge and sessions of which the test plays the other end.
 */
#ifndef SL_PROXY_TEST_UDP_H
#define SL_PROXY_TEST_UDP_H

#include <dirent.h>
#include "proxy/test_world.h"
#include "proxy/udp.h"

/* --- the tunnel --- */

struct sl_edge {
    bool is_up, is_full;
    struct sl_session *last; /* that was opened */
    struct sl_proxy_header from;
    int n_open, n_opened;
};

/* What was sent into sessions, and how many the proxy has let go of. */
static struct {
    struct sl_buf sent; /* of the last datagram */
    int n_sent, n_freed, rc;
} tunnel SL_UNUSED;

struct sl_session *sl_edge_open_session(struct sl_edge *e, const struct sl_proxy_header *from,
                                        const struct sl_session_handler *handler, void *user)
{
    struct sl_session *s;

    if (e->is_full)
        return NULL;
    s = sl_zalloc(sizeof(*s));
    s->handler = handler;
    s->user = user;
    e->last = s;
    e->from = *from;
    e->n_open++;
    e->n_opened++;
    return s;
}

int sl_session_send(struct sl_session *s SL_UNUSED, const uint8_t *bytes, size_t len)
{
    sl_buf_reset(&tunnel.sent);
    sl_buf_append(&tunnel.sent, bytes, len);
    tunnel.n_sent++;
    return tunnel.rc;
}

void sl_session_free(struct sl_session **ps)
{
    if (*ps == NULL)
        return;
    tunnel.n_freed++;
    sl_free(*ps);
    *ps = NULL;
}

bool sl_edge_is_up(const struct sl_edge *e)
{
    return e->is_up;
}

struct sl_stream *sl_edge_open(struct sl_edge *e SL_UNUSED, struct sl_str opening SL_UNUSED,
                               const struct sl_stream_handler *handler SL_UNUSED,
                               void *user SL_UNUSED)
{
    return NULL;
}

uint32_t sl_edge_hold_ms(const struct sl_edge *e SL_UNUSED)
{
    return 0;
}

/* --- sockets --- */

enum { SPOT_KEPT = 8 };

/* A visitor or a target: keeps what it gets, and answers when told to. */
struct spot {
    struct sl_udp *udp;
    struct sl_addr at;
    struct sl_addr remote;        /* of the last datagram */
    struct sl_buf got[SPOT_KEPT]; /* the first datagrams */
    size_t n_got;                 /* datagrams */
    size_t n_bytes;
    const char *answer; /* NULL: none; "": what came */
};

static inline void spot_send(struct spot *s, const struct sl_addr *to, const void *bytes,
                             size_t len)
{
    struct sl_udp_send m = {.remote = to, .bytes = bytes, .len = len, .segment = len};

    sl_check(sl_udp_send(s->udp, &m, 1, NULL) == 1);
}

static inline void spot_take(struct spot *s, const uint8_t *bytes, size_t len)
{
    if (s->n_got < SPOT_KEPT)
        sl_buf_append(&s->got[s->n_got], bytes, len);
    s->n_got++;
    s->n_bytes += len;
    if (s->answer != NULL && s->answer[0] != '\0')
        spot_send(s, &s->remote, s->answer, strlen(s->answer));
    else if (s->answer != NULL)
        spot_send(s, &s->remote, bytes, len);
}

static inline void spot_on_packet(void *user, const struct sl_udp_packet *p)
{
    struct spot *s = user;
    struct sl_datagrams d = {p->bytes, p->len, p->segment};

    s->remote = p->remote;
    do {
        struct sl_datagrams one = sl_datagrams_first(&d);

        spot_take(s, one.bytes, one.len);
    } while (d.len > 0);
}

static inline void spot_on_writable(void *user SL_UNUSED)
{
}

static inline void spot_open_at(struct spot *s, struct sl_loop *loop, const char *ip, uint16_t port)
{
    static const struct sl_udp_handler handler = {.on_packet = spot_on_packet,
                                                  .on_writable = spot_on_writable};
    int fd;

    memset(s, 0, sizeof(*s));
    sl_assert(sl_addr_parse(&s->at, sl_str_c(ip), port) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &s->at, false, NULL) == 0);
    sl_socket_allow_fragments(fd);
    s->udp = sl_udp_new(loop, fd, &handler, s);
}

static inline void spot_open(struct spot *s, struct sl_loop *loop)
{
    spot_open_at(s, loop, "127.0.0.1", 0);
}

static inline void spot_forget(struct spot *s)
{
    for (int i = 0; i < SPOT_KEPT; i++)
        sl_buf_reset(&s->got[i]);
    s->n_got = s->n_bytes = 0;
}

static inline void spot_close(struct spot *s)
{
    sl_udp_free(s->udp);
    for (int i = 0; i < SPOT_KEPT; i++)
        sl_buf_clear(&s->got[i]);
    s->udp = NULL;
}

static inline uint16_t spot_port(const struct spot *s)
{
    return sl_addr_port(&s->at);
}

/* --- the proxy --- */

struct udp_world {
    struct world w;
    struct sl_edge edge;
    struct sl_edge *found; /* what the name of a tunnel leads to */
    uint16_t port;         /* of UDP */
    struct sl_addr at;     /* the same */
};

static inline struct sl_edge *udp_find_edge(void *user, struct sl_str name)
{
    struct udp_world *u = user;

    sl_check_str(name, SL_STR("main"));
    return u->found;
}

static inline void udp_listen(struct udp_world *u)
{
    int fd;

    sl_assert(sl_socket_bind_udp(&fd, &u->at, true, NULL) == 0);
    u->port = sl_addr_port(&u->at);
    sl_proxy_listen_udp(u->w.proxy, fd, u->port);
}

static inline void udp_begin(struct udp_world *u)
{
    memset(u, 0, sizeof(*u));
    tunnel.n_sent = tunnel.n_freed = tunnel.rc = 0;
    world_begin(&u->w);
    u->w.proxy->find_edge = udp_find_edge;
    u->w.proxy->user = u;
    sl_assert(sl_addr_parse(&u->at, SL_STR("127.0.0.1"), 0) == 0);
    udp_listen(u);
}

/* A route for the UDP port; the rest as `spec` says. */
static inline void udp_add(struct udp_world *u, const struct sl_route_spec *spec,
                           const struct sl_target_spec *target)
{
    const struct sl_port_range range = {u->port, u->port};
    struct sl_route_spec full = *spec;

    full.name = spec->name.len > 0 ? spec->name : SL_STR("raw");
    full.ports = &range;
    full.n_ports = 1;
    full.transport = SL_TRANSPORT_UDP;
    full.protocol = SL_PROTOCOL_TCP;
    full.targets = target;
    full.n_targets = 1;
    world_route(&u->w, &full);
}

static inline struct sl_target_spec udp_target(const struct spot *s)
{
    return (struct sl_target_spec){.host = SL_STR("127.0.0.1"), .port = spot_port(s)};
}

/* The one route of a test: to this target. */
static inline void udp_forward(struct udp_world *u, const struct spot *target)
{
    const struct sl_target_spec to = udp_target(target);

    udp_add(u, &(struct sl_route_spec){.name = SL_STR("raw")}, &to);
    world_publish(&u->w);
}

static inline const struct sl_proxy_stats *udp_stats(struct udp_world *u)
{
    return sl_proxy_stats(u->w.proxy);
}

static inline uint64_t udp_sessions(struct udp_world *u)
{
    return udp_stats(u)->udp_sessions;
}

static inline void udp_say(struct udp_world *u, struct spot *visitor, const char *text)
{
    spot_send(visitor, &u->at, text, strlen(text));
}

static inline void udp_end(struct udp_world *u)
{
    world_end(&u->w);
    sl_buf_clear(&tunnel.sent);
}

/* Descriptors of this process. */
static inline int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

#endif
