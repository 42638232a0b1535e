/* What TCP has beyond the list that all streams pass (stream_conformance_test.c). */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/buf.h"
#include "net/pair.h"
#include "net/test_net.h"

static struct sl_loop *loop;

struct seen {
    struct sl_stream *stream;
    struct sl_buf got;
    int n_ready, n_fin, n_written, n_error, code;
};

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&((struct seen *)s->user)->got, bytes, len);
}

static void on_fin(struct sl_stream *s)
{
    ((struct seen *)s->user)->n_fin++;
}

static void on_written(struct sl_stream *s)
{
    ((struct seen *)s->user)->n_written++;
}

static void on_error(struct sl_stream *s, int code)
{
    ((struct seen *)s->user)->n_error++;
    ((struct seen *)s->user)->code = code;
}

static void on_ready(struct sl_stream *s)
{
    ((struct seen *)s->user)->n_ready++;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, on_ready};

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    (void)remote;
    *(int *)user = fd;
}

/* Accepts what comes to `listener` as a plain blocking descriptor. */
static int accept_raw(int listener)
{
    int fd = -1;
    struct sl_listener *l = sl_listener_new(loop, listener, on_accept, &fd);

    run_until(loop, fd >= 0);
    sl_listener_free(l);
    fcntl(fd, F_SETFL, 0);
    return fd;
}

/* A stream and the bare descriptor on the other side of it. */
static int connect_to_raw(struct seen *s)
{
    struct sl_addr at;
    int listener = listen_on_loopback(&at), fd;

    sl_check(sl_tcp_connect(&s->stream, loop, &at, NULL, 0, &handler, s) == 0);
    fd = accept_raw(listener);
    run_until(loop, s->n_ready == 1);
    return fd;
}

static void finish(struct seen *s)
{
    sl_stream_free(&s->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&s->got);
    run_quiet(loop);
}

/* --- connecting --- */

static void nobody_listens(void)
{
    struct seen s = {0};
    struct sl_addr at;

    close(listen_on_loopback(&at));
    sl_check(sl_tcp_connect(&s.stream, loop, &at, NULL, 0, &handler, &s) == 0);
    sl_check(s.n_error == 0);
    run_until(loop, s.n_error == 1);
    sl_check(s.code == SL_E_REFUSED && s.n_ready == 0);
    finish(&s);
}

/* A full queue of connections: the kernel drops what comes, so that connecting hangs. */
static void nobody_answers(void)
{
    struct seen s = {0};
    struct sl_addr at;
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0), first;

    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(bind(listener, &at.sa, sl_addr_len(&at)) == 0 && listen(listener, 0) == 0);
    sl_assert(getsockname(listener, &at.sa, &len) == 0);
    first = socket(AF_INET, SOCK_STREAM, 0);
    sl_assert(connect(first, &at.sa, sl_addr_len(&at)) == 0);
    sl_check(sl_tcp_connect(&s.stream, loop, &at, NULL, 3000, &handler, &s) == 0);
    run_quiet(loop);
    sl_loop_skip(loop, 2000);
    sl_check(s.n_error == 0 && s.n_ready == 0);
    sl_loop_skip(loop, 2000);
    run_until(loop, s.n_error == 1);
    sl_check(s.code == SL_E_TIMEOUT);
    finish(&s);
    close(first);
    close(listener);
}

static void the_deadline_ends_with_the_connecting(void)
{
    struct sl_addr at;
    struct seen s = {0};
    int listener = listen_on_loopback(&at), fd;

    sl_check(sl_tcp_connect(&s.stream, loop, &at, NULL, 3000, &handler, &s) == 0);
    fd = accept_raw(listener);
    run_until(loop, s.n_ready == 1);
    sl_loop_skip(loop, 100000);
    run_quiet(loop);
    sl_check(s.n_error == 0);
    finish(&s);
    close(fd);
}

/* What was written before the connection stands goes out once it does, be it a fin alone. */
static void written_too_early(const char *text, bool fin)
{
    struct sl_addr at;
    struct seen s = {0};
    char got[16];
    int listener = listen_on_loopback(&at), fd;

    sl_check(sl_tcp_connect(&s.stream, loop, &at, NULL, 0, &handler, &s) == 0);
    sl_check(sl_stream_write1(s.stream, text, strlen(text), fin) == SL_E_AGAIN);
    fd = accept_raw(listener);
    run_until(loop, s.n_ready == 1 && s.n_written == 1);
    sl_check(!s.stream->is_writing && s.stream->sent_fin == fin);
    if (strlen(text) > 0)
        sl_check(read(fd, got, sizeof(got)) == (ssize_t)strlen(text));
    if (fin)
        sl_check(read(fd, got, sizeof(got)) == 0);
    finish(&s);
    close(fd);
}

static void a_path_that_is_too_long(void)
{
    char path[200];
    struct seen s = {0};

    memset(path, 'p', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    sl_check(sl_tcp_connect(&s.stream, loop, NULL, path, 0, &handler, &s) == SL_E_CONFIG);
    sl_check(sl_tcp_connect(&s.stream, loop, NULL, "/nowhere/sock", 0, &handler, &s) ==
             SL_E_NOT_FOUND);
    sl_check(s.stream == NULL);
}

/* --- the long goodbye --- */

static void fill(struct seen *s)
{
    static char big[1 << 16];

    while (!s->stream->is_writing)
        (void)sl_stream_write1(s->stream, big, sizeof(big), false);
}

/* Reads to the end; true when it was an orderly one. */
static bool ends_well(int fd)
{
    static char into[1 << 16];
    ssize_t n;

    while ((n = read(fd, into, sizeof(into))) > 0)
        ;
    return n == 0;
}

static void who_never_reads_is_left_after_a_while(void)
{
    struct seen s = {0};
    int fd = connect_to_raw(&s);

    fill(&s);
    sl_stream_free(&s.stream, SL_CLOSE_LINGER);
    run_quiet(loop);
    sl_loop_skip(loop, 6000);
    run_quiet(loop);
    sl_check(!ends_well(fd) && errno == ECONNRESET); /* a part must not look like the whole */
    finish(&s);
    close(fd);
}

static void who_never_stops_writing_is_left(void)
{
    static char big[1 << 16];
    struct seen s = {0};
    int fd = connect_to_raw(&s);
    size_t n = 0;

    sl_stream_free(&s.stream, SL_CLOSE_LINGER);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t k; n < (100 << 20); n += k > 0 ? (size_t)k : 0) {
        k = send(fd, big, sizeof(big), MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN)
            break;
        sl_loop_turn(loop, false);
    }
    sl_check(n >= 1 << 20 && n < (100 << 20));
    finish(&s);
    close(fd);
}

