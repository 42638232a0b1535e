#include "net/udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    RECEIVE_LEN = 64 * 1024, /* the most that the kernel puts into one message */
    RECEIVE_BATCH = SL_SCRATCH_BATCH_LEN / RECEIVE_LEN,
    RECEIVE_ROUNDS = 4, /* batches in a turn: a flood must not starve the rest of the loop */
    SEND_BATCH = 32,
    RECEIVE_BUFFER = 4 << 20, /* of the kernel, as far as it lets us */
    SEND_BUFFER = 2 << 20,
    ECN_MASK = 3,
};

/* What was left of a message when the socket was full: some of its datagrams have gone out. */
struct rest {
    struct sl_udp_send msg;
    struct sl_addr remote, local;
    uint8_t bytes[];
};

struct sl_udp {
    struct sl_loop *loop;
    struct sl_watch watch;
    const struct sl_udp_handler *handler;
    void *user;
    struct rest *rest; /* NULL: none */
    int fd, family;
    uint16_t port; /* network byte order */
    bool no_gso, is_full, is_paused, is_freed;
};

/* --- making sockets --- */

static void set_int(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value)); /* what is missing costs speed alone */
}

/* Beyond the limit of ordinary users when we may. */
static void set_buffer(int fd, int forced, int plain, int len)
{
    if (setsockopt(fd, SOL_SOCKET, forced, &len, sizeof(len)) < 0)
        set_int(fd, SOL_SOCKET, plain, len);
}

/* Large ones, so that a burst of small datagrams finds room. */
static void set_buffers(int fd)
{
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_BUFFER);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
}

static void set_options(int fd, const struct sl_addr *at)
{
    /* An IPv6 socket takes these, too: they hold for the IPv4 that reaches it. */
    set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
    if (at->sa.sa_family == AF_INET) {
        set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
    } else {
        int v6only = !IN6_IS_ADDR_UNSPECIFIED(&at->in6.sin6_addr); /* [::] serves IPv4, too */

        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
        set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
        set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    }
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    set_buffers(fd);
}

void sl_socket_allow_fragments(int fd)
{
    set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT);
    set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT);
}

