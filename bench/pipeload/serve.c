/* The origin. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "pipeload.h"

enum { LINE_MAX_LEN = 512, PIECE = 256 * 1024, BATCH = 64, DATAGRAM = 2048 };

enum mode { FIRST_LINE, DOWN, ECHO };

struct conn {
    int fd;
    enum mode mode;
    size_t n_line;
    char line[LINE_MAX_LEN];
};

static char piece[PIECE];

static void end(struct conn *c)
{
    close(c->fd);
    free(c);
}

/* As much as the socket takes at once; then others have their turn. False: it is over. */
static bool send_some(struct conn *c)
{
    return send(c->fd, piece, sizeof(piece), 0) >= 0 || errno == EAGAIN;
}

/* Echoes are small and one at a time: a socket that does not take one is a mistake of the load. */
static bool echo_bytes(struct conn *c, const char *bytes, size_t len)
{
    return len == 0 || send(c->fd, bytes, len, 0) == (ssize_t)len;
}

/* Acts on the line when it is there. */
static bool take_line(struct conn *c, int epoll)
{
    char *begin = c->line, *newline = memchr(begin, '\n', c->n_line);

    if (newline != NULL && strncmp(begin, "PROXY ", 6) == 0) {
        begin = newline + 1;
        newline = memchr(begin, '\n', c->n_line - (size_t)(begin - c->line));
    }
    if (newline == NULL)
        return c->n_line < sizeof(c->line);
    c->mode = strncmp(begin, "down", 4) == 0 ? DOWN : ECHO;
    if (c->mode == DOWN)
        watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    newline++;
    return echo_bytes(c, newline, c->n_line - (size_t)(newline - c->line));
}

static bool read_some(struct conn *c, int epoll)
{
    ssize_t n;

    if (c->mode == FIRST_LINE) {
        n = recv(c->fd, c->line + c->n_line, sizeof(c->line) - c->n_line, 0);
        if (n <= 0)
            return false;
        c->n_line += (size_t)n;
        return take_line(c, epoll);
    }
    n = recv(c->fd, piece, sizeof(piece), 0);
    return n > 0 ? echo_bytes(c, piece, (size_t)n) : n < 0 && errno == EAGAIN;
}

static void accept_all(int listener, int epoll)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));

        if (c == NULL)
            die("memory");
        c->fd = fd;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static bool is_proxy_header(const char *bytes, size_t len)
{
    return len >= 16 && memcmp(bytes, "\r\n\r\n\0\r\nQUIT\n", 12) == 0;
}

/* As many datagrams as one call takes; how many there were. */
static int echo_datagrams(int fd)
{
    static char bytes[BATCH][DATAGRAM];
    static struct sockaddr_storage from[BATCH];
    struct mmsghdr msgs[BATCH] = {0};
    struct iovec iov[BATCH];
    int n, n_back = 0;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){.iov_base = bytes[i], .iov_len = DATAGRAM};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof(from[i]),
                                          .msg_iov = &iov[i],
                                          .msg_iovlen = 1};
    }
    n = recvmmsg(fd, msgs, BATCH, 0, NULL);
    for (int i = 0; i < n; i++) {
        if (is_proxy_header(iov[i].iov_base, msgs[i].msg_len))
            continue;
        msgs[i].msg_hdr.msg_iov->iov_len = msgs[i].msg_len;
        msgs[n_back++] = msgs[i];
    }
    if (n_back > 0)
        sendmmsg(fd, msgs, (unsigned)n_back, 0);
    return n;
}

static void take_event(const struct epoll_event *event, int epoll)
{
    struct conn *c = event->data.ptr;
    bool lives = true;

    if (event->events & (EPOLLERR | EPOLLHUP))
        lives = false;
    else if (event->events & EPOLLIN)
        lives = read_some(c, epoll);
    else
        lives = send_some(c);
    if (!lives)
        end(c);
}

int serve(const struct options *o)
{
    int listener = open_bound(SOCK_STREAM, o->port), datagrams = open_bound(SOCK_DGRAM, o->port);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256];

    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    watch(epoll, EPOLL_CTL_ADD, datagrams, EPOLLIN, &datagrams);
    while (true) {
        int n = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &listener)
                accept_all(listener, epoll);
            else if (events[i].data.ptr == &datagrams)
                while (echo_datagrams(datagrams) == BATCH)
                    ;
            else
                take_event(&events[i], epoll);
        }
    }
}
