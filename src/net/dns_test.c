/* The resolver against a DNS server of our own on loopback: nothing here leaves the machine. */
#include "net/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/check.h"

enum behaviour { ANSWER, NXDOMAIN, SERVFAIL, SILENT };

/* The server: one behaviour for all names at a time. */
static struct {
    int fd;
    struct sl_watch watch;
    uint16_t port;
    enum behaviour behaviour;
    uint32_t ttl;
    uint8_t last_octet; /* of the A record */
    int n_questions;    /* for A records */
} server;

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_timer guard, pause_timer;
static struct sl_task_link next_task;
static char hosts_path[] = "/tmp/sluice-dns-test-XXXXXX";
static size_t at_step;
static void (*const steps[])(void);
static const size_t n_steps;

/* --- the server --- */

static size_t put16(uint8_t *p, size_t at, unsigned n)
{
    p[at] = (uint8_t)(n >> 8);
    p[at + 1] = (uint8_t)n;
    return at + 2;
}

/* Where the question ends: after the labels, type and class. */
static size_t question_end(const uint8_t *p, size_t len, unsigned *type)
{
    size_t at = 12;

    while (at < len && p[at] != 0)
        at += p[at] + 1u;
    *type = at + 5 <= len ? (unsigned)(p[at + 1] << 8 | p[at + 2]) : 0;
    return at + 5;
}

static size_t put_record(uint8_t *p, size_t at, unsigned type, const void *data, unsigned len)
{
    at = put16(p, at, 0xc00c); /* the name of the question */
    at = put16(p, at, type);
    at = put16(p, at, 1);
    at = put16(p, at, server.ttl >> 16);
    at = put16(p, at, server.ttl & 0xffff);
    at = put16(p, at, len);
    memcpy(p + at, data, len);
    return at + len;
}

static size_t make_reply(uint8_t *p, size_t len)
{
    uint8_t v4[4] = {10, 0, 0, server.last_octet};
    uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    unsigned type;
    size_t at = question_end(p, len, &type);
    bool is_ok = server.behaviour == ANSWER && (type == 1 || type == 28);

    server.n_questions += type == 1;
    put16(p, 2, 0x8180 | (server.behaviour == NXDOMAIN ? 3 : server.behaviour == SERVFAIL ? 2 : 0));
    put16(p, 6, is_ok);
    put16(p, 8, 0);
    put16(p, 10, 0); /* the EDNS record of the question is dropped */
    if (!is_ok)
        return at;
    return type == 1 ? put_record(p, at, 1, v4, 4) : put_record(p, at, 28, v6, 16);
}

static void on_question(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    uint8_t packet[1024];
    ssize_t n = recvfrom(w->fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);

    if (n < 17)
        return;
    n = (ssize_t)make_reply(packet, (size_t)n);
    if (server.behaviour != SILENT)
        sendto(w->fd, packet, (size_t)n, 0, (struct sockaddr *)&from, from_len);
}

