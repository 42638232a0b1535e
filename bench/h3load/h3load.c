/*
 * h3load: puts HTTP/3 requests on a server and says how many were answered, and how fast. The
 * generator of the benchmark's h3 cases; options and report are those of h2load as far as they go.
 * Certificates are not verified.
 *
 *     h3load -c 32 -m 8 -D 5 --connect-to=127.0.0.1:8443 https://localhost:8443/
 *     h3load -c 2000 --hold --connect-to=127.0.0.1:8443 https://localhost:8443/
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "h3.h"
#include "tally.h"

enum {
    HANDSHAKES = 32, /* at once: a server drops what comes in a flood */
    HANDSHAKE_MS = 30000,
};

struct options {
    unsigned n_conns, n_streams;
    double seconds;
    uint64_t n_requests; /* 0: as many as fit into the time */
    bool holds;
    struct sl_addr remote;
    struct h3_request request;
    struct sl_str server_name;
};

struct load;

struct client {
    struct load *load;
    struct sl_quic_endpoint *endpoint; /* a port of its own, as clients have */
    struct h3 *h3;
    unsigned n_under_way;
    bool is_ready, has_answer;
};

struct load {
    struct options opts;
    struct sl_loop *loop;
    struct sl_quic_tls *tls;
    struct client *clients;
    unsigned n_begun, n_shaking, n_open, n_answered;
    struct sl_timer timer;
    struct sl_watch input;
    struct tally tally;
    bool is_stopped;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "h3load: %s: %s\n", what, why);
    exit(2);
}

/* --- requests --- */

static bool may_ask(const struct load *l)
{
    if (l->is_stopped)
        return false;
    return l->opts.n_requests == 0 || l->tally.n_started < l->opts.n_requests;
}

/* Keeps as many requests under way as the options say and the server allows. */
static void ask(struct client *c)
{
    struct load *l = c->load;
    unsigned most = l->opts.holds ? 1 : l->opts.n_streams;

    while (c->n_under_way < most && may_ask(l) && !(l->opts.holds && c->has_answer)) {
        if (h3_get(c->h3, &l->opts.request) < 0)
            return;
        c->n_under_way++;
        l->tally.n_started++;
    }
}

static void stop(struct load *l)
{
    if (l->is_stopped)
        return;
    l->is_stopped = true;
    l->tally.ended_ns = sl_clock_ns();
    sl_timer_clear(&l->timer);
    sl_watch_set(&l->input, 0);
    for (unsigned i = 0; i < l->opts.n_conns; i++)
        if (l->clients[i].h3 != NULL)
            h3_close(l->clients[i].h3);
}

static void on_time(struct sl_timer *t)
{
    stop(t->user);
}

/* --- connections --- */

static void begin_some(struct load *l);

static void on_ready(void *user)
{
    struct client *c = user;

    c->is_ready = true;
    c->load->n_shaking--;
    ask(c);
    begin_some(c->load);
}

static void hold(struct load *l)
{
    if (++l->n_answered < l->opts.n_conns)
        return;
    printf("holding %u connections\n", l->opts.n_conns);
    fflush(stdout);
}

static void on_answer(void *user, const struct h3_answer *a)
{
    struct client *c = user;
    struct load *l = c->load;

    if (l->is_stopped)
        return;
    c->n_under_way--;
    tally_add(&l->tally, a->status, a->is_complete, a->n_bytes, sl_clock_ns() - a->begun_ns);
    if (l->opts.holds && !c->has_answer && a->is_complete) {
        c->has_answer = true;
        hold(l);
    }
    if (l->opts.n_requests > 0 && l->tally.n_done == l->opts.n_requests)
        stop(l);
    else
        ask(c);
}

static void on_more(void *user)
{
    ask(user);
}

static void on_closed(void *user, const struct sl_quic_end *end)
{
    struct client *c = user;
    struct load *l = c->load;

    c->h3 = NULL;
    l->n_open--;
    l->n_shaking -= !c->is_ready;
    if (l->is_stopped)
        return;
    if (l->tally.n_refused + l->tally.n_lost == 0)
        fprintf(stderr, "h3load: a connection ended: %s (%s, error 0x%llx)\n",
                sl_error_text(end->code), end->reason, (unsigned long long)end->error);
    l->tally.n_refused += !c->is_ready;
    l->tally.n_lost += c->is_ready;
    begin_some(l);
    if (l->n_open == 0)
        stop(l);
}

static const struct h3_handler handler = {on_ready, on_answer, on_more, on_closed};

static void begin_some(struct load *l)
{
    while (l->n_begun < l->opts.n_conns && l->n_shaking < HANDSHAKES && !l->is_stopped) {
        struct client *c = &l->clients[l->n_begun];
        struct h3_target target = {
            .endpoint = c->endpoint,
            .tls = l->tls,
            .remote = &l->opts.remote,
            .server_name = l->opts.server_name,
        };
        int rc = h3_connect(&c->h3, &target, &handler, c);

        if (rc < 0)
            die("cannot connect", sl_error_text(rc));
        c->load = l;
        l->n_begun++;
        l->n_shaking++;
        l->n_open++;
    }
}

/* --- options --- */