int sl_socket_connect_udp(int *out, const struct sl_addr *to)
{
    int fd = socket(to->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int cause = errno;

    if (fd < 0)
        return sl_error_from_errno(cause);
    if (connect(fd, &to->sa, sl_addr_len(to)) < 0) {
        cause = errno;
        close(fd);
        return sl_error_from_errno(cause);
    }
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    set_buffers(fd);
    *out = fd;
    return 0;
}

int sl_socket_bind_udp(int *out, struct sl_addr *at, bool reuseport, struct sl_err *err)
{
    char text[SL_ADDR_TEXT_LEN];
    socklen_t len = sizeof(*at);
    int fd = socket(at->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int cause;

    sl_addr_text(at, text);
    if (fd >= 0) {
        set_options(fd, at);
        if (reuseport)
            set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        if (bind(fd, &at->sa, sl_addr_len(at)) == 0 && getsockname(fd, &at->sa, &len) == 0) {
            *out = fd;
            return 0;
        }
    }
    cause = errno;
    if (fd >= 0)
        close(fd);
    return sl_err_set(err, sl_error_from_errno(cause), "cannot bind UDP %s: %s", text,
                      strerror(cause));
}

/* --- addresses: IPv4 is IPv4 for the program, and mapped into IPv6 for an IPv6 socket --- */

static void from_wire(struct sl_addr *out, const struct sockaddr *sa, socklen_t len)
{
    if (sl_addr_from_sockaddr(out, sa, len) == 0 && sa->sa_family == AF_INET6 &&
        IN6_IS_ADDR_V4MAPPED(&out->in6.sin6_addr))
        sl_addr_from_ip16(out, ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr,
                          sl_addr_port(out));
}

static void to_wire(const struct sl_udp *u, struct sl_addr *out, const struct sl_addr *a)
{
    uint8_t ip[16];

    *out = *a;
    if (u->family != AF_INET6 || a->sa.sa_family != AF_INET)
        return;
    sl_addr_to_ip16(a, ip);
    memset(out, 0, sizeof(*out));
    out->in6.sin6_family = AF_INET6;
    out->in6.sin6_port = a->in4.sin_port;
    memcpy(out->in6.sin6_addr.s6_addr, ip, sizeof(ip));
}

/* --- receiving --- */

/* What recvmmsg() fills. Not on the heap: it is used within one call. */
struct receiving {
    struct mmsghdr msgs[RECEIVE_BATCH];
    struct iovec iov[RECEIVE_BATCH];
    struct sockaddr_in6 from[RECEIVE_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[RECEIVE_BATCH][128];
};

static void tell_refused(struct sl_udp *u)
{
    if (u->handler->on_refused != NULL)
        u->handler->on_refused(u->user);
}

static int receive(struct sl_udp *u, struct receiving *r)
{
    uint8_t *bytes = sl_loop_scratch(u->loop, 4);
    int n;

    for (int i = 0; i < RECEIVE_BATCH; i++) {
        r->iov[i] = (struct iovec){bytes + (size_t)i * RECEIVE_LEN, RECEIVE_LEN};
        r->msgs[i].msg_hdr = (struct msghdr){
            .msg_name = &r->from[i],
            .msg_namelen = sizeof(r->from[i]),
            .msg_iov = &r->iov[i],
            .msg_iovlen = 1,
            .msg_control = r->control[i],
            .msg_controllen = sizeof(r->control[i]),
        };
    }
    do {
        n = recvmmsg(u->fd, r->msgs, RECEIVE_BATCH, 0, NULL);
    } while (n < 0 && errno == EINTR);
    /* An error is of a datagram that we sent once: it says nothing about the socket. */
    if (n < 0 && errno == ECONNREFUSED)
        tell_refused(u);
    return n;
}

static void take_local(const struct sl_udp *u, struct sl_udp_packet *p, const struct cmsghdr *c)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = u->port};

    if (c->cmsg_level == IPPROTO_IP) {
        const struct in_pktinfo *info = (const void *)CMSG_DATA(c);

        p->local.in4 = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = u->port, .sin_addr = info->ipi_addr};
    } else {
        const struct in6_pktinfo *info = (const void *)CMSG_DATA(c);

        in6.sin6_addr = info->ipi6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
            in6.sin6_scope_id = info->ipi6_ifindex;
        from_wire(&p->local, (struct sockaddr *)&in6, sizeof(in6));
    }
}

static void take_control(const struct sl_udp *u, struct sl_udp_packet *p, const struct cmsghdr *c)
{
    int level = c->cmsg_level, type = c->cmsg_type, value;

    if ((level == IPPROTO_IP && type == IP_PKTINFO) ||
        (level == IPPROTO_IPV6 && type == IPV6_PKTINFO)) {
        take_local(u, p, c);
    } else if (level == IPPROTO_IP && type == IP_TOS) {
        p->ecn = *CMSG_DATA(c) & ECN_MASK; /* one byte, unlike the traffic class */
    } else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
        memcpy(&value, CMSG_DATA(c), sizeof(value));
        p->ecn = value & ECN_MASK;
    } else if (level == IPPROTO_UDP && type == UDP_GRO) {
        memcpy(&value, CMSG_DATA(c), sizeof(value));
        p->segment = (size_t)value;
    }
}

static void deliver(struct sl_udp *u, struct mmsghdr *m)
{
    struct msghdr *h = &m->msg_hdr;
    struct sl_udp_packet p = {.bytes = h->msg_iov->iov_base, .len = m->msg_len};

    p.segment = p.len;
    from_wire(&p.remote, h->msg_name, h->msg_namelen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c))
        take_control(u, &p, c);
    u->handler->on_packet(u->user, &p);
}

static void on_readable(struct sl_udp *u)
{
    struct receiving r;
    int n, round = 0;
    bool any = false;

    do {
        n = receive(u, &r);
        any |= n > 0;
        for (int i = 0; i < n && !u->is_freed; i++)
            deliver(u, &r.msgs[i]);
    } while (n == RECEIVE_BATCH && ++round < RECEIVE_ROUNDS && !u->is_freed && !u->is_paused);
    if (any && !u->is_freed && u->handler->on_batch != NULL)
        u->handler->on_batch(u->user);
}

/* --- sending --- */

/* Where in an array of messages we are. A piece is what one system message carries: a whole
 * `struct sl_udp_send` with GSO, else one datagram of it. */
