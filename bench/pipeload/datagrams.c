/* The clients of a benchmark of datagrams: sources that send at a rate and count what comes back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "pipeload.h"

enum {
    BATCH = 32,
    DATAGRAM = 2048,
    SETUP_RATE = 5000, /* sessions a second: to open them is not what is measured */
    SETUP_TRIES = 5,
    LATE_US = 500 * 1000, /* what has not come by then is lost */
};

struct source {
    int fd;
    bool has_answer;
};

struct load {
    const struct options *opts;
    int epoll;
    struct source *sources;
    unsigned n_answered;
    uint64_t n_sent, n_got;
    struct mmsghdr out[BATCH], in[BATCH];
    struct iovec out_iov, in_iov;
    char bytes[DATAGRAM], sink[DATAGRAM];
};

static void make_batches(struct load *l)
{
    l->out_iov = (struct iovec){.iov_base = l->bytes, .iov_len = l->opts->size};
    l->in_iov = (struct iovec){.iov_base = l->sink, .iov_len = DATAGRAM};
    for (int i = 0; i < BATCH; i++) {
        l->out[i].msg_hdr = (struct msghdr){.msg_iov = &l->out_iov, .msg_iovlen = 1};
        l->in[i].msg_hdr = (struct msghdr){.msg_iov = &l->in_iov, .msg_iovlen = 1};
    }
}

static void take(struct load *l, struct source *s)
{
    int n;

    do {
        n = recvmmsg(s->fd, l->in, BATCH, MSG_DONTWAIT, NULL);
        if (n <= 0)
            return;
        l->n_got += (unsigned)n;
        l->n_answered += !s->has_answer;
        s->has_answer = true;
    } while (n == BATCH);
}

static void turn(struct load *l, int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(l->epoll, events, 256, timeout_ms);

    for (int i = 0; i < n; i++)
        take(l, events[i].data.ptr);
}

static void drain(struct load *l, uint64_t until)
{
    while (now_us() < until)
        turn(l, 10);
}

/* One datagram from each source, until each has its answer. */
static void open_sessions(struct load *l)
{
    for (int try = 0; try < SETUP_TRIES && l->n_answered < l->opts->n_echo; try++) {
        uint64_t begun = now_us();
        unsigned n = 0;

        for (unsigned i = 0; i < l->opts->n_echo; i++) {
            if (l->sources[i].has_answer)
                continue;
            drain(l, begun + n++ * (1000000ull / SETUP_RATE));
            if (send(l->sources[i].fd, l->bytes, l->opts->size, 0) < 0 && errno != ECONNREFUSED)
                die("send");
        }
        drain(l, now_us() + LATE_US);
    }
}

/* Sends what is due by now, in batches from one source after the other. */
static void send_due(struct load *l, uint64_t elapsed_us)
{
    uint64_t due = elapsed_us * l->opts->rate / 1000000;

    while (l->n_sent < due) {
        uint64_t n = due - l->n_sent < BATCH ? due - l->n_sent : BATCH;
        struct source *s = &l->sources[l->n_sent / BATCH % l->opts->n_echo];
        int sent = sendmmsg(s->fd, l->out, (unsigned)n, 0);

        l->n_sent += sent > 0 ? (unsigned)sent : n; /* what the system does not take is lost */
        take(l, s);
    }
}

static void measure(struct load *l)
{
    uint64_t begun = now_us(), elapsed = 0, most = (uint64_t)(l->opts->seconds * 1e6);

    l->n_sent = l->n_got = 0;
    while (elapsed < most) {
        send_due(l, elapsed);
        turn(l, 1);
        elapsed = now_us() - begun;
    }
    drain(l, now_us() + LATE_US);
    printf("{\"seconds\":%.3f,\"sent\":%llu,\"got\":%llu,\"sessions\":%u}\n", (double)elapsed / 1e6,
           (unsigned long long)l->n_sent, (unsigned long long)l->n_got, l->n_answered);
}

int load_datagrams(const struct options *o)
{
    static struct load l;

    l.opts = o;
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.sources = calloc(o->n_echo, sizeof(*l.sources));
    if (l.sources == NULL || o->n_echo == 0 || o->size > DATAGRAM)
        die("sizes");
    make_batches(&l);
    for (unsigned i = 0; i < o->n_echo; i++) {
        l.sources[i].fd = open_connected(SOCK_DGRAM, o->port);
        watch(l.epoll, EPOLL_CTL_ADD, l.sources[i].fd, EPOLLIN, &l.sources[i]);
    }
    open_sessions(&l);
    measure(&l);
    free(l.sources);
    return 0;
}
