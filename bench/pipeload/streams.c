/* The clients of a benchmark of streams. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "pipeload.h"

enum { AT_ONCE = 256, MAX_TIMES = 1 << 22, SETUP_US = 60 * 1000000 };

struct client {
    int fd;
    bool is_bulk, has_begun;
    unsigned n_missing; /* bytes of the echo that is under way */
    uint64_t asked_us;  /* when it was sent */
    uint64_t n_bytes;   /* bulk, while it is measured */
};

struct load {
    const struct options *opts;
    int epoll;
    struct client *clients;
    unsigned n, n_begun, n_started;
    bool is_measuring;
    uint32_t *times_us;
    size_t n_times;
    char message[65536];
};

static void ask(struct load *l, struct client *c)
{
    c->n_missing = l->opts->size;
    c->asked_us = now_us();
    if (send(c->fd, l->message, l->opts->size, 0) != (ssize_t)l->opts->size)
        die("send");
}

static void start(struct load *l)
{
    struct client *c = &l->clients[l->n_started];

    c->is_bulk = l->n_started++ < l->opts->n_bulk;
    c->fd = open_connected(SOCK_STREAM, l->opts->port);
    watch(l->epoll, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}

/* Connected: says what it wants. */
static void greet(struct load *l, struct client *c)
{
    const char *line = c->is_bulk ? "down\n" : "echo\n";

    if (send(c->fd, line, 5, 0) != 5)
        die("send");
    watch(l->epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    if (!c->is_bulk)
        ask(l, c);
}

static void note_begun(struct load *l, struct client *c)
{
    if (c->has_begun)
        return;
    c->has_begun = true;
    l->n_begun++;
    if (l->n_started < l->n)
        start(l);
}

static void note_echo(struct load *l, struct client *c)
{
    if (l->is_measuring && l->n_times < MAX_TIMES)
        l->times_us[l->n_times++] = (uint32_t)(now_us() - c->asked_us);
    note_begun(l, c);
    if (l->is_measuring && l->opts->every_ms == 0)
        ask(l, c);
}

static void take(struct load *l, struct client *c)
{
    /* MSG_TRUNC: the kernel throws the bytes away, which is the cheapest way to have got them. */
    ssize_t n = recv(c->fd, NULL, c->is_bulk ? 1 << 30 : c->n_missing, MSG_TRUNC);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die(n == 0 ? "a connection was closed" : "recv");
    if (c->is_bulk) {
        c->n_bytes += l->is_measuring ? (uint64_t)n : 0;
        note_begun(l, c);
        return;
    }
    c->n_missing -= (unsigned)n;
    if (c->n_missing == 0)
        note_echo(l, c);
}

static void turn(struct load *l, int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(l->epoll, events, 256, timeout_ms);

    for (int i = 0; i < n; i++) {
        if (events[i].events & EPOLLOUT)
            greet(l, events[i].data.ptr);
        else
            take(l, events[i].data.ptr);
    }
}

/* Every connection has had its first byte. */
static void begin(struct load *l)
{
    uint64_t until = now_us() + SETUP_US;

    while (l->n_started < l->n && l->n_started < AT_ONCE)
        start(l);
    while (l->n_begun < l->n) {
        turn(l, 1000);
        if (now_us() > until) {
            fprintf(stderr, "pipeload: only %u of %u connections work\n", l->n_begun, l->n);
            exit(1);
        }
    }
}

static void ask_again(struct load *l, uint64_t now)
{
    for (unsigned i = l->opts->n_bulk; i < l->n; i++) {
        struct client *c = &l->clients[i];

        if (c->n_missing == 0 && now - c->asked_us >= l->opts->every_ms * 1000ull)
            ask(l, c);
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static unsigned quantile(const struct load *l, double q)
{
    return l->n_times > 0 ? l->times_us[(size_t)(q * (double)(l->n_times - 1))] : 0;
}

static void report(struct load *l, double seconds)
{
    uint64_t total = 0, least = UINT64_MAX, most = 0;

    for (unsigned i = 0; i < l->opts->n_bulk; i++) {
        uint64_t n = l->clients[i].n_bytes;

        total += n;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    qsort(l->times_us, l->n_times, sizeof(*l->times_us), compare);
    printf("{\"seconds\":%.3f,\"bytes\":%llu,\"least\":%llu,\"most\":%llu,\"echoes\":%zu,"
           "\"median_us\":%u,\"p99_us\":%u,\"most_us\":%u}\n",
           seconds, (unsigned long long)total, (unsigned long long)(total > 0 ? least : 0),
           (unsigned long long)most, l->n_times, quantile(l, 0.5), quantile(l, 0.99),
           quantile(l, 1));
}

static void measure(struct load *l)
{
    uint64_t begun = now_us(), until = begun + (uint64_t)(l->opts->seconds * 1e6), now = begun;

    l->is_measuring = true;
    while (now < until) {
        ask_again(l, now);
        turn(l, l->opts->every_ms > 0 && l->opts->n_echo > 0 ? 1 : 100);
        now = now_us();
    }
    report(l, (double)(now - begun) / 1e6);
}

/* Until stdin ends. */
static void hold(struct load *l)
{
    char byte;

    printf("holding %u connections\n", l->n);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
}

int load_streams(const struct options *o)
{
    struct load l = {.opts = o, .n = o->n_bulk + o->n_echo, .epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (o->size > sizeof(l.message) || l.n == 0)
        die("sizes");
    l.clients = calloc(l.n, sizeof(*l.clients));
    l.times_us = calloc(MAX_TIMES, sizeof(*l.times_us));
    if (l.clients == NULL || l.times_us == NULL)
        die("memory");
    begin(&l);
    if (o->holds)
        hold(&l);
    else
        measure(&l);
    free(l.clients);
    free(l.times_us);
    return 0;
}
