/* Batches of datagrams over the loopback: addresses, ECN, GSO and GRO, full sockets, frees. */
#include "net/udp.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "net/test_net.h"

static struct sl_loop *loop;

/* Stands before the system call, so that a test can say when the kernel refuses: the loopback is
 * never full and always capable. */
static struct {
    int n_more; /* system messages that still go out; -1: all */
    int cause;  /* then this */
    bool gso;   /* refuses those with UDP_SEGMENT alone */
} kernel = {.n_more = -1};

static bool is_refused(const struct mmsghdr *m)
{
    if (kernel.gso)
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c != NULL;
             c = CMSG_NXTHDR((struct msghdr *)&m->msg_hdr, c))
            if (c->cmsg_level == IPPROTO_UDP)
                return true;
    return kernel.n_more == 0;
}

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    unsigned n_good = 0;

    while (n_good < n && !is_refused(&msgs[n_good])) {
        kernel.n_more -= kernel.n_more > 0;
        n_good++;
    }
    if (n_good > 0)
        return (int)syscall(SYS_sendmmsg, fd, msgs, n_good, flags);
    errno = kernel.cause;
    return -1;
}

struct seen {
    struct sl_udp *udp;
    struct sl_addr at;
    struct sl_buf got;     /* the bytes of all datagrams */
    struct sl_addr remote; /* of the last message */
    struct sl_addr local;
    uint8_t ecn;
    int n_messages, n_datagrams, n_batches, n_writable;
    size_t shortest, longest; /* datagrams */
    bool answers, frees_in_packet, frees_in_batch, pauses;
};

static void note(struct seen *s, const struct sl_udp_packet *p)
{
    s->remote = p->remote;
    s->local = p->local;
    s->ecn = p->ecn;
    s->n_messages++;
    sl_check(s->udp != NULL);
    sl_check(p->segment > 0 || p->len == 0);
    sl_buf_append(&s->got, p->bytes, p->len);
    for (size_t at = 0; at < p->len || p->len == 0; at += p->segment) {
        size_t len = SL_MIN(p->segment, p->len - at);

        s->n_datagrams++;
        s->shortest = s->n_datagrams == 1 ? len : SL_MIN(s->shortest, len);
        s->longest = SL_MAX(s->longest, len);
        if (p->len == 0)
            break;
    }
}

static void let_go(struct seen *s)
{
    sl_udp_free(s->udp);
    s->udp = NULL;
}

static void on_packet(void *user, const struct sl_udp_packet *p)
{
    struct seen *s = user;

    note(s, p);
    if (s->answers) {
        struct sl_udp_send m = {&p->remote, &p->local, p->bytes, p->len, p->segment, p->ecn};

        sl_check(sl_udp_send(s->udp, &m, 1, NULL) == 1);
    }
    if (s->pauses)
        sl_udp_pause(s->udp, true);
    if (s->frees_in_packet)
        let_go(s);
}

static void on_batch(void *user)
{
    struct seen *s = user;

    s->n_batches++;
    sl_check(s->udp != NULL);
    if (s->frees_in_batch)
        let_go(s);
}

static void on_writable(void *user)
{
    ((struct seen *)user)->n_writable++;
}

static const struct sl_udp_handler handler = {
    .on_packet = on_packet, .on_batch = on_batch, .on_writable = on_writable};

static void open_at(struct seen *s, const char *ip)
{
    int fd = -1;

    memset(s, 0, sizeof(*s));
    sl_assert(sl_addr_parse(&s->at, sl_str_c(ip), 0) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &s->at, false, NULL) == 0);
    sl_check(sl_addr_port(&s->at) != 0);
    s->udp = sl_udp_new(loop, fd, &handler, s);
}

static void shut(struct seen *s)
{
    sl_udp_free(s->udp);
    s->udp = NULL;
    sl_buf_clear(&s->got);
    run_quiet(loop);
}

static struct sl_addr addr(const char *ip, const struct seen *of)
{
    struct sl_addr a;

    sl_assert(sl_addr_parse(&a, sl_str_c(ip), sl_addr_port(&of->at)) == 0);
    return a;
}