static void start_server(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sl_assert(bind(server.fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    sl_assert(getsockname(server.fd, (struct sockaddr *)&at, &len) == 0);
    server.port = ntohs(at.sin_port);
    server.last_octet = 1;
    server.ttl = 60;
    sl_watch_init(&server.watch, loop, server.fd, on_question, NULL);
    sl_watch_set(&server.watch, SL_READ);
}

/* --- the steps --- */

static void run_step(void *user SL_UNUSED)
{
    if (at_step == n_steps)
        sl_loop_stop(loop);
    else
        steps[at_step++]();
}

static void next(void)
{
    sl_loop_soon(loop, &next_task, run_step, NULL);
}

static void on_pause_end(struct sl_timer *t SL_UNUSED)
{
    next();
}

/* Lets time pass: the answers in the cache shall get old. */
static void pass(double ms)
{
    sl_timer_set(&pause_timer, ms);
}

static void use_resolver(const struct sl_dns_opts *more)
{
    struct sl_dns_opts opts = *more;
    char servers[32];

    snprintf(servers, sizeof(servers), "127.0.0.1:%u", server.port);
    opts.servers = servers;
    opts.resolv_conf = "/dev/null"; /* no search list of this machine */
    opts.hosts_file = hosts_path;
    sl_dns_free(dns);
    sl_assert(sl_dns_new_with(&dns, loop, &opts) == 0);
    server.n_questions = 0;
}

static struct sl_dns_query *ask(const char *name, sl_on_resolved *fn, struct sl_dns_answer *now)
{
    now->code = 1;
    return sl_dns_resolve(dns, sl_str_c(name), fn, NULL, now);
}

static bool has_ip(const struct sl_dns_answer *a, const char *ip)
{
    char text[SL_ADDR_TEXT_LEN];

    for (int i = 0; i < a->n; i++) {
        if (strcmp(sl_addr_ip(&a->addrs[i], text), ip) == 0)
            return true;
    }
    return false;
}

static void on_unexpected(void *user SL_UNUSED, const struct sl_dns_answer *answer SL_UNUSED)
{
    sl_check(!"an answer that nobody waits for");
}

static void literals_and_hosts(void)
{
    struct sl_dns_answer now;

    use_resolver(&(struct sl_dns_opts){0});
    sl_check(ask("192.0.2.7", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && now.n == 1 && has_ip(&now, "192.0.2.7"));
    sl_check(ask("[2001:db8::5]", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && has_ip(&now, "2001:db8::5"));
    sl_check(ask("from-hosts.test", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && has_ip(&now, "192.0.2.99"));
    sl_check(ask("localhost", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && has_ip(&now, "127.0.0.1"));
    sl_check(server.n_questions == 0);
    next();
}

static void names_that_are_none(void)
{
    struct sl_dns_answer now;
    char longest[300];

    memset(longest, 'a', sizeof(longest));
    sl_check(sl_dns_resolve(dns, sl_str(longest, sizeof(longest)), on_unexpected, NULL, &now) ==
             NULL);
    sl_check(now.code == SL_E_NOT_FOUND && now.n == 0);
    sl_check(sl_dns_resolve(dns, SL_STR("a\0b"), on_unexpected, NULL, &now) == NULL);
    sl_check(now.code == SL_E_NOT_FOUND);
    sl_check(ask("", on_unexpected, &now) == NULL);
    sl_check(now.code == SL_E_NOT_FOUND);
    sl_check(server.n_questions == 0);
    next();
}

static void on_first(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    struct sl_dns_answer now;

    sl_check(answer->code == 0 && answer->n == 2);
    sl_check(has_ip(answer, "10.0.0.1") && has_ip(answer, "2001:db8::1"));
    sl_check(ask("App.Example", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && now.n == 2 && has_ip(&now, "10.0.0.1"));
    sl_check(server.n_questions == 1);
    next();
}

static void an_answer_is_kept(void)
{
    struct sl_dns_answer now;

    sl_check(ask("app.example", on_first, &now) != NULL);
}

static int n_joined;

static void on_joined(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == 0 && has_ip(answer, "10.0.0.1"));
    if (++n_joined < 3)
        return;
    sl_check(server.n_questions == 1);
    next();
}

static void queries_for_one_name_are_joined(void)
{
    struct sl_dns_answer now;
    struct sl_dns_query *cancelled;

    use_resolver(&(struct sl_dns_opts){0});
    sl_check(ask("joined.example", on_joined, &now) != NULL);
    cancelled = ask("joined.example", on_unexpected, &now);
    sl_check(cancelled != NULL);
    sl_check(ask("joined.example", on_joined, &now) != NULL);
    sl_check(ask("JOINED.example", on_joined, &now) != NULL);
    sl_dns_cancel(cancelled);
}

static void on_not_found(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    struct sl_dns_answer now;

    sl_check(answer->code == SL_E_NOT_FOUND && answer->n == 0);
    sl_check(ask("missing.example", on_unexpected, &now) == NULL);
    sl_check(now.code == SL_E_NOT_FOUND && now.n == 0);
    sl_check(server.n_questions == 1);
    next();
}

static void a_failure_is_kept(void)
{
    struct sl_dns_answer now;

    use_resolver(&(struct sl_dns_opts){0});
    server.behaviour = NXDOMAIN;
    sl_check(ask("missing.example", on_not_found, &now) != NULL);
}

static void on_timeout(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == SL_E_TIMEOUT);
    next();
}

static void silence_ends(void)
{
    struct sl_dns_answer now;

    use_resolver(&(struct sl_dns_opts){.try_timeout_ms = 20, .tries = 1});
    server.behaviour = SILENT;
    sl_check(ask("silent.example", on_timeout, &now) != NULL);
}

static void on_no_server(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == SL_E_UNREACHABLE);
    next();
}

static void a_broken_server_is_told_from_a_missing_name(void)
{
    struct sl_dns_answer now;

    use_resolver(&(struct sl_dns_opts){.try_timeout_ms = 20, .tries = 1});
    server.behaviour = SERVFAIL;
    sl_check(ask("broken.example", on_no_server, &now) != NULL);
}

static void on_filled(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == 0 && has_ip(answer, "10.0.0.1"));
    pass(30);
}

static void fill_for_20_ms(void)
{
    struct sl_dns_answer now;

    server.behaviour = ANSWER;
    use_resolver(&(struct sl_dns_opts){
        .min_ttl_ms = 1, .max_ttl_ms = 20, .failure_ttl_ms = 20, .try_timeout_ms = 20, .tries = 1});
    sl_check(ask("moving.example", on_filled, &now) != NULL);
}

static void on_stale(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    struct sl_dns_answer now;

    sl_check(answer->code == 0 && has_ip(answer, "10.0.0.1"));
    sl_check(ask("moving.example", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && has_ip(&now, "10.0.0.1"));
    pass(30);
}

static void an_old_answer_outlives_its_server(void)
{
    struct sl_dns_answer now;

    server.behaviour = SERVFAIL;
    sl_check(ask("moving.example", on_stale, &now) != NULL);
}

static void an_old_answer_is_refreshed_behind_its_users(void)
{
    struct sl_dns_answer now;

    server.behaviour = ANSWER;
    server.last_octet = 2;
    sl_check(ask("moving.example", on_unexpected, &now) == NULL);
    sl_check(now.code == 0 && has_ip(&now, "10.0.0.1"));
    pass(10);
}

static void on_moved(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == 0 && has_ip(answer, "10.0.0.2") && !has_ip(answer, "10.0.0.1"));
    pass(30);
}

static void the_new_address_is_used(void)
{
    struct sl_dns_answer now;

    if (ask("moving.example", on_moved, &now) == NULL)
        on_moved(NULL, &now);
}

static void on_removed(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == SL_E_NOT_FOUND);
    next();
}

static void a_removed_name_is_not_kept_alive(void)
{
    struct sl_dns_answer now;

    server.behaviour = NXDOMAIN;
    sl_check(ask("moving.example", on_removed, &now) != NULL);
}

static void the_flood_is_bounded(void)
{
    struct sl_dns_answer now;
    char name[32];
    int n_waiting = 0, n_refused = 0;

    use_resolver(&(struct sl_dns_opts){0});
    server.behaviour = SILENT;
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "flood%d.example", i);
        if (ask(name, on_unexpected, &now) != NULL)
            n_waiting++;
        else
            n_refused += now.code == SL_E_LIMIT;
    }
    sl_check(n_waiting == 512 && n_refused == 88);
    next();
}

