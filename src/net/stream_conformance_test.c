/* The streams of this layer pass the list; those of the layers above have tests of their own. */
#include "net/stream_conformance.h"

#include <stdlib.h>
#include <unistd.h>
#include "net/pair.h"
#include "net/test_net.h"

struct making {
    struct sl_loop *loop;
    struct sl_stream *accepted, *connected;
    int n_ready;
};

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    struct making *m = user;

    (void)remote;
    m->accepted = sl_tcp_new(m->loop, fd);
}

static void on_ready(struct sl_stream *s)
{
    ((struct making *)s->user)->n_ready++;
}

static const struct sl_stream_handler connecting = {.on_ready = on_ready};

static void join(struct making *m, struct sl_listener *listener, const struct sl_addr *at,
                 const char *unix_path)
{
    sl_assert(sl_tcp_connect(&m->connected, m->loop, at, unix_path, 0, &connecting, m) == 0);
    run_until(m->loop, m->accepted != NULL && m->n_ready == 1);
    sl_listener_free(listener);
}

static void make_tcp(struct sl_stream *ends[2], struct sl_loop *loop, void *user)
{
    struct making m = {.loop = loop};
    bool accepted_first = *(bool *)user;
    struct sl_addr at;
    int fd = listen_on_loopback(&at);

    join(&m, sl_listener_new(loop, fd, on_accept, &m), &at, NULL);
    ends[accepted_first ? 0 : 1] = m.accepted;
    ends[accepted_first ? 1 : 0] = m.connected;
}

static void make_unix(struct sl_stream *ends[2], struct sl_loop *loop, void *user)
{
    struct making m = {.loop = loop};
    int fd = -1;

    sl_assert(sl_socket_listen_unix(&fd, user, 0600, NULL) == 0);
    join(&m, sl_listener_new(loop, fd, on_accept, &m), NULL, user);
    ends[0] = m.accepted;
    ends[1] = m.connected;
}

static void make_pair(struct sl_stream *ends[2], struct sl_loop *loop, void *user)
{
    sl_pair_new(ends, loop, *(size_t *)user);
}

int main(void)
{
    char path[] = "/tmp/sluice-test-XXXXXX";
    bool is_first[] = {true, false};
    size_t limit = 64 * 1024;
    struct sl_loop *loop;

    sl_assert(sl_loop_new(&loop) == 0);
    sl_check(sl_stream_conformance(loop, "pair", make_pair, &limit) == 0);
    sl_check(sl_stream_conformance(loop, "tcp, accepted", make_tcp, &is_first[0]) == 0);
    sl_check(sl_stream_conformance(loop, "tcp, connected", make_tcp, &is_first[1]) == 0);
    close(mkstemp(path));
    unlink(path);
    sl_check(sl_stream_conformance(loop, "unix", make_unix, path) == 0);
    unlink(path);
    sl_loop_free(loop);
    return sl_check_done();
}