static struct sl_udp_send message(const struct sl_addr *to, const void *bytes, size_t len,
                                  size_t segment)
{
    return (struct sl_udp_send){.remote = to, .bytes = bytes, .len = len, .segment = segment};
}

/* Bytes in which every position can be told. */
static const uint8_t *pattern(size_t len)
{
    static uint8_t bytes[1 << 20];

    sl_assert(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 ^ i >> 8);
    return bytes;
}

static bool got_pattern(const struct seen *s, size_t len)
{
    return sl_buf_len(&s->got) == len && memcmp(sl_buf_at(&s->got), pattern(len), len) == 0;
}

/* --- addresses and ECN --- */

/* A request from `client_ip` to `to`, and its answer: each end must see what the other meant. */
static void ask(const char *server_ip, const char *client_ip, const char *to, uint8_t ecn)
{
    struct seen server, client;
    struct sl_addr target;
    struct sl_udp_send m;

    open_at(&server, server_ip);
    open_at(&client, client_ip);
    server.answers = true;
    target = addr(to, &server);
    m = message(&target, "ping", 4, 4);
    m.ecn = ecn;
    sl_check(sl_udp_send(client.udp, &m, 1, NULL) == 1);
    run_until(loop, client.n_datagrams == 1);
    sl_check(server.n_datagrams == 1 && server.n_batches == 1);
    sl_check(sl_addr_eq(&server.local, &target));
    sl_check(sl_addr_eq(&server.remote, &client.local));
    sl_check(sl_addr_eq(&client.remote, &target)); /* not the kernel's choice */
    sl_check(server.ecn == ecn && client.ecn == ecn);
    sl_check_str(sl_buf_str(&client.got), SL_STR("ping"));
    shut(&server);
    shut(&client);
}

static void addresses_and_ecn_of_every_family(void)
{
    for (uint8_t ecn = 0; ecn < 4; ecn++) {
        ask("127.0.0.1", "127.0.0.1", "127.0.0.1", ecn);
        ask("0.0.0.0", "127.0.0.1", "127.0.0.2", ecn);
        ask("0.0.0.0", "0.0.0.0", "127.0.0.3", ecn);
        ask("::1", "::1", "::1", ecn);
        ask("::", "::1", "::1", ecn);
        ask("::", "127.0.0.1", "127.0.0.2", ecn); /* IPv4 through an IPv6 socket, both ways */
        ask("::", "::", "127.0.0.2", ecn);
        ask("0.0.0.0", "::", "127.0.0.2", ecn);
    }
}

static void a_taken_port_is_told(void)
{
    struct seen a;
    struct sl_err err;
    int fd = -1;

    open_at(&a, "127.0.0.1");
    sl_check(sl_socket_bind_udp(&fd, &a.at, false, &err) == SL_E_IN_USE && fd == -1);
    sl_check(strstr(err.text, "cannot bind UDP 127.0.0.1:") != NULL);
    shut(&a);
}

static void a_group_shares_a_port(void)
{
    struct sl_addr at;
    int fds[2];

    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    for (int i = 0; i < 2; i++)
        sl_check(sl_socket_bind_udp(&fds[i], &at, true, NULL) == 0);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
}

/* --- batches --- */

static void gso_cuts_and_gro_joins(void)
{
    struct seen a, b;
    struct sl_udp_send msgs[3];

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    msgs[0] = message(&b.at, pattern(60000), 38 * 1200, 1200);
    msgs[1] = message(&b.at, pattern(60000) + 38 * 1200, 1000, 1200); /* shorter than one segment */
    msgs[2] = message(&b.at, pattern(60000) + 38 * 1200 + 1000, 2500, 1200);
    sl_check(sl_udp_send(a.udp, msgs, 3, NULL) == 3);
    run_until(loop, b.n_datagrams == 38 + 1 + 3);
    sl_check(got_pattern(&b, 38 * 1200 + 1000 + 2500));
    sl_check(b.shortest == 100 && b.longest == 1200);
    sl_check(b.n_messages < b.n_datagrams); /* the kernel put some together */
    shut(&a);
    shut(&b);
}