struct cursor {
    const struct sl_udp_send *msgs;
    int n, i;
    size_t at;     /* within message `i` */
    bool is_split; /* message `i` goes out one datagram at a time: the kernel refused it whole */
    bool is_tried; /* the piece met the error of one before it */
};

struct sending {
    struct mmsghdr msgs[SEND_BATCH];
    struct iovec iov[SEND_BATCH];
    struct sl_addr to[SEND_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[SEND_BATCH][128];
    int n;
};

static size_t piece_len(const struct sl_udp *u, const struct cursor *c)
{
    const struct sl_udp_send *m = &c->msgs[c->i];
    size_t rest = m->len - c->at;

    return u->no_gso || c->is_split ? SL_MIN(rest, m->segment) : rest;
}

static void advance(struct cursor *c, size_t len)
{
    c->at += len;
    c->is_tried = false;
    if (c->at < c->msgs[c->i].len)
        return;
    c->i++;
    c->at = 0;
    c->is_split = false;
}

static void add_control(struct msghdr *h, int level, int type, const void *value, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)h->msg_control + h->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), value, len);
    h->msg_controllen += CMSG_SPACE(len);
}

static void add_local(struct msghdr *h, const struct sl_addr *local)
{
    if (local->sa.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = local->in4.sin_addr};

        add_control(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else {
        struct in6_pktinfo info = {.ipi6_addr = local->in6.sin6_addr,
                                   .ipi6_ifindex = local->in6.sin6_scope_id};

        add_control(h, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

static void add_controls(struct msghdr *h, const struct sl_udp_send *m, size_t len)
{
    int tos = m->ecn;
    uint16_t segment = (uint16_t)m->segment;

    if (m->local != NULL)
        add_local(h, m->local);
    if (tos != 0 && m->remote->sa.sa_family == AF_INET)
        add_control(h, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
    else if (tos != 0)
        add_control(h, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
    if (len > m->segment)
        add_control(h, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
}

static void add_remote(const struct sl_udp *u, struct sending *s, const struct sl_addr *remote)
{
    struct msghdr *h = &s->msgs[s->n].msg_hdr;

    to_wire(u, &s->to[s->n], remote);
    h->msg_name = &s->to[s->n];
    h->msg_namelen = sl_addr_len(&s->to[s->n]);
}

/* As many of the next pieces as one system call takes. */
static void fill(const struct sl_udp *u, struct sending *s, struct cursor c)
{
    for (s->n = 0; s->n < SEND_BATCH && c.i < c.n; s->n++) {
        const struct sl_udp_send *m = &c.msgs[c.i];
        struct msghdr *h = &s->msgs[s->n].msg_hdr;
        size_t len = piece_len(u, &c);

        s->iov[s->n] = (struct iovec){(uint8_t *)m->bytes + c.at, len};
        *h = (struct msghdr){
            .msg_iov = &s->iov[s->n], .msg_iovlen = 1, .msg_control = s->control[s->n]};
        if (m->remote != NULL)
            add_remote(u, s, m->remote);
        add_controls(h, m, len);
        advance(&c, len);
    }
}

/* The first piece was refused. False when the socket is full. */
static bool on_refused(struct sl_udp *u, struct cursor *c, int cause, bool *too_long)
{
    size_t len = piece_len(u, c);

    if (cause == EINTR)
        return true;
    if (cause == EAGAIN)
        return false;
    if (cause == ECONNREFUSED && !c->is_tried) {
        /* Of an earlier datagram; this one was not sent. */
        tell_refused(u);
        c->is_tried = true;
        return true;
    }
    if (len > c->msgs[c->i].segment && (cause == EIO || cause == EINVAL)) {
        /* EIO: the device cannot do it. EINVAL: this message alone, as when its datagrams are
         * longer than the device takes, which their own refusal tells then. */
        u->no_gso |= cause == EIO;
        c->is_split = true;
        return true;
    }
    if (cause == EMSGSIZE && too_long != NULL)
        *too_long = true;
    advance(c, len); /* lost, as in a network */
    return true;
}

static void send_pieces(struct sl_udp *u, struct cursor *c, bool *too_long)
{
    struct sending s;
    bool go_on = true;

    while (go_on && c->i < c->n) {
        int n;

        fill(u, &s, *c);
        n = sendmmsg(u->fd, s.msgs, (unsigned)s.n, MSG_NOSIGNAL);
        for (int i = 0; i < n; i++)
            advance(c, s.iov[i].iov_len);
        if (n < 0)
            go_on = on_refused(u, c, errno, too_long);
    }
}

static void update_watch(struct sl_udp *u)
{
    sl_watch_set(&u->watch, (u->is_paused ? 0u : SL_READ) | (u->is_full ? SL_WRITE : 0u));
}

/* The receiver of a message must get all of its datagrams or none: its sender was told that it
 * went. */
static void keep_rest(struct sl_udp *u, const struct cursor *c)
{
    const struct sl_udp_send *m = &c->msgs[c->i];
    size_t len = m->len - c->at;
    struct rest *r = sl_alloc(sizeof(*r) + len);

    r->msg = *m;
    if (m->remote != NULL) {
        r->remote = *m->remote;
        r->msg.remote = &r->remote;
    }
    if (m->local != NULL) {
        r->local = *m->local;
        r->msg.local = &r->local;
    }
    memcpy(r->bytes, m->bytes + c->at, len);
    r->msg.bytes = r->bytes;
    r->msg.len = len;
    u->rest = r;
}

int sl_udp_send(struct sl_udp *u, const struct sl_udp_send *msgs, int n, bool *too_long)
{
    struct cursor c = {.msgs = msgs, .n = n};

    sl_assert(!u->is_freed);
    for (int i = 0; i < n; i++)
        sl_assert((msgs[i].len == msgs[i].segment || msgs[i].len <= SL_UDP_SEND_MAX) &&
                  msgs[i].len <= msgs[i].segment * SL_UDP_SEGMENTS_MAX &&
                  (msgs[i].remote != NULL || msgs[i].ecn == 0));
    if (too_long != NULL)
        *too_long = false;
    if (u->is_full)
        return 0;
    send_pieces(u, &c, too_long);
    if (c.i == n)
        return n;
    u->is_full = true;
    update_watch(u);
    if (c.at == 0)
        return c.i;
    keep_rest(u, &c);
    return c.i + 1;
}

static void send_rest(struct sl_udp *u)
{
    struct rest *r = u->rest;
    struct cursor c = {.msgs = &r->msg, .n = 1};

    send_pieces(u, &c, NULL);
    if (c.i < c.n) {
        r->msg.bytes += c.at;
        r->msg.len -= c.at;
        return;
    }
    sl_free(r);
    u->rest = NULL;
}

static void on_sendable(struct sl_udp *u)
{
    if (u->rest != NULL)
        send_rest(u);
    if (u->rest != NULL)
        return;
    u->is_full = false;
    update_watch(u);
    u->handler->on_writable(u->user);
}

/* --- the socket --- */

static void on_watch(struct sl_watch *w, unsigned what)
{
    struct sl_udp *u = w->user;

    if (what & SL_WRITE && u->is_full)
        on_sendable(u);
    if (what & SL_READ && !u->is_freed && !u->is_paused)
        on_readable(u);
}

struct sl_udp *sl_udp_new(struct sl_loop *loop, int fd, const struct sl_udp_handler *handler,
                          void *user)
{
    struct sl_udp *u = sl_zalloc(sizeof(*u));
    struct sockaddr_in6 at = {0};
    socklen_t len = sizeof(at);

    u->loop = loop;
    u->fd = fd;
    u->handler = handler;
    u->user = user;
    sl_assert(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    u->family = at.sin6_family;
    u->port = at.sin6_port; /* at the same place in IPv4 */
    sl_watch_init(&u->watch, loop, fd, on_watch, u);
    update_watch(u);
    return u;
}

static void destroy(void *ptr)
{
    struct sl_udp *u = ptr;

    sl_free(u->rest);
    sl_free(u);
}

void sl_udp_free(struct sl_udp *u)
{
    if (u == NULL)
        return;
    u->is_freed = true;
    sl_watch_set(&u->watch, 0);
    close(u->fd);
    sl_loop_defer(u->loop, u, destroy);
}

bool sl_udp_has_gso(const struct sl_udp *u)
{
    return !u->no_gso;
}

void sl_udp_pause(struct sl_udp *u, bool paused)
{
    u->is_paused = paused;
    update_watch(u);
}

int sl_udp_fd(const struct sl_udp *u)
{
    return u->fd;
}