/* The peer has closed its side, but does not read: its end must not wake the loop again and again.
 */
static void a_half_closed_peer_costs_nothing(void)
{
    struct seen s = {0};
    int fd = connect_to_raw(&s);

    fill(&s);
    shutdown(fd, SHUT_WR);
    sl_stream_read(s.stream, true);
    run_until(loop, s.n_fin == 1);
    sl_stream_free(&s.stream, SL_CLOSE_LINGER);
    sl_check(count_turns(loop, 50) < 20);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (bool ended = false; !ended;) {
        ended = ends_well(fd); /* it still gets everything */
        sl_check(ended || errno == EAGAIN);
        sl_loop_turn(loop, false);
    }
    finish(&s);
    close(fd);
}

/* --- while nobody reads --- */

static void reset(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    sl_check(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
    close(fd);
}

static void a_peer_that_is_not_read_may_go(void)
{
    struct seen s = {0};
    int fd = connect_to_raw(&s);

    sl_stream_read(s.stream, true);
    sl_stream_read(s.stream, false);
    sl_check(write(fd, "unread", 6) == 6);
    reset(fd);
    run_quiet(loop);
    sl_loop_skip(loop, 2000);
    run_until(loop, s.n_error == 1);
    sl_check(sl_buf_len(&s.got) == 0 && s.code < 0);
    finish(&s);
}

/* What an orderly end leaves behind is still there when somebody reads again. */
static void a_peer_that_is_not_read_may_end(void)
{
    struct seen s = {0};
    int fd = connect_to_raw(&s);

    sl_stream_read(s.stream, true);
    sl_stream_read(s.stream, false);
    sl_check(sl_stream_write1(s.stream, NULL, 0, true) == 0);
    sl_check(write(fd, "unread", 6) == 6);
    close(fd);
    sl_loop_skip(loop, 2000);
    run_quiet(loop);
    sl_check(s.n_error == 0);
    sl_stream_read(s.stream, true);
    run_until(loop, s.n_fin == 1);
    sl_check(sl_buf_len(&s.got) == 6);
    finish(&s);
}

/* --- the rest --- */

static void addresses_and_descriptor(void)
{
    struct sl_stream *ends[2];
    struct sl_addr local, remote;
    struct seen s = {0};
    int fd = connect_to_raw(&s);

    sl_check(sl_tcp_addrs(s.stream, &local, &remote) == 0);
    sl_check(sl_addr_is_loopback(&local) && sl_addr_is_loopback(&remote));
    sl_check(sl_addr_port(&local) != sl_addr_port(&remote) && sl_tcp_fd(s.stream) >= 0);
    sl_pair_new(ends, loop, 1);
    sl_check(sl_tcp_fd(ends[0]) == -1 && sl_tcp_addrs(ends[0], &local, NULL) == SL_E_SYSTEM);
    sl_stream_free(&ends[0], SL_CLOSE_ABORT);
    sl_stream_free(&ends[1], SL_CLOSE_ABORT);
    finish(&s);
    close(fd);
}

/* With one that does not read, what the kernel of the sender takes is about the limit. */
static void the_kernel_keeps_no_more_than_it_is_told(void)
{
    enum { LIMIT = 64 * 1024, ENOUGH = 4 << 20 };
    struct sl_stream *ends[2];
    struct seen s = {0};
    int fd = connect_to_raw(&s), buffer = ENOUGH, unsent = 0;

    sl_check(setsockopt(sl_tcp_fd(s.stream), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)) == 0);
    sl_check(sl_tcp_limit_unsent(s.stream, LIMIT) == 0);
    fill(&s);
    run_quiet(loop);
    sl_check(ioctl(sl_tcp_fd(s.stream), SIOCOUTQNSD, &unsent) == 0);
    sl_check(unsent > 0 && unsent <= 2 * LIMIT);
    sl_pair_new(ends, loop, 1);
    sl_check(sl_tcp_limit_unsent(ends[0], LIMIT) == SL_E_SYSTEM);
    sl_stream_free(&ends[0], SL_CLOSE_ABORT);
    sl_stream_free(&ends[1], SL_CLOSE_ABORT);
    finish(&s);
    close(fd);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    nobody_listens();
    nobody_answers();
    the_deadline_ends_with_the_connecting();
    written_too_early("early", false);
    written_too_early("early", true);
    written_too_early("", true);
    written_too_early("", false);
    a_path_that_is_too_long();
    who_never_reads_is_left_after_a_while();
    who_never_stops_writing_is_left();
    a_half_closed_peer_costs_nothing();
    a_peer_that_is_not_read_may_go();
    a_peer_that_is_not_read_may_end();
    addresses_and_descriptor();
    the_kernel_keeps_no_more_than_it_is_told();
    sl_loop_free(loop);
    return sl_check_done();
}
