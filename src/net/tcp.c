#include "net/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"

enum {
    LINGER_MS = 5000,       /* how long the peer may take to read our last bytes */
    LINGER_BYTES = 1 << 20, /* and how much input is swallowed meanwhile */
    READ_LEN = 64 * 1024,
    MAX_IOV = 1024,        /* IOV_MAX of Linux */
    RESET_CHECK_MS = 1000, /* a peer that is neither read nor written: has it gone? */
};

struct tcp {
    struct sl_stream stream;
    struct sl_watch watch;
    struct sl_buf pending;        /* what the kernel did not take yet */
    struct sl_task_link failing;  /* on_error at the end of the turn */
    struct sl_task_link orphaned; /* lingering: nobody but the loop can end it */
    struct sl_deadline deadline;  /* connecting, lingering, the next look at a paused one */
    size_t n_swallowed;
    int fd;
    bool fin_pending, is_connecting, is_lingering, is_freed;
};

static const struct sl_stream_ops tcp_ops;

static struct tcp *to_tcp(const struct sl_stream *s)
{
    return sl_container_of(s, struct tcp, stream);
}

static void destroy(void *ptr)
{
    struct tcp *t = ptr;

    sl_buf_clear(&t->pending);
    sl_free(t);
}

static void dispose(struct tcp *t);

static void abandon(void *user)
{
    dispose(user);
}

/* The end of a socket: nothing of it is heard any more. */
static void dispose(struct tcp *t)
{
    if (t->is_freed)
        return;
    t->is_freed = true;
    sl_watch_set(&t->watch, 0);
    sl_deadline_stop(&t->deadline);
    sl_loop_unsoon(&t->failing);
    sl_loop_unsoon(&t->orphaned);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    sl_loop_defer(t->stream.loop, t, destroy);
}

/* Nothing of it is watched while its owner is busy elsewhere, and epoll would report a reset again
 * and again if it were; so it is looked at now and then. */
static bool is_paused(const struct tcp *t)
{
    return t->watch.mask == 0 && t->stream.error == 0 && !t->stream.got_fin;
}

static void watch_for_reset(struct tcp *t)
{
    if (t->is_connecting || t->is_lingering)
        return; /* these have deadlines of their own */
    if (is_paused(t))
        sl_deadline_set(&t->deadline, RESET_CHECK_MS);
    else
        sl_deadline_clear(&t->deadline);
}

/* The one place that decides what is watched. */
static void update_watch(struct tcp *t)
{
    unsigned mask = 0;

    if (t->stream.error == 0 && !t->stream.got_fin && (t->is_lingering || t->stream.is_reading))
        mask |= SL_READ;
    if (t->stream.error == 0 && (t->is_connecting || t->stream.is_writing))
        mask |= SL_WRITE;
    sl_watch_set(&t->watch, mask);
    watch_for_reset(t);
}

static void report_error(void *user)
{
    struct tcp *t = user;

    t->stream.handler->on_error(&t->stream, t->stream.error);
}

/* Keeps the first cause and tells the owner at the end of the turn; a lingering socket has no owner
 * and just ends. */
static void fail(struct tcp *t, int code)
{
    if (t->stream.error != 0)
        return;
    t->stream.error = code;
    t->stream.is_writing = false;
    sl_deadline_clear(&t->deadline);
    update_watch(t);
    if (t->is_lingering)
        dispose(t);
    else
        sl_loop_soon(t->stream.loop, &t->failing, report_error, t);
}

static void send_fin(struct tcp *t)
{
    t->fin_pending = false;
    t->stream.sent_fin = true;
    if (shutdown(t->fd, SHUT_WR) < 0 && errno != ENOTCONN)
        fail(t, sl_error_from_errno(errno));
    else if (t->is_lingering && t->stream.got_fin)
        dispose(t);
}

