/* Attack U-16: all edges of a hub come back at once, and strangers hold places. How many may be
   given as an argument, to see how long thousands of them take. */
#include <stdlib.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "tunnel/hub_internal.h"
#include "tunnel/test_ends.h"

enum { N_DEFAULT = 120, IN_FLIGHT = 256 };

static struct test_edge *all;
static struct sl_hub_edge_spec *specs;
static int n_all;
static size_t most_in_flight;

static void make_edges(void)
{
    struct sl_edge_opts opts = {.loop = loop, .dns = dns, .handler = &edge_handler};

    all = sl_zalloc((size_t)n_all * sizeof(*all));
    specs = sl_zalloc((size_t)n_all * sizeof(*specs));
    for (int i = 0; i < n_all; i++) {
        opts.user = &all[i];
        all[i].edge = sl_edge_new(&opts);
        (void)snprintf(all[i].id, sizeof(all[i].id), "e%d", i);
        (void)snprintf(all[i].secret, sizeof(all[i].secret), "secret-e%d", i);
        specs[i] = (struct sl_hub_edge_spec){sl_str_c(all[i].id), sl_str_c(all[i].secret),
                                             SL_STR("{\"listenPorts\":[443]}")};
    }
    sl_hub_set_edges(hub, specs, (size_t)n_all);
}

static void free_edges(void)
{
    for (int i = 0; i < n_all; i++) {
        sl_edge_free(all[i].edge);
        sl_buf_clear(&all[i].answer);
        sl_buf_clear(&all[i].config);
    }
    sl_free(all);
    sl_free(specs);
}

static bool are_up(size_t n)
{
    most_in_flight = SL_MAX(most_in_flight, hub->n_handshakes);
    return stats_of_hub().n_edges_up == n;
}

/* Nobody is helped by the end of a greeting's time. */
static void set_up(void)
{
    world_begin();
    world_hub(&(struct sl_hub_opts){.greeting_ms = 600 * 1000});
    world_listen();
}

static void all_come_at_once(enum sl_edge_transport transport)
{
    uint64_t begin = sl_clock_ns();

    set_up();
    make_edges();
    most_in_flight = 0;
    for (int i = 0; i < n_all; i++) {
        struct sl_edge_attempt a = world_attempt(&all[i], transport);

        a.timeout_ms = 600 * 1000;
        sl_edge_connect(all[i].edge, &a);
    }
    while (n_all > N_DEFAULT && !are_up((size_t)n_all))
        sl_loop_turn(loop, true);
    run_until(loop, are_up((size_t)n_all));
    sl_check(most_in_flight <= IN_FLIGHT && hub->n_conns == 0 && stats_of_hub().dropped == 0);
    fprintf(stderr, "%d edges are back after %.1f s, %zu handshakes at most\n", n_all,
            (double)(sl_clock_ns() - begin) / 1e9, most_in_flight);
    free_edges();
    world_end();
}

static void ignore(struct sl_stream *s)
{
    (void)s;
}

static void ignore_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
}

static const struct sl_stream_handler idle_handler = {
    .on_fin = ignore, .on_written = ignore, .on_error = ignore_error, .on_ready = ignore};

/* Whoever connects and says nothing holds a place only as long as nobody needs it. */
static void places_are_for_those_who_speak(void)
{
    struct sl_stream *idle[IN_FLIGHT + 20];

    set_up();
    world_edges(1, &(struct sl_edge_opts){0});
    for (size_t i = 0; i < SL_COUNT(idle); i++)
        sl_assert(sl_tcp_connect(&idle[i], loop, &hub_at, NULL, 0, &idle_handler, NULL) == 0);
    run_until(loop, hub->n_handshakes == IN_FLIGHT);
    world_connect(&edges[0], SL_EDGE_TLS);
    run_quiet(loop);
    sl_check(hub->n_handshakes <= IN_FLIGHT);
    sl_loop_skip(loop, 2500);
    run_until(loop, edges[0].n_up == 1);
    sl_check(stats_of_hub().dropped > 0 && stats_of_hub().dropped <= IN_FLIGHT);
    for (size_t i = 0; i < SL_COUNT(idle); i++)
        sl_stream_free(&idle[i], SL_CLOSE_ABORT);
    world_end();
}

static void allow_sockets(void)
{
    struct rlimit limit;

    sl_assert(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    sl_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

int main(int argc, char **argv)
{
    n_all = argc > 1 ? atoi(argv[1]) : N_DEFAULT;
    allow_sockets();
    sl_log_setup(SL_LOG_ERROR, SL_LOG_AUTO);
    all_come_at_once(SL_EDGE_TLS);
    all_come_at_once(SL_EDGE_QUIC);
    places_are_for_those_who_speak();
    return sl_check_done();
}
