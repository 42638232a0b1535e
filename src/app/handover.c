#include "app/handover.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16 };

/* --- addresses --- */

/* Fails also for the name that a socket has before it is in its place. */
static int address(struct sockaddr_un *un, const char *path, const char *more, struct sl_err *err)
{
    int n = snprintf(un->sun_path, sizeof(un->sun_path), "%s%s", path, more);

    un->sun_family = AF_UNIX;
    if (path[0] != '\0' && n >= 0 && (size_t)n < sizeof(un->sun_path))
        return 0;
    return sl_err_set(err, SL_E_CONFIG, "\"%s\": a path of a socket has 1 to %zu bytes", path,
                      sizeof(un->sun_path) - 1 - strlen(more));
}

static int open_socket(int *fd, struct sl_err *err)
{
    *fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0)
        return 0;
    return sl_err_set(err, sl_error_from_errno(errno), "cannot make a socket: %s", strerror(errno));
}

static int fail(int fd, const char *what, const char *path, struct sl_err *err)
{
    int cause = errno;

    close(fd);
    return sl_err_set(err, sl_error_from_errno(cause), "cannot %s %s: %s", what, path,
                      strerror(cause));
}

int sl_handover_connect(int *fd, const char *path, struct sl_err *err)
{
    struct sockaddr_un un;
    int rc;

    if ((rc = address(&un, path, "", err)) < 0 || (rc = open_socket(fd, err)) < 0)
        return rc;
    if (connect(*fd, (struct sockaddr *)&un, sizeof(un)) == 0)
        return 0;
    if (errno != ENOENT && errno != ECONNREFUSED)
        return fail(*fd, "connect to", path, err);
    close(*fd);
    return sl_err_set(err, SL_E_NOT_FOUND, "nobody is there");
}

/* A file that is not a socket is not ours to replace. */
static int check_place(const char *path, struct sl_err *err)
{
    struct stat st;

    if (lstat(path, &st) < 0 || S_ISSOCK(st.st_mode))
        return 0;
    return sl_err_set(err, SL_E_IN_USE, "%s is there and not a socket", path);
}

int sl_handover_listen(int *fd, const char *path, struct sl_err *err)
{
    struct sockaddr_un un;
    char more[32];
    int rc;

    snprintf(more, sizeof(more), ".%ld", (long)getpid());
    if ((rc = address(&un, path, more, err)) < 0 || (rc = check_place(path, err)) < 0 ||
        (rc = open_socket(fd, err)) < 0)
        return rc;
    unlink(un.sun_path); /* of a process that had our number and died in here */
    if (bind(*fd, (struct sockaddr *)&un, sizeof(un)) < 0)
        return fail(*fd, "listen on", path, err);
    /* Nobody can connect before listen(), so nobody sees another mode. */
    if (chmod(un.sun_path, 0600) == 0 && listen(*fd, BACKLOG) == 0 &&
        rename(un.sun_path, path) == 0)
        return 0;
    rc = fail(*fd, "listen on", path, err);
    unlink(un.sun_path);
    return rc;
}

int sl_handover_check_peer(int fd, struct sl_handover_peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return SL_E_DENIED;
    *peer = (struct sl_handover_peer){cred.uid, cred.pid};
    return cred.uid == geteuid() || cred.uid == 0 ? 0 : SL_E_DENIED;
}

/* --- messages --- */

static int send_message(int fd, struct msghdr *m)
{
    ssize_t n;

    do {
        n = sendmsg(fd, m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? sl_error_from_errno(errno) : 0;
}

int sl_handover_send(int fd, enum sl_handover_kind kind, struct sl_str body)
{
    char first = (char)kind;
    struct iovec iov[] = {{&first, 1}, {(void *)body.p, body.len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = body.len > 0 ? 2 : 1};

    sl_assert(body.len <= SL_HANDOVER_MAX);
    return send_message(fd, &m);
}

union control {
    char bytes[CMSG_SPACE(SL_HANDOVER_FDS * sizeof(int))];
    struct cmsghdr align;
};

int sl_handover_send_fds(int fd, const int *fds, size_t n)
{
    char kind = SL_HANDOVER_SOCKETS;
    struct iovec iov = {&kind, 1};
    union control control;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};
    struct cmsghdr *c;

    sl_assert(n > 0 && n <= SL_HANDOVER_FDS);
    memset(&control, 0, sizeof(control));
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    return send_message(fd, &m);
}

static void take_fds(struct msghdr *m, struct sl_fds *fds)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n && c->cmsg_type == SCM_RIGHTS; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            sl_fds_add(fds, fd);
        }
    }
}

int sl_handover_receive(int fd, struct sl_handover *out, struct sl_fds *fds)
{
    struct iovec iov[] = {{&out->kind, 1}, {out->body, sizeof(out->body)}};
    union control control;
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    if (fds != NULL) { /* else the kernel drops what it cannot hand over */
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof(control.bytes);
    }
    do { /* a reset, which is told once, hides the last words before it */
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return sl_error_from_errno(errno);
    if (fds != NULL)
        take_fds(&m, fds);
    if (n == 0)
        return SL_E_CLOSED;
    if (m.msg_flags & MSG_TRUNC)
        return SL_E_PROTOCOL;
    if (fds != NULL && m.msg_flags & MSG_CTRUNC)
        return SL_E_LIMIT;
    out->body_len = (size_t)n - 1;
    return 0;
}