static void most_that_one_message_takes(void)
{
    struct seen a, b;
    struct sl_udp_send m;

    open_at(&a, "::1");
    open_at(&b, "::1");
    m = message(&b.at, pattern(SL_UDP_SEND_MAX), 64 * 1015, 1015);
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    run_until(loop, b.n_datagrams == 64);
    sl_check(got_pattern(&b, 64 * 1015));
    shut(&a);
    shut(&b);
}

static void without_gso_the_same_datagrams_go_out(void)
{
    struct seen a, b;
    struct sl_udp_send msgs[2];

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    sl_check(sl_udp_has_gso(a.udp));
    kernel.gso = true;
    kernel.cause = EIO;
    msgs[0] = message(&b.at, pattern(60000), 45 * 1000, 1000);
    msgs[1] = message(&b.at, pattern(60000) + 45 * 1000, 3 * 1000 + 10, 1000);
    sl_check(sl_udp_send(a.udp, msgs, 2, NULL) == 2);
    sl_check(!sl_udp_has_gso(a.udp));
    run_until(loop, b.n_datagrams == 45 + 4);
    sl_check(got_pattern(&b, 48 * 1000 + 10));
    sl_check(b.shortest == 10 && b.longest == 1000);
    kernel.gso = false;
    shut(&a);
    shut(&b);
}

/* The kernel does not cut what has no checksum, and says EINVAL: a fault of this message alone. */
static void a_message_that_cannot_be_cut_goes_out_in_pieces(void)
{
    struct seen a, b;
    struct sl_udp_send m;
    int one = 1;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    setsockopt(sl_udp_fd(a.udp), SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one));
    m = message(&b.at, pattern(60000), 45 * 1000 + 1, 1000);
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    sl_check(sl_udp_has_gso(a.udp));
    run_until(loop, b.n_datagrams == 46);
    sl_check(got_pattern(&b, 45 * 1000 + 1));
    shut(&a);
    shut(&b);
}

static void many_small_messages_in_one_call(void)
{
    struct seen a, b;
    struct sl_udp_send msgs[100];

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    for (size_t i = 0; i < 100; i++)
        msgs[i] = message(&b.at, pattern(1000) + i * 10, 10, 10);
    sl_check(sl_udp_send(a.udp, msgs, 100, NULL) == 100);
    run_until(loop, b.n_datagrams == 100);
    sl_check(got_pattern(&b, 1000));
    sl_check(b.n_batches < 100);
    shut(&a);
    shut(&b);
}

static void an_empty_datagram_is_one(void)
{
    struct seen a, b;
    struct sl_udp_send m;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    m = message(&b.at, "", 0, 0);
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    run_until(loop, b.n_datagrams == 1);
    sl_check(sl_buf_len(&b.got) == 0);
    shut(&a);
    shut(&b);
}

/* --- what the network refuses --- */

static void nobody_listens_and_the_socket_goes_on(void)
{
    struct seen a, b, gone;
    struct sl_udp_send m;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    open_at(&gone, "127.0.0.1");
    shut(&gone);
    for (int i = 0; i < 3; i++) {
        m = message(&gone.at, "x", 1, 1);
        sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
        run_quiet(loop);
    }
    m = message(&b.at, "y", 1, 1);
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    run_until(loop, b.n_datagrams == 1);
    shut(&a);
    shut(&b);
}

static void an_unreachable_message_does_not_stop_the_next(void)
{
    struct seen a, b;
    struct sl_addr v6;
    struct sl_udp_send msgs[2];

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    v6 = addr("::1", &b); /* an IPv4 socket cannot send there */
    msgs[0] = message(&v6, pattern(3000), 3000, 1000);
    msgs[1] = message(&b.at, "y", 1, 1);
    sl_check(sl_udp_send(a.udp, msgs, 2, NULL) == 2);
    run_until(loop, b.n_datagrams == 1);
    sl_check(sl_udp_has_gso(a.udp));
    shut(&a);
    shut(&b);
}

static bool set_loopback_mtu(int mtu)
{
    struct ifreq ifr = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    ifr.ifr_mtu = mtu;
    ok = ioctl(fd, SIOCSIFMTU, &ifr) == 0;
    ifr.ifr_flags = IFF_UP;
    ok = ok && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
    close(fd);
    return ok;
}

