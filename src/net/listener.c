#include "net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"

enum {
    BACKLOG = 4096,
    ACCEPTS_PER_TURN = 64, /* so that a storm of connections does not starve those that exist */
    PAUSE_MS = 100,
};

struct sl_listener {
    struct sl_loop *loop;
    struct sl_watch watch;
    struct sl_timer retry;
    sl_on_accept *on_accept;
    void *user;
    int fd;
    bool is_paused;  /* by the owner */
    bool is_starved; /* descriptors ran out */
};

static int fail(int fd, struct sl_err *err, const char *what, const char *where)
{
    int cause = errno;

    if (fd >= 0)
        close(fd);
    return sl_err_set(err, sl_error_from_errno(cause), "cannot %s %s: %s", what, where,
                      strerror(cause));
}

int sl_socket_listen(int *out, struct sl_addr *at, bool reuseport, struct sl_err *err)
{
    char text[SL_ADDR_TEXT_LEN];
    socklen_t len = sizeof(*at);
    int one = 1, fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    sl_addr_text(at, text);
    if (fd < 0)
        return fail(fd, err, "make a socket for", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (reuseport)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (at->sa.sa_family == AF_INET6) {
        int v6only = !IN6_IS_ADDR_UNSPECIFIED(&at->in6.sin6_addr); /* [::] serves IPv4, too */

        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
    }
    if (bind(fd, &at->sa, sl_addr_len(at)) < 0 || listen(fd, BACKLOG) < 0)
        return fail(fd, err, "listen on", text);
    if (getsockname(fd, &at->sa, &len) < 0)
        return fail(fd, err, "read the address of", text);
    *out = fd;
    return 0;
}

int sl_socket_listen_unix(int *out, const char *path, int mode, struct sl_err *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = -1;

    if (strlen(path) >= sizeof(un.sun_path))
        return sl_err_set(err, SL_E_CONFIG, "%s: a Unix socket path has at most %zu bytes", path,
                          sizeof(un.sun_path) - 1);
    memcpy(un.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(fd, err, "make a socket for", path);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 || errno != ECONNREFUSED)
        errno = errno == ENOENT ? 0 : EADDRINUSE; /* somebody answers there */
    else
        errno = unlink(path) < 0 ? errno : 0; /* left over from a process that is gone */
    if (errno != 0)
        return fail(fd, err, "listen on", path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(fd, err, "make a socket for", path);
    if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || chmod(path, (mode_t)mode) < 0 ||
        listen(fd, BACKLOG) < 0)
        return fail(fd, err, "listen on", path);
    *out = fd;
    return 0;
}

static void update(struct sl_listener *l)
{
    sl_watch_set(&l->watch, l->is_paused || l->is_starved ? 0 : SL_READ);
}

static void on_retry(struct sl_timer *t)
{
    struct sl_listener *l = t->user;

    l->is_starved = false;
    update(l);
}

/* Out of descriptors or memory: the connection waits in the kernel's queue; trying at once would
 * only spin. */
static void starve(struct sl_listener *l, int cause)
{
    static _Atomic uint64_t n_starved;

    if (n_starved++ % 100 == 0)
        sl_log_error(
            "cannot accept connections, trying again every 100 ms: raise the limit of open files",
            sl_f_str("error", strerror(cause)));
    l->is_starved = true;
    update(l);
    sl_timer_set(&l->retry, PAUSE_MS);
}

static void on_acceptable(struct sl_watch *w, unsigned what)
{
    struct sl_listener *l = w->user;

    (void)what;
    for (int i = 0; i < ACCEPTS_PER_TURN && l->watch.mask != 0; i++) {
        struct sockaddr_storage sa;
        struct sl_addr remote;
        socklen_t len = sizeof(sa);
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            starve(l, errno);
            return;
        }
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            continue; /* this connection is gone already (ECONNABORTED and the like) */
        if (sl_addr_from_sockaddr(&remote, (struct sockaddr *)&sa, len) < 0) {
            close(fd);
            continue;
        }
        l->on_accept(l->user, fd, &remote);
    }
}

struct sl_listener *sl_listener_new(struct sl_loop *loop, int fd, sl_on_accept *on_accept,
                                    void *user)
{
    struct sl_listener *l = sl_zalloc(sizeof(*l));

    l->loop = loop;
    l->fd = fd;
    l->on_accept = on_accept;
    l->user = user;
    sl_timer_init(&l->retry, loop, on_retry, l);
    sl_watch_init(&l->watch, loop, fd, on_acceptable, l);
    update(l);
    return l;
}

void sl_listener_free(struct sl_listener *l)
{
    if (l == NULL)
        return;
    sl_timer_clear(&l->retry);
    sl_watch_set(&l->watch, 0);
    close(l->fd);
    sl_loop_defer(l->loop, l, sl_free);
}

int sl_listener_fd(const struct sl_listener *l)
{
    return l->fd;
}

void sl_listener_pause(struct sl_listener *l, bool paused)
{
    l->is_paused = paused;
    update(l);
}