static void old_names_give_way(void)
{
    struct sl_dns_answer now;
    char name[32];

    use_resolver(&(struct sl_dns_opts){0});
    for (int i = 0; i < 10000; i++) { /* answered at once, as every name below localhost is */
        snprintf(name, sizeof(name), "n%d.localhost", i);
        sl_check(ask(name, on_unexpected, &now) == NULL && now.code == 0);
    }
    next();
}

static void bad_options_are_refused(void)
{
    struct sl_dns *none = NULL;
    struct sl_dns_opts opts = {.servers = "not a server"};

    sl_check(sl_dns_new_with(&none, loop, &opts) == SL_E_CONFIG && none == NULL);
    next();
}

static void on_followed(void *user SL_UNUSED, const struct sl_dns_answer *answer)
{
    sl_check(answer->code == 0 && has_ip(answer, "10.0.0.3"));
    next();
}

static void a_changed_resolv_conf_is_followed(void)
{
    char path[] = "/tmp/sluice-resolv-test-XXXXXX", text[64];
    struct sl_dns_answer now;
    int fd = mkstemp(path);

    sl_assert(fd >= 0);
    sl_dns_free(dns);
    sl_assert(sl_dns_new_with(&dns, loop, &(struct sl_dns_opts){.resolv_conf = path}) == 0);
    snprintf(text, sizeof(text), "nameserver 127.0.0.1:%u\n", server.port);
    sl_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    sl_assert(futimens(fd, (struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}) == 0);
    close(fd);
    server.behaviour = ANSWER;
    server.last_octet = 3;
    sl_check(ask("followed.example", on_followed, &now) != NULL);
    unlink(path);
}

static void (*const steps[])(void) = {
    literals_and_hosts,
    names_that_are_none,
    an_answer_is_kept,
    queries_for_one_name_are_joined,
    a_failure_is_kept,
    silence_ends,
    a_broken_server_is_told_from_a_missing_name,
    fill_for_20_ms,
    an_old_answer_outlives_its_server,
    an_old_answer_is_refreshed_behind_its_users,
    the_new_address_is_used,
    a_removed_name_is_not_kept_alive,
    the_flood_is_bounded, /* and the next step frees a resolver with 512 questions in flight */
    old_names_give_way,
    a_changed_resolv_conf_is_followed,
    bad_options_are_refused,
};
static const size_t n_steps = SL_COUNT(steps);

static void on_guard(struct sl_timer *t SL_UNUSED)
{
    fprintf(stderr, "step %zu did not end\n", at_step);
    sl_check(!"every step ends");
    sl_loop_stop(loop);
}

static void write_hosts(void)
{
    static const char text[] = "127.0.0.1 localhost\n192.0.2.99 from-hosts.test\n";
    int fd = mkstemp(hosts_path);

    sl_assert(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    close(fd);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    write_hosts();
    start_server();
    sl_timer_init(&guard, loop, on_guard, NULL);
    sl_timer_init(&pause_timer, loop, on_pause_end, NULL);
    sl_timer_set(&guard, 20000);
    next();
    sl_loop_run(loop);
    sl_timer_clear(&guard);
    sl_timer_clear(&pause_timer);
    sl_dns_free(dns);
    sl_watch_set(&server.watch, 0);
    close(server.fd);
    unlink(hosts_path);
    sl_loop_free(loop);
    return sl_check_done();
}