/* Sends; the count of bytes that the kernel took, or a negative code. */
static ssize_t send_some(struct tcp *t, const struct iovec *iov, int n_iov)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov,
                         .msg_iovlen = (size_t)SL_MIN(n_iov, MAX_IOV)};
    ssize_t n;

    do {
        n = sendmsg(t->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : sl_error_from_errno(errno);
    return n;
}

static void keep_rest(struct tcp *t, const struct iovec *iov, int n_iov, size_t skip)
{
    for (int i = 0; i < n_iov; i++) {
        size_t skipped = SL_MIN(skip, iov[i].iov_len);

        sl_buf_append(&t->pending, (char *)iov[i].iov_base + skipped, iov[i].iov_len - skipped);
        skip -= skipped;
    }
}

static int tcp_write(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin)
{
    struct tcp *t = to_tcp(s);
    size_t total = 0;
    ssize_t n = 0;

    sl_assert(!s->sent_fin && !t->fin_pending);
    if (s->error != 0)
        return s->error;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    sl_assert(!s->is_writing || total == 0);
    if (total > 0 && !t->is_connecting)
        n = send_some(t, iov, n_iov);
    if (n < 0) {
        fail(t, (int)n);
        return (int)n;
    }
    s->bytes_out += total;
    if ((size_t)n < total)
        keep_rest(t, iov, n_iov, (size_t)n);
    t->fin_pending = fin;
    if (sl_buf_len(&t->pending) > 0 || t->is_connecting) {
        s->is_writing = true;
        update_watch(t);
        return SL_E_AGAIN;
    }
    if (fin)
        send_fin(t);
    return 0;
}

static void flush(struct tcp *t)
{
    struct iovec iov = {sl_buf_at(&t->pending), sl_buf_len(&t->pending)};
    ssize_t n = iov.iov_len > 0 ? send_some(t, &iov, 1) : 0;

    if (n < 0) {
        fail(t, (int)n);
        return;
    }
    sl_buf_consume(&t->pending, (size_t)n);
    if (sl_buf_len(&t->pending) > 0)
        return;
    sl_buf_clear(&t->pending);
    t->stream.is_writing = false;
    update_watch(t);
    if (t->fin_pending)
        send_fin(t);
    if (!t->is_lingering && !t->is_freed && t->stream.error == 0)
        t->stream.handler->on_written(&t->stream);
}

static void on_got_fin(struct tcp *t)
{
    t->stream.got_fin = true;
    update_watch(t);
    if (t->is_lingering && !t->fin_pending && sl_buf_len(&t->pending) == 0)
        dispose(t);
    else if (!t->is_lingering)
        t->stream.handler->on_fin(&t->stream);
}

static void swallow(struct tcp *t, size_t n)
{
    t->n_swallowed += n;
    if (t->n_swallowed > LINGER_BYTES)
        dispose(t);
}

static void on_readable(struct tcp *t)
{
    uint8_t *into = sl_loop_scratch(t->stream.loop, 0);
    ssize_t n;

    do {
        n = recv(t->fd, into, READ_LEN, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        fail(t, sl_error_from_errno(errno));
    } else if (n == 0) {
        on_got_fin(t);
    } else if (t->is_lingering) {
        swallow(t, (size_t)n);
    } else {
        t->stream.bytes_in += (size_t)n;
        t->stream.handler->on_data(&t->stream, into, (size_t)n);
    }
}

static void on_connected(struct tcp *t)
{
    int cause = 0;
    socklen_t len = sizeof(cause);

    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &cause, &len) < 0)
        cause = errno;
    if (cause != 0) {
        fail(t, sl_error_from_errno(cause));
        return;
    }
    t->is_connecting = false;
    sl_deadline_clear(&t->deadline);
    update_watch(t);
    if (t->stream.handler->on_ready != NULL)
        t->stream.handler->on_ready(&t->stream);
}

static void on_watch(struct sl_watch *w, unsigned what)
{
    struct tcp *t = w->user;

    if (t->is_connecting) {
        on_connected(t);
        return;
    }
    if (what & SL_WRITE && t->stream.is_writing)
        flush(t);
    if (what & SL_READ && !t->is_freed && t->stream.error == 0 && (w->mask & SL_READ))
        on_readable(t);
}

static void tcp_read(struct sl_stream *s, bool on)
{
    struct tcp *t = to_tcp(s);

    s->is_reading = on;
    update_watch(t);
}

