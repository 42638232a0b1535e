#include "net/listener.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/test_net.h"

static struct sl_loop *loop;

struct door {
    struct sl_listener *listener;
    int n_accepted, last;
    struct sl_addr from;
    bool pauses; /* in the callback */
};

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    struct door *d = user;

    d->n_accepted++;
    d->last = fd;
    d->from = *remote;
    close(fd);
    if (d->pauses)
        sl_listener_pause(d->listener, true);
}

static int knock(const struct sl_addr *at)
{
    int fd = socket(at->sa.sa_family, SOCK_STREAM, 0);

    sl_assert(fd >= 0 && connect(fd, &at->sa, sl_addr_len(at)) == 0);
    return fd;
}

static void it_accepts_and_pauses(void)
{
    struct door d = {0};
    struct sl_addr at;
    int fds[3];

    d.listener = sl_listener_new(loop, listen_on_loopback(&at), on_accept, &d);
    sl_check(sl_addr_port(&at) != 0);
    fds[0] = knock(&at);
    run_until(loop, d.n_accepted == 1);
    sl_check(sl_addr_is_loopback(&d.from) && sl_addr_port(&d.from) != 0);
    d.pauses = true;
    fds[1] = knock(&at);
    fds[2] = knock(&at);
    run_until(loop, d.n_accepted == 2);
    run_quiet(loop);
    sl_check(d.n_accepted == 2); /* the third waits in the kernel */
    sl_listener_pause(d.listener, false);
    run_until(loop, d.n_accepted == 3);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    sl_listener_free(d.listener);
    run_quiet(loop);
}

/* Out of descriptors (attack LM-10): no spinning, what exists goes on, and it recovers. */
static void without_descriptors_it_waits(void)
{
    struct rlimit before, tight;
    struct door d = {0};
    struct sl_addr at;
    int client;

    d.listener = sl_listener_new(loop, listen_on_loopback(&at), on_accept, &d);
    client = knock(&at);
    sl_assert(getrlimit(RLIMIT_NOFILE, &before) == 0);
    tight = before;
    tight.rlim_cur = (rlim_t)client + 1; /* every number below is in use or was before it */
    for (int fd = dup(client); fd >= 0 && fd < client; fd = dup(client))
        ;
    sl_assert(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    run_quiet(loop);
    sl_check(d.n_accepted == 0);
    sl_check(count_turns(loop, 250) < 50); /* it tries every 100 ms */
    sl_check(d.n_accepted == 0);
    sl_assert(setrlimit(RLIMIT_NOFILE, &before) == 0);
    run_until(loop, d.n_accepted == 1);
    close(client);
    sl_listener_free(d.listener);
    run_quiet(loop);
}

static void failures_have_a_sentence(void)
{
    struct sl_addr at, elsewhere;
    struct sl_err err = {0};
    int fd = listen_on_loopback(&at), other = -1;

    sl_check(sl_socket_listen(&other, &at, false, &err) == SL_E_IN_USE && other == -1);
    sl_check(sl_str_starts(sl_str_c(err.text), SL_STR("cannot listen on 127.0.0.1:")));
    sl_check(strstr(err.text, "in use") != NULL);
    sl_assert(sl_addr_parse(&elsewhere, SL_STR("192.0.2.1"), 0) == 0);
    sl_check(sl_socket_listen(&other, &elsewhere, false, &err) == SL_E_UNREACHABLE);
    close(fd);
}

static void workers_share_a_port(void)
{
    struct sl_addr at;
    int first = -1, second = -1;

    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_check(sl_socket_listen(&first, &at, true, NULL) == 0);
    sl_check(sl_socket_listen(&second, &at, true, NULL) == 0);
    close(first);
    close(second);
}

static void every_address_of_both_families(void)
{
    struct door d = {0};
    struct sl_addr at;
    uint16_t port;
    int fd = -1, client;

    sl_assert(sl_addr_parse(&at, SL_STR("::"), 0) == 0);
    if (sl_socket_listen(&fd, &at, false, NULL) < 0)
        return; /* a kernel without IPv6 */
    d.listener = sl_listener_new(loop, fd, on_accept, &d);
    port = sl_addr_port(&at);
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), port) == 0);
    client = knock(&at);
    run_until(loop, d.n_accepted == 1);
    sl_check(sl_addr_is_loopback(&d.from));
    close(client);
    sl_listener_free(d.listener);
    run_quiet(loop);
}

static void a_unix_socket_takes_the_place_of_a_dead_one_only(void)
{
    char dir[] = "/tmp/sluice-test-XXXXXX", path[64];
    struct sl_err err = {0};
    struct stat st;
    int fd = -1, other = -1;

    sl_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/sock", dir);
    sl_check(sl_socket_listen_unix(&fd, path, 0640, &err) == 0);
    sl_check(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
    sl_check(sl_socket_listen_unix(&other, path, 0640, &err) == SL_E_IN_USE && other == -1);
    sl_check(strstr(err.text, path) != NULL);
    close(fd); /* the file stays */
    sl_check(sl_socket_listen_unix(&fd, path, 0640, &err) == 0);
    close(fd);
    unlink(path);
    sl_check(mkdir(path, 0700) == 0); /* no socket at all */
    sl_check(sl_socket_listen_unix(&other, path, 0640, &err) < 0);
    rmdir(path);
    rmdir(dir);
    sl_check(sl_socket_listen_unix(&other, "/nowhere/at/all", 0640, &err) == SL_E_NOT_FOUND);
}

static void a_unix_path_has_a_limit(void)
{
    char path[200];
    struct sl_err err = {0};
    int fd = -1;

    memset(path, 'p', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    sl_check(sl_socket_listen_unix(&fd, path, 0600, &err) == SL_E_CONFIG);
    sl_check(strstr(err.text, "at most 107 bytes") != NULL);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    it_accepts_and_pauses();
    without_descriptors_it_waits();
    failures_have_a_sentence();
    workers_share_a_port();
    every_address_of_both_families();
    a_unix_socket_takes_the_place_of_a_dead_one_only();
    a_unix_path_has_a_limit();
    sl_loop_free(loop);
    return sl_check_done();
}
