/* Which sockets a snapshot adds and takes away, worker by worker; without workers. */
#include "app/ports.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/listener.h"
#include "net/udp.h"
#include "route/test_routes.h"

enum { N_WORKERS = 3 };

static struct sl_ports ports = {.n_workers = N_WORKERS};
static char port_text[8]; /* a port that is free, as routes say it */
static uint16_t port;

static void find_port(void)
{
    struct sl_addr at;
    int fd;

    sl_check(sl_addr_parse(&at, SL_STR("::"), 0) == 0);
    sl_check(sl_socket_listen(&fd, &at, false, NULL) == 0);
    port = sl_addr_port(&at);
    snprintf(port_text, sizeof(port_text), "%u", port);
    close(fd);
}

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* What the route changes; its sockets are with their workers then. */
static struct sl_ports_change apply(const struct test_route *route)
{
    struct sl_snapshot *s = test_snapshot(route, route != NULL);
    struct sl_ports_change change;

    sl_ports_plan(&change, &ports, s, true);
    if (change.n_failed == 0)
        sl_ports_commit(&ports, &change);
    sl_snapshot_unref(s);
    return change;
}

/* From how many workers to how many; the workers that get a socket get one, and no others. */
static void check_change(struct sl_ports_change *change, unsigned n_before, unsigned n_after)
{
    const struct sl_port_change *c = change->at;

    sl_check(change->n_failed == 0);
    sl_check(change->n == (n_before != n_after));
    if (change->n == 1) {
        sl_check(c->n_before == n_before && c->n_after == n_after);
        sl_check(c->fds.n == (n_after > n_before ? n_after : 0));
        for (unsigned i = 0; i < c->fds.n; i++)
            sl_check((c->fds.at[i] >= 0) == (n_before <= i));
    }
    sl_ports_change_clear(change); /* as if the workers had closed them */
}

static void check_step(const struct test_route *route, unsigned n_before, unsigned n_after)
{
    struct sl_ports_change change = apply(route);

    check_change(&change, n_before, n_after);
}

static void the_number_of_workers_follows_the_routes(void)
{
    struct test_route all = {.ports = port_text, .protocol = SL_PROTOCOL_TCP}, single = all;

    single.tunnel = "main";
    for (enum sl_transport t = SL_TRANSPORT_TCP; t <= SL_TRANSPORT_UDP; t++) {
        all.transport = single.transport = t;
        check_step(&single, 0, 1);
        check_step(&single, 1, 1);
        check_step(&all, 1, N_WORKERS);
        check_step(&all, N_WORKERS, N_WORKERS);
        check_step(&single, N_WORKERS, 1);
        check_step(NULL, 1, 0);
        sl_check(ports.n == 0);
    }
}

static void what_fails_leaves_nothing(void)
{
    const struct test_route route = {
        .ports = port_text, .protocol = SL_PROTOCOL_TCP, .transport = SL_TRANSPORT_ALL};
    struct sl_ports_change change;
    struct sl_addr at;
    size_t n_fds;
    int taken;

    sl_check(sl_addr_parse(&at, SL_STR("::"), port) == 0);
    sl_check(sl_socket_listen(&taken, &at, false, NULL) == 0);
    n_fds = count_fds();
    change = apply(&route);
    sl_check(change.n_failed == 1 && change.failed[0].number == port);
    sl_check(change.failed[0].use == SL_PORT_TCP && change.failed[0].err.code == SL_E_IN_USE);
    sl_check(strncmp(change.failed[0].err.text, "port ", 5) == 0);
    sl_check(change.n == 1 && change.at[0].port.use == SL_PORT_UDP); /* the rest was had */
    sl_ports_change_clear(&change);
    sl_check(count_fds() == n_fds);
    sl_check(ports.n == 0);
    close(taken);
}

/* Who comes to a port that is open must not be accepted for a worker that never hears of it. */
static void nobody_joins_before_all_is_well(void)
{
    const struct test_route before = {
        .ports = port_text, .protocol = SL_PROTOCOL_TCP, .tunnel = "main"};
    char both[16];
    const struct test_route after = {.ports = both, .protocol = SL_PROTOCOL_TCP};
    struct sl_ports_change change;
    struct sl_addr at;
    int taken;

    check_step(&before, 0, 1);
    sl_check(sl_addr_parse(&at, SL_STR("::"), 0) == 0);
    sl_check(sl_socket_listen(&taken, &at, false, NULL) == 0);
    snprintf(both, sizeof(both), "%u %u", port, sl_addr_port(&at));
    change = apply(&after);
    sl_check(change.n_failed == 1 && change.n == 0);
    sl_ports_change_clear(&change);
    close(taken);
    check_step(NULL, 1, 0);
}