/* RST instead of FIN, so that the peer does not take a cut response for a whole one. */
static void make_reset(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

/* POLLHUP alone may be the peer's FIN behind bytes that are still to be read. */
static void look_for_reset(struct tcp *t)
{
    struct pollfd poll_fd = {.fd = t->fd};

    if (poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & POLLERR)
        fail(t, SL_E_RESET);
    else
        watch_for_reset(t);
}

static void on_deadline(struct sl_deadline *d)
{
    struct tcp *t = d->user;

    if (t->is_connecting) {
        fail(t, SL_E_TIMEOUT);
        return;
    }
    if (!t->is_lingering) {
        look_for_reset(t);
        return;
    }
    if (sl_buf_len(&t->pending) > 0)
        make_reset(t->fd);
    dispose(t);
}

static void tcp_free(struct sl_stream *s, enum sl_close how)
{
    struct tcp *t = to_tcp(s);
    bool is_flushed = sl_buf_len(&t->pending) == 0;

    if (how == SL_CLOSE_LINGER && s->error == 0 && !t->is_connecting &&
        !(s->got_fin && is_flushed)) {
        t->is_lingering = true;
        sl_loop_unsoon(&t->failing);
        sl_loop_adopt(s->loop, &t->orphaned, abandon, t);
        sl_deadline_set(&t->deadline, LINGER_MS);
        if (is_flushed && !s->sent_fin)
            send_fin(t);
        else if (!s->sent_fin)
            t->fin_pending = true;
        if (!t->is_freed)
            update_watch(t);
        return;
    }
    if (how == SL_CLOSE_ABORT && t->fd >= 0 && !(s->sent_fin && s->got_fin))
        make_reset(t->fd);
    dispose(t);
}

static const struct sl_stream_ops tcp_ops = {tcp_write, tcp_read, tcp_free, NULL};

struct sl_stream *sl_tcp_new(struct sl_loop *loop, int fd)
{
    struct tcp *t = sl_zalloc(sizeof(*t));
    int one = 1;

    t->stream.ops = &tcp_ops;
    t->stream.loop = loop;
    t->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof(one)); /* fails on Unix sockets, which need none */
    sl_watch_init(&t->watch, loop, fd, on_watch, t);
    sl_deadline_init(&t->deadline, loop, on_deadline, t);
    return &t->stream;
}

static int fill_address(struct sockaddr_storage *out, socklen_t *len, const struct sl_addr *to,
                        const char *unix_path)
{
    struct sockaddr_un *un = (struct sockaddr_un *)out;

    memset(out, 0, sizeof(*out));
    if (unix_path == NULL) {
        *len = sl_addr_len(to);
        memcpy(out, to, *len);
        return 0;
    }
    if (strlen(unix_path) >= sizeof(un->sun_path))
        return SL_E_CONFIG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, unix_path, strlen(unix_path) + 1);
    *len = sizeof(*un);
    return 0;
}

int sl_tcp_connect(struct sl_stream **out, struct sl_loop *loop, const struct sl_addr *to,
                   const char *unix_path, uint64_t timeout_ms,
                   const struct sl_stream_handler *handler, void *user)
{
    struct sockaddr_storage sa;
    socklen_t len;
    struct tcp *t;
    int fd, rc;

    if ((rc = fill_address(&sa, &len, to, unix_path)) < 0)
        return rc;
    fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sl_error_from_errno(errno);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) {
        rc = errno == EAGAIN ? SL_E_REFUSED
                             : sl_error_from_errno(errno); /* a Unix socket with a full backlog */
        close(fd);
        return rc;
    }
    t = to_tcp(sl_tcp_new(loop, fd));
    sl_stream_set_handler(&t->stream, handler, user);
    t->is_connecting = true;
    if (timeout_ms > 0)
        sl_deadline_set(&t->deadline, timeout_ms);
    update_watch(t);
    *out = &t->stream;
    return 0;
}

int sl_tcp_fd(const struct sl_stream *s)
{
    return s->ops == &tcp_ops ? to_tcp(s)->fd : -1;
}

int sl_tcp_limit_unsent(const struct sl_stream *s, int bytes)
{
    int fd = sl_tcp_fd(s);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) < 0)
        return SL_E_SYSTEM;
    return 0;
}

int sl_tcp_addrs(const struct sl_stream *s, struct sl_addr *local, struct sl_addr *remote)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int fd = sl_tcp_fd(s);

    if (local != NULL && (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ||
                          sl_addr_from_sockaddr(local, (struct sockaddr *)&sa, len) < 0))
        return SL_E_SYSTEM;
    len = sizeof(sa);
    if (remote != NULL && (getpeername(fd, (struct sockaddr *)&sa, &len) < 0 ||
                           sl_addr_from_sockaddr(remote, (struct sockaddr *)&sa, len) < 0))
        return SL_E_SYSTEM;
    return 0;
}