static void send_too_long(void)
{
    struct seen a, b;
    struct sl_udp_send msgs[3];
    bool too_long = false;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    msgs[0] = message(&b.at, pattern(60000), 1500, 1500);
    msgs[1] = message(&b.at, pattern(60000), 4 * 1500, 1500); /* the same with GSO */
    msgs[2] = message(&b.at, pattern(1000), 1000, 1000);
    for (int i = 0; i < 2; i++) {
        sl_check(sl_udp_send(a.udp, &msgs[i], 1, &too_long) == 1 && too_long);
        sl_check(sl_udp_send(a.udp, &msgs[2], 1, &too_long) == 1 && !too_long);
    }
    sl_check(sl_udp_send(a.udp, msgs, 3, &too_long) == 3 && too_long);
    sl_check(sl_udp_has_gso(a.udp));
    run_until(loop, b.n_datagrams == 3);
    sl_check(b.longest == 1000);
    shut(&a);
    shut(&b);
}

/* In a network of its own, whose loopback takes 1,400 bytes. */
static void a_datagram_too_long_for_the_path_is_told(void)
{
    int before = sl_check_failures, status = 0;
    pid_t child = fork();

    sl_assert(child >= 0);
    if (child == 0) {
        sl_loop_free(loop);
        sl_assert(sl_loop_new(&loop) == 0);
        if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            _exit(77);
        if (!set_loopback_mtu(1400))
            _exit(77);
        send_too_long();
        sl_loop_free(loop);
        _exit(sl_check_failures == before ? 0 : 1);
    }
    sl_check(waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        fprintf(stderr, "skipped: a network of one's own is not allowed here\n");
    else
        sl_check(WEXITSTATUS(status) == 0);
}

/* --- a full socket --- */

static void a_full_socket_says_when_it_takes_more(void)
{
    struct seen a, b;
    struct sl_udp_send msgs[40];

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    for (size_t i = 0; i < 40; i++)
        msgs[i] = message(&b.at, pattern(4000) + i * 100, 100, 50);
    kernel.n_more = 35; /* in the second system call */
    kernel.cause = EAGAIN;
    sl_check(sl_udp_send(a.udp, msgs, 40, NULL) == 35);
    sl_check(sl_udp_send(a.udp, msgs + 35, 5, NULL) == 0);
    sl_check(a.n_writable == 0);
    kernel.n_more = -1;
    run_until(loop, a.n_writable == 1);
    sl_check(sl_udp_send(a.udp, msgs + 35, 5, NULL) == 5);
    run_until(loop, b.n_datagrams == 80);
    sl_check(got_pattern(&b, 4000) && a.n_writable == 1);
    shut(&a);
    shut(&b);
}

static void what_was_sent_in_part_is_finished_first(void)
{
    struct seen a, b;
    struct sl_addr to, from;
    struct sl_udp_send msgs[2];

    open_at(&a, "0.0.0.0");
    open_at(&b, "127.0.0.1");
    kernel.gso = true;
    kernel.cause = EIO;
    to = b.at;
    from = addr("127.0.0.9", &a);
    msgs[0] = message(&to, pattern(9000), 1000, 1000);
    msgs[1] = message(&to, pattern(9000) + 1000, 7500, 1000);
    msgs[1].local = &from;
    msgs[1].ecn = 2;
    sl_check(sl_udp_send(a.udp, msgs, 2, NULL) == 2); /* learns that it must cut by itself */
    run_until(loop, b.n_datagrams == 9);
    sl_buf_reset(&b.got);
    kernel.n_more = 3;
    kernel.cause = EAGAIN;
    sl_check(sl_udp_send(a.udp, msgs, 2, NULL) == 2);
    memset(&to, 0, sizeof(to)); /* what the caller had is the caller's again */
    memset(&from, 0, sizeof(from));
    kernel.n_more = 2; /* full once more on the way */
    sl_loop_turn(loop, true);
    kernel.n_more = -1;
    run_until(loop, a.n_writable == 1);
    run_until(loop, b.n_datagrams == 18);
    sl_check(got_pattern(&b, 8500) && b.ecn == 2);
    from = addr("127.0.0.9", &a);
    sl_check(sl_addr_eq(&b.remote, &from));
    kernel.gso = false;
    shut(&a);
    shut(&b);
}

static void freed_while_it_holds_a_rest(void)
{
    struct seen a, b;
    struct sl_udp_send m;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    kernel.gso = true;
    kernel.cause = EIO;
    m = message(&b.at, pattern(3000), 3000, 1000);
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    kernel.n_more = 1;
    kernel.cause = EAGAIN;
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    kernel.n_more = -1;
    kernel.gso = false;
    shut(&a);
    run_until(loop, b.n_datagrams == 4);
    sl_check(a.n_writable == 0);
    shut(&b);
}

/* Whatever else the kernel says loses a datagram, as networks do. */
static void what_is_refused_counts_as_lost(void)
{
    static const int causes[] = {EPERM, ENOBUFS, ECONNREFUSED, ENETUNREACH};
    struct seen a, b;
    struct sl_udp_send m;
    bool too_long;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    m = message(&b.at, pattern(3000), 3000, 1000);
    for (size_t i = 0; i < SL_COUNT(causes); i++) {
        kernel.n_more = 0;
        kernel.cause = causes[i];
        sl_check(sl_udp_send(a.udp, &m, 1, &too_long) == 1 && !too_long);
        kernel.n_more = -1;
        sl_check(sl_udp_send(a.udp, &m, 1, &too_long) == 1);
        run_until(loop, b.n_datagrams == 3 * ((int)i + 1));
    }
    sl_check(sl_udp_has_gso(a.udp));
    shut(&a);
    shut(&b);
}

/* --- frees and pauses --- */

static void send_some(struct seen *from, const struct seen *to, int n)
{
    for (int i = 0; i < n; i++) {
        struct sl_udp_send m = message(&to->at, "x", 1, 1);

        m.ecn = i & 1; /* so that GRO keeps them apart */
        sl_check(sl_udp_send(from->udp, &m, 1, NULL) == 1);
    }
}

static void freed_in_on_packet(void)
{
    struct seen a, b;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    b.frees_in_packet = true;
    send_some(&a, &b, 5);
    run_until(loop, b.udp == NULL);
    run_quiet(loop);
    sl_check(b.n_messages == 1 && b.n_batches == 0);
    shut(&a);
    shut(&b);
}

static void freed_in_on_batch(void)
{
    struct seen a, b;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    b.frees_in_batch = true;
    send_some(&a, &b, 5);
    run_until(loop, b.udp == NULL);
    run_quiet(loop);
    sl_check(b.n_batches == 1);
    shut(&a);
    shut(&b);
}

static void paused_it_hears_no_further_batch(void)
{
    struct seen a, b;
    int n;

    open_at(&a, "127.0.0.1");
    open_at(&b, "127.0.0.1");
    b.pauses = true;
    send_some(&a, &b, 100);
    run_until(loop, b.n_messages > 0);
    run_quiet(loop);
    n = b.n_messages;
    sl_check(n < 100 && b.n_batches == 1);
    b.pauses = false;
    sl_udp_pause(b.udp, false);
    run_until(loop, b.n_datagrams == 100);
    shut(&a);
    shut(&b);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    a_datagram_too_long_for_the_path_is_told();
    addresses_and_ecn_of_every_family();
    a_taken_port_is_told();
    a_group_shares_a_port();
    gso_cuts_and_gro_joins();
    most_that_one_message_takes();
    without_gso_the_same_datagrams_go_out();
    many_small_messages_in_one_call();
    an_empty_datagram_is_one();
    nobody_listens_and_the_socket_goes_on();
    an_unreachable_message_does_not_stop_the_next();
    a_message_that_cannot_be_cut_goes_out_in_pieces();
    a_full_socket_says_when_it_takes_more();
    what_was_sent_in_part_is_finished_first();
    freed_while_it_holds_a_rest();
    what_is_refused_counts_as_lost();
    freed_in_on_packet();
    freed_in_on_batch();
    paused_it_hears_no_further_batch();
    sl_loop_free(loop);
    return sl_check_done();
}