static void ports_leave_descriptors_to_visitors(void)
{
    const struct test_route route = {
        .ports = port_text, .protocol = SL_PROTOCOL_TCP, .transport = SL_TRANSPORT_ALL};
    struct sl_ports_change change;

    ports.max_sockets = 2 * N_WORKERS - 1;
    change = apply(&route);
    sl_check(change.n == 1 && change.n_failed == 1);
    sl_check(change.failed[0].use == SL_PORT_UDP && change.failed[0].err.code == SL_E_LIMIT);
    sl_ports_change_clear(&change);
    ports.max_sockets++;
    change = apply(&route);
    sl_check(change.n == 2 && change.n_failed == 0);
    sl_ports_change_clear(&change);
    change = apply(NULL);
    sl_check(change.n == 2);
    sl_ports_change_clear(&change);
    ports.max_sockets = 0;
}

static void a_worker_more_joins_the_others(void)
{
    struct test_route route = {.ports = port_text, .protocol = SL_PROTOCOL_TCP, .tunnel = "main"};
    struct sl_addr at = {.sa.sa_family = AF_UNSPEC};
    socklen_t len = sizeof(at);
    char ip[SL_ADDR_TEXT_LEN];
    struct sl_ports_change change;
    int first;

    sl_check(sl_addr_parse(&ports.bind_address, SL_STR("127.0.0.1"), 0) == 0);
    change = apply(&route);
    first = dup(change.at[0].fds.at[0]); /* still listens when the others come */
    check_change(&change, 0, 1);
    ports.bind_address.sa.sa_family = AF_UNSPEC; /* is for ports that are opened from now on */
    route.tunnel = NULL;
    change = apply(&route);
    sl_check(getsockname(change.at[0].fds.at[2], &at.sa, &len) == 0);
    sl_check(strcmp(sl_addr_ip(&at, ip), "127.0.0.1") == 0);
    check_change(&change, 1, N_WORKERS);
    close(first);
    check_step(NULL, N_WORKERS, 0);
}

static ino_t inode_of(int fd)
{
    struct stat st = {0};

    sl_check(fstat(fd, &st) == 0);
    return st.st_ino;
}

/* The sockets of QUIC outlive their routes until every worker has let go of them. */
static void quic_keeps_its_sockets(void)
{
    const struct test_route h3 = {
        .ports = port_text, .tls = SL_TLS_TERMINATE, .transport = SL_TRANSPORT_UDP};
    const struct test_route datagrams = {
        .ports = port_text, .protocol = SL_PROTOCOL_TCP, .transport = SL_TRANSPORT_UDP};
    struct sl_ports_change change = apply(&h3);
    ino_t before = inode_of(change.at[0].fds.at[0]);

    check_change(&change, 0, N_WORKERS);
    change = apply(NULL);
    check_change(&change, N_WORKERS, 0);
    change = apply(&datagrams);
    sl_check(change.n_failed == 1 && change.failed[0].use == SL_PORT_UDP);
    sl_ports_change_clear(&change);
    change = apply(&h3);
    sl_check(inode_of(change.at[0].fds.at[0]) == before);
    check_change(&change, 0, N_WORKERS);
    change = apply(NULL);
    check_change(&change, N_WORKERS, 0);
    for (unsigned i = 0; i < 2 * N_WORKERS; i++) {
        sl_check(ports.n == 1);
        sl_ports_released(&ports, port);
    }
    sl_check(ports.n == 0);
    check_step(&datagrams, 0, N_WORKERS);
    change = apply(&h3);
    sl_check(change.n_failed == 1 && change.failed[0].use == SL_PORT_QUIC);
    sl_ports_change_clear(&change);
    check_step(NULL, N_WORKERS, 0);
}

/* --- what another process has had --- */

/* Sockets of one group, and their inodes. */
static void inherit(const char *ip, unsigned n, ino_t *inodes)
{
    struct sl_addr at;

    sl_check(sl_addr_parse(&at, sl_str_c(ip), port) == 0);
    for (unsigned i = 0; i < n; i++) {
        int fd = -1;

        sl_check(sl_socket_listen(&fd, &at, true, NULL) == 0);
        inodes[i] = inode_of(fd);
        sl_check(sl_ports_inherit(&ports, fd) == 0);
    }
}

/* Every one is listened on by somebody, and nobody has nothing. */
static void nothing_inherited_is_left(unsigned n, const struct test_route *route,
                                      unsigned n_listening)
{
    struct sl_ports_change change;
    const struct sl_port_change *c;
    ino_t inodes[8];

    inherit("::", n, inodes);
    change = apply(route);
    c = &change.at[0];
    sl_check(change.n == 1 && change.n_failed == 0 && ports.n_inherited == 0);
    sl_check(c->n_after == n_listening && c->fds.n == SL_MAX(n, n_listening));
    for (unsigned i = 0; i < n; i++)
        sl_check(inode_of(c->fds.at[i]) == inodes[i]);
    for (size_t i = 0; i < c->fds.n; i++)
        sl_check(c->fds.at[i] >= 0);
    sl_ports_change_clear(&change);
    check_step(NULL, n_listening, 0);
}

