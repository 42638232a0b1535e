/* Datagrams that are collected over a turn: what goes out, to whom, in how many system calls. */
#include "net/udp_batch.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/buf.h"
#include "net/test_net.h"

static struct sl_loop *loop;
static int n_calls, n_messages;
static bool is_full; /* the kernel takes nothing */

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    n_calls++;
    n_messages += (int)n;
    if (!is_full)
        return (int)syscall(SYS_sendmmsg, fd, msgs, n, flags);
    errno = EAGAIN;
    return -1;
}

struct spot {
    struct sl_udp *udp;
    struct sl_addr at;
    struct sl_buf lens; /* of what came, in order: a byte each */
    size_t n_bytes;
    int n_refused;
};

static void on_packet(void *user, const struct sl_udp_packet *p)
{
    struct spot *s = user;
    size_t left = p->len;

    do {
        size_t len = p->segment > 0 ? SL_MIN(left, p->segment) : 0;
        uint8_t one = (uint8_t)len;

        sl_buf_append(&s->lens, &one, 1);
        left -= len;
    } while (left > 0);
    s->n_bytes += p->len;
}

static void on_writable(void *user SL_UNUSED)
{
}

static void on_refused(void *user)
{
    ((struct spot *)user)->n_refused++;
}

static const struct sl_udp_handler handler = {
    .on_packet = on_packet, .on_writable = on_writable, .on_refused = on_refused};

static void open_spot(struct spot *s)
{
    int fd;

    memset(s, 0, sizeof(*s));
    sl_assert(sl_addr_parse(&s->at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &s->at, false, NULL) == 0);
    s->udp = sl_udp_new(loop, fd, &handler, s);
}

static void connect_spot(struct spot *s, const struct sl_addr *to)
{
    int fd;

    memset(s, 0, sizeof(*s));
    sl_assert(sl_socket_connect_udp(&fd, to) == 0);
    s->udp = sl_udp_new(loop, fd, &handler, s);
}

static void shut(struct spot *s)
{
    sl_udp_free(s->udp);
    sl_buf_clear(&s->lens);
    run_quiet(loop);
}

static void add(struct sl_udp_batch *b, struct spot *from, const struct spot *to, size_t len)
{
    static const uint8_t bytes[65507];
    struct sl_udp_send m = {
        .remote = to != NULL ? &to->at : NULL, .bytes = bytes, .len = len, .segment = len};

    sl_udp_batch_add(b, from->udp, &m);
}

static size_t n_got(const struct spot *s)
{
    return sl_buf_len(&s->lens);
}

static void equal_ones_are_one_message(void)
{
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to;

    open_spot(&from);
    open_spot(&to);
    n_calls = n_messages = 0;
    for (int i = 0; i < 60; i++)
        add(b, &from, &to, 100);
    add(b, &from, &to, 7); /* the last of a message may be shorter */
    add(b, &from, &to, 7);
    run_until(loop, n_got(&to) == 62);
    sl_check(n_calls == 1 && n_messages == 2 && to.n_bytes == 6014);
    sl_check(sl_buf_at(&to.lens)[59] == 100 && sl_buf_at(&to.lens)[60] == 7);
    sl_check(sl_udp_batch_dropped(b) == 0);
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
}

static void others_stay_apart(void)
{
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to, other;

    open_spot(&from);
    open_spot(&to);
    open_spot(&other);
    n_calls = n_messages = 0;
    add(b, &from, &to, 100);
    add(b, &from, &to, 101); /* longer */
    add(b, &from, &other, 101);
    add(b, &from, &other, 0); /* empty */
    add(b, &from, &other, 0);
    add(b, &other, &to, 3); /* another socket */
    run_until(loop, n_got(&to) == 3 && n_got(&other) == 3);
    sl_check(n_calls == 2 && n_messages == 6);
    sl_check(to.n_bytes == 204 && other.n_bytes == 101);
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
    shut(&other);
}

/* A kernel may give us more datagrams in one piece than it takes back. */
static void long_trains_are_cut(void)
{
    static const uint8_t bytes[200 * 50];
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to;
    struct sl_udp_send m = {.remote = &to.at, .bytes = bytes, .len = sizeof(bytes), .segment = 50};

    open_spot(&from);
    open_spot(&to);
    sl_udp_batch_add(b, from.udp, &m);
    run_until(loop, n_got(&to) == 200);
    sl_check(to.n_bytes == sizeof(bytes));
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
}

static void more_than_fits_goes_out_before_the_end_of_the_turn(void)
{
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to;

    open_spot(&from);
    open_spot(&to);
    sl_socket_allow_fragments(sl_udp_fd(from.udp));
    for (int i = 0; i < 10; i++)
        add(b, &from, &to, 65507);
    run_until(loop, n_got(&to) == 10);
    sl_check(to.n_bytes == 655070);
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
}

static void what_a_full_socket_does_not_take_is_counted(void)
{
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to;

    open_spot(&from);
    open_spot(&to);
    is_full = true;
    for (int i = 0; i < 5; i++)
        add(b, &from, &to, 100);
    add(b, &from, &to, 200);
    sl_udp_batch_flush(b);
    is_full = false;
    sl_check(sl_udp_batch_dropped(b) == 6 && n_got(&to) == 0);
    run_quiet(loop);
    add(b, &from, &to, 100);
    run_until(loop, n_got(&to) == 1);
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
}

/* The error that one datagram has caused must not cost the next one. */
static void a_refusal_is_told_and_loses_nothing_else(void)
{
    struct sl_udp_batch *b = sl_udp_batch_new(loop);
    struct spot from, to;
    struct sl_addr at;
    int fd;

    open_spot(&to);
    at = to.at;
    connect_spot(&from, &at);
    shut(&to);
    add(b, &from, NULL, 100);
    sl_udp_batch_flush(b);
    sl_assert(sl_socket_bind_udp(&fd, &at, false, NULL) == 0);
    memset(&to, 0, sizeof(to));
    to.udp = sl_udp_new(loop, fd, &handler, &to);
    add(b, &from, NULL, 50); /* meets the error of the first one */
    run_until(loop, n_got(&to) == 1);
    sl_check(to.n_bytes == 50 && from.n_refused == 1);
    sl_udp_batch_free(b);
    shut(&from);
    shut(&to);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    equal_ones_are_one_message();
    others_stay_apart();
    long_trains_are_cut();
    more_than_fits_goes_out_before_the_end_of_the_turn();
    what_a_full_socket_does_not_take_is_counted();
    a_refusal_is_told_and_loses_nothing_else();
    sl_loop_free(loop);
    return sl_check_done();
}