static void usage(void)
{
    fputs("h3load [-c CLIENTS] [-m STREAMS] [-D SECONDS | -n REQUESTS] [--connect-to=IP:PORT]\n"
          "       [--sni=NAME] [--hold] https://HOST[:PORT]/PATH\n"
          "--hold: one request on each connection, then keep them open until standard input ends\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    uint64_t n = 0;

    if (sl_str_to_u64(sl_str_c(text), max, &n) < 0 || n == 0)
        die(text, "not such a number");
    return n;
}

/* "host:port" or "host", into an address; the port of the URL is 443 when it has none. */
static void take_address(struct sl_addr *out, struct sl_str text)
{
    const char *colon = memrchr(text.p, ':', text.len);
    uint64_t port = 443;
    struct sl_str ip = text;

    if (colon != NULL && text.p[text.len - 1] != ']') {
        ip.len = (size_t)(colon - text.p);
        if (sl_str_to_u64(sl_str(colon + 1, text.len - ip.len - 1), 65535, &port) < 0)
            die(text.p, "no port");
    }
    if (sl_str_ieq(ip, SL_STR("localhost")))
        ip = SL_STR("127.0.0.1");
    if (sl_addr_parse(out, ip, (uint16_t)port) < 0)
        die(text.p, "not an IP address; give one with --connect-to");
}

static void take_url(struct options *o, const char *url, bool needs_address)
{
    struct sl_str rest = sl_str_c(url), *authority = &o->request.authority;
    const char *slash;

    if (!sl_str_starts(rest, SL_STR("https://")))
        die(url, "begins with https://");
    rest = sl_str(rest.p + 8, rest.len - 8);
    slash = memchr(rest.p, '/', rest.len);
    *authority = slash != NULL ? sl_str(rest.p, (size_t)(slash - rest.p)) : rest;
    o->request.path = slash != NULL ? sl_str_c(slash) : SL_STR("/");
    if (needs_address)
        take_address(&o->remote, *authority);
    if (o->server_name.len == 0) {
        const char *colon = memrchr(authority->p, ':', authority->len);

        o->server_name =
            colon != NULL ? sl_str(authority->p, (size_t)(colon - authority->p)) : *authority;
    }
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"clients", required_argument, NULL, 'c'},
        {"max-concurrent-streams", required_argument, NULL, 'm'},
        {"duration", required_argument, NULL, 'D'},
        {"requests", required_argument, NULL, 'n'},
        {"connect-to", required_argument, NULL, 't'},
        {"sni", required_argument, NULL, 's'},
        {"hold", no_argument, NULL, 'h'},
        {0},
    };
    const char *to = NULL;
    int c;

    *o = (struct options){.n_conns = 1, .n_streams = 1};
    while ((c = getopt_long(argc, argv, "c:m:D:n:", names, NULL)) != -1) {
        if (c == 'c')
            o->n_conns = (unsigned)number(optarg, 100000);
        else if (c == 'm')
            o->n_streams = (unsigned)number(optarg, 100000);
        else if (c == 'D')
            o->seconds = (double)number(optarg, 86400);
        else if (c == 'n')
            o->n_requests = number(optarg, UINT64_MAX / 2);
        else if (c == 't')
            to = optarg;
        else if (c == 's')
            o->server_name = sl_str_c(optarg);
        else if (c == 'h')
            o->holds = true;
        else
            usage();
    }
    if (optind + 1 != argc || (o->seconds == 0 && o->n_requests == 0 && !o->holds))
        usage();
    if (to != NULL)
        take_address(&o->remote, sl_str_c(to));
    take_url(o, argv[optind], to == NULL);
}

/* --- a run --- */

static void on_input(struct sl_watch *w, unsigned what)
{
    char bytes[256];

    (void)what;
    if (read(w->fd, bytes, sizeof(bytes)) <= 0)
        stop(w->user);
}

static void prepare(struct load *l)
{
    struct sl_tls_client_opts tls = {.verify = false, .alpn = "\x02h3"};
    struct sl_quic_settings settings = sl_quic_settings_default;
    struct sl_quic_endpoint_opts opts = {.settings = &settings};
    struct sl_err err;

    settings.handshake_timeout = HANDSHAKE_MS;
    settings.max_streams_bidi = 0;
    settings.max_streams_uni = 16;
    settings.stream_window = 256 * 1024;
    settings.conn_window = 4 * 1024 * 1024;
    if (sl_loop_new(&l->loop) < 0)
        die("cannot start", "no event loop");
    if (sl_quic_tls_client_new(&l->tls, &tls, &err) < 0)
        die("TLS", err.text);
    opts.loop = l->loop;
    l->clients = sl_zalloc(l->opts.n_conns * sizeof(*l->clients));
    for (unsigned i = 0; i < l->opts.n_conns; i++)
        if (sl_quic_endpoint_new_client(&l->clients[i].endpoint, &l->opts.remote, &opts, &err) < 0)
            die("UDP", err.text);
}

static void run(struct load *l)
{
    sl_timer_init(&l->timer, l->loop, on_time, l);
    sl_watch_init(&l->input, l->loop, STDIN_FILENO, on_input, l);
    l->tally.begun_ns = sl_clock_ns();
    if (l->opts.seconds > 0)
        sl_timer_set(&l->timer, l->opts.seconds * 1000);
    if (l->opts.holds)
        sl_watch_set(&l->input, SL_READ);
    begin_some(l);
    while (!l->is_stopped || l->n_open > 0)
        sl_loop_turn(l->loop, true);
}

static void clear(struct load *l)
{
    for (unsigned i = 0; i < l->opts.n_conns; i++)
        sl_quic_endpoint_free(l->clients[i].endpoint);
    sl_quic_tls_free(l->tls);
    sl_loop_free(l->loop);
    sl_free(l->clients);
    tally_clear(&l->tally);
}

int main(int argc, char **argv)
{
    struct load l = {0};
    bool is_good;

    parse(&l.opts, argc, argv);
    prepare(&l);
    run(&l);
    if (!l.opts.holds)
        tally_show(&l.tally);
    is_good = l.tally.n_good > 0 && l.tally.n_refused + l.tally.n_lost == 0;
    clear(&l);
    return is_good ? 0 : 1;
}