static void it_is_whole_again_if_the_change_is_not_made(void)
{
    struct test_route route = {.ports = port_text, .protocol = SL_PROTOCOL_TCP};
    struct sl_ports_change change;
    struct sl_snapshot *s = test_snapshot(&route, 1);
    ino_t inodes[2];

    inherit("::", 2, inodes);
    for (int i = 0; i < 2; i++) {
        sl_ports_plan(&change, &ports, s, true);
        sl_check(change.n == 1 && change.n_failed == 0);
        sl_check(inode_of(change.at[0].fds.at[1]) == inodes[1]);
        sl_ports_change_clear(&change);
        sl_check(ports.n_inherited == 1);
    }
    sl_snapshot_unref(s);
    sl_ports_disinherit(&ports);
    check_step(&route, 0, N_WORKERS); /* the port is free: nothing is open any more */
    check_step(NULL, N_WORKERS, 0);
}

/* As those of every port that is open do, whatever the limit bind_address says. */
static void it_stays_where_it_is_bound(void)
{
    const struct test_route route = {.ports = port_text, .protocol = SL_PROTOCOL_TCP};
    struct sl_ports_change change;
    char ip[SL_ADDR_TEXT_LEN];
    ino_t inodes[1];

    inherit("127.0.0.1", 1, inodes);
    change = apply(&route);
    for (unsigned i = 0; i < N_WORKERS; i++) {
        struct sl_addr at = {.sa.sa_family = AF_UNSPEC};
        socklen_t len = sizeof(at);

        sl_check(getsockname(change.at[0].fds.at[i], &at.sa, &len) == 0);
        sl_check(sl_addr_port(&at) == port && strcmp(sl_addr_ip(&at, ip), "127.0.0.1") == 0);
    }
    check_change(&change, 0, N_WORKERS);
    check_step(NULL, N_WORKERS, 0);
}

static void what_does_not_listen_is_not_inherited(void)
{
    struct sl_addr at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sl_check(sl_ports_inherit(&ports, fd) == SL_E_PROTOCOL);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sl_check(listen(fd, 1) < 0 && sl_ports_inherit(&ports, fd) == SL_E_PROTOCOL);
    sl_check(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_check(sl_socket_bind_udp(&fd, &at, false, NULL) == 0);
    sl_check(sl_ports_inherit(&ports, fd) == SL_E_PROTOCOL);
    sl_check(sl_ports_inherit(&ports, open("/dev/null", O_RDONLY | O_CLOEXEC)) == SL_E_PROTOCOL);
    sl_check(ports.n_inherited == 0);
}

/* UDP ports are not handed over: they are opened when the other process has ended. */
static void datagrams_have_to_wait(void)
{
    const struct test_route route = {
        .ports = port_text, .protocol = SL_PROTOCOL_TCP, .transport = SL_TRANSPORT_ALL};
    struct sl_ports_change change;
    struct sl_addr at;
    int taken;

    sl_check(sl_addr_parse(&at, SL_STR("::"), port) == 0);
    sl_check(sl_socket_bind_udp(&taken, &at, true, NULL) == 0);
    ports.has_former = true;
    change = apply(&route);
    sl_check(change.n_failed == 0 && change.n == 1 && change.at[0].port.use == SL_PORT_TCP);
    sl_ports_change_clear(&change);
    close(taken);
    ports.has_former = false;
    change = apply(&route);
    sl_check(change.n_failed == 0 && change.n == 1 && change.at[0].port.use == SL_PORT_UDP);
    sl_ports_change_clear(&change);
    change = apply(NULL);
    sl_check(change.n == 2);
    sl_ports_change_clear(&change);
}

static void sockets_are_inherited(void)
{
    struct test_route all = {.ports = port_text, .protocol = SL_PROTOCOL_TCP}, single = all;

    single.tunnel = "main";
    nothing_inherited_is_left(1, &all, N_WORKERS);
    nothing_inherited_is_left(N_WORKERS, &all, N_WORKERS);
    nothing_inherited_is_left(2 * N_WORKERS + 1, &all, N_WORKERS);
    nothing_inherited_is_left(N_WORKERS, &single, 1);
    it_is_whole_again_if_the_change_is_not_made();
    it_stays_where_it_is_bound();
    what_does_not_listen_is_not_inherited();
    datagrams_have_to_wait();
}

int main(void)
{
    size_t n_fds = count_fds();

    find_port();
    the_number_of_workers_follows_the_routes();
    what_fails_leaves_nothing();
    nobody_joins_before_all_is_well();
    ports_leave_descriptors_to_visitors();
    a_worker_more_joins_the_others();
    quic_keeps_its_sockets();
    sockets_are_inherited();
    sl_ports_clear(&ports);
    sl_check(count_fds() == n_fds);
    return sl_check_done();
}
