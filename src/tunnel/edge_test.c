/* An edge and a hub on the loopback of this machine: TLS and QUIC, streams, sessions, links that
   come and go. */
#include "tunnel/test_ends.h"

static const enum sl_edge_transport transports[] = {SL_EDGE_TLS, SL_EDGE_QUIC};

static void set_up(void)
{
    world_begin();
    world_hub(&(struct sl_hub_opts){.refusal_ms = 1});
    world_listen();
    world_edges(1, &(struct sl_edge_opts){0});
}

static void a_stream_goes_both_ways(enum sl_edge_transport transport)
{
    struct holder *h;

    set_up();
    world_up(&edges[0], transport);
    sl_check(!edges[0].resumed && sl_edge_is_up(edges[0].edge));
    sl_check_str(sl_str_c(calls[0]), SL_STR("up e0"));
    sl_check(memmem(sl_buf_at(&edges[0].answer), sl_buf_len(&edges[0].answer),
                    "{\"listenPorts\":[443],", 21) == sl_buf_at(&edges[0].answer));
    h = visit(&edges[0]);
    say(h, "hello", true);
    run_until(loop, n_taken == 1 && taken[0]->got_fin);
    sl_check(has(taken[0], "hello"));
    sl_check(last_from.has_addresses && last_from.to_port == 443 && last_from.from_port == 5555);
    say(taken[0], "and back", true);
    run_until(loop, h->got_fin);
    sl_check(has(h, "and back"));
    let_go(&h);
    let_go(&taken[0]);
    run_until(loop, n_closed == 1);
    sl_check(n_opened == 1);
    world_end();
}

static struct sl_tunnel_status status_of_edge(void)
{
    struct sl_tunnel_status status;

    sl_edge_status(edges[0].edge, &status);
    return status;
}

static void take_status(void *arg, struct sl_str id, const struct sl_tunnel_status *status)
{
    (void)id;
    *(struct sl_tunnel_status *)arg = *status;
}

static void both_sides_know_how_it_goes(enum sl_edge_transport transport)
{
    struct sl_tunnel_status at_edge, at_hub;
    struct holder *h;

    set_up();
    at_edge = status_of_edge();
    sl_check(!at_edge.is_up && at_edge.links == 0 && at_edge.up_since == 0);
    world_up(&edges[0], transport);
    h = visit(&edges[0]);
    say(h, "12345", false);
    run_until(loop, n_taken == 1 && has(taken[0], "12345"));
    at_edge = status_of_edge();
    sl_hub_each(hub, take_status, &at_hub);
    sl_check(at_edge.is_up && at_hub.is_up && at_edge.links == 1 && at_hub.links == 1);
    sl_check(at_edge.transport == transport && at_hub.transport == transport);
    sl_check(sl_addr_eq(&at_edge.remote, &hub_at) && sl_addr_is_loopback(&at_hub.remote));
    sl_check(at_edge.up_since > 0 && at_hub.up_since > 0);
    sl_check(at_edge.rtt_ms > 0 && at_edge.rtt_ms < TEST_GUARD_MS && at_hub.rtt_ms > 0);
    sl_check(at_edge.streams.n_streams == 1 && at_hub.streams.n_streams == 1);
    sl_check(at_edge.streams.bytes_out == 5 && at_hub.streams.bytes_in == 5);
    let_go(&h);
    world_end();
}

/* To the hub it is an original then, whose first frame is the PONG, and both leave out what only
 * two sluices know. */
static void an_edge_may_take_the_hub_for_an_original(enum sl_edge_transport transport)
{
    static const struct sl_edge_terms original = {.is_sluice = false};
    struct holder *h;

    set_up();
    edges[0].decides = true;
    for (int n = 1; n <= 2; n++) {
        world_connect(&edges[0], transport);
        run_until(loop, edges[0].n_answers == n);
        h = visit(&edges[0]);
        say(h, "hello", true);
        sl_edge_accept(edges[0].edge, &original);
        run_until(loop, n_taken == n && taken[n - 1]->got_fin);
        sl_check(has(taken[n - 1], "hello") && !edges[0].resumed && edges[0].n_up == n);
        say(taken[n - 1], "and back", false);
        run_until(loop, has(h, "and back"));
        sl_edge_hang_up(edges[0].edge);
        run_until(loop, edges[0].n_down == n && n_calls == 2 * n);
        run_until(loop, h->code == SL_E_RESET && taken[n - 1]->code == SL_E_RESET);
        let_go(&h);
    }
    world_end();
}

/* --- sessions --- */

static void sessions_go_through(enum sl_edge_transport transport)
{
    static uint8_t large[20 * 1000]; /* no QUIC datagram holds it */
    struct sl_proxy_header from = {
        .has_addresses = true, .is_datagram = true, .from_port = 7, .to_port = 53};
    struct sl_tunnel_status status;
    struct sl_session *s;

    set_up();
    world_up(&edges[0], transport);
    s = sl_edge_open_session(edges[0].edge, &from, &session_handler, NULL);
    sl_check(sl_session_send(s, (const uint8_t *)"ask", 3) == 0);
    run_until(loop, n_sessions == 1 && sl_buf_len(&datagrams) == 4);
    sl_check(last_from.from_port == 7 && last_from.to_port == 53 && last_from.is_datagram);
    sl_check(sl_session_send(sessions[0], (const uint8_t *)"answer", 6) == 0);
    run_until(loop, sl_buf_len(&datagrams) == 11);
    sl_check_str(sl_buf_str(&datagrams), SL_STR("ask|answer|"));
    sl_check(sl_session_send(s, large, sizeof(large)) == 0);
    run_until(loop, sl_buf_len(&datagrams) == 11 + sizeof(large) + 1);
    sl_edge_status(edges[0].edge, &status);
    sl_check(status.n_sessions == 1 && status.datagrams_out == 2 && status.datagrams_in == 1);
    sl_session_free(&s);
    run_until(loop, n_sessions_closed == 1);
    world_end();
}

/* --- links --- */

static void a_stream_goes_on_over_another_transport(enum sl_edge_transport transport)
{
    enum sl_edge_transport other = transport == SL_EDGE_TLS ? SL_EDGE_QUIC : SL_EDGE_TLS;
    struct holder *h;

    set_up();
    world_up(&edges[0], transport);
    h = visit(&edges[0]);
    say(h, "begin", false);
    run_until(loop, n_taken == 1 && has(taken[0], "begin"));
    sl_edge_hang_up(edges[0].edge);
    run_until(loop, edges[0].n_down == 1 && n_calls == 2);
    sl_check(is_call(1, "down e0") && !sl_edge_is_up(edges[0].edge) && h->code == 0);
    say(h, ", end", true);
    world_up(&edges[0], other);
    sl_check(edges[0].resumed && is_call(2, "up e0"));
    run_until(loop, taken[0]->got_fin);
    sl_check(has(taken[0], "begin, end") && n_taken == 1);
    say(taken[0], "answer", true);
    run_until(loop, h->got_fin);
    sl_check(has(h, "answer") && status_of_edge().links == 2);
    let_go(&h);
    world_end();
}

/* From QUIC to TLS, say: the old link carries until the new one does. */
static void a_new_link_takes_over_from_one_that_lives(enum sl_edge_transport transport)
{
    struct holder *h;

    set_up();
    world_up(&edges[0], transport);
    h = visit(&edges[0]);
    say(h, "begin", false);
    run_until(loop, n_taken == 1 && has(taken[0], "begin"));
    for (size_t i = 0; i < SL_COUNT(transports); i++) {
        world_up(&edges[0], transports[i]);
        sl_check(edges[0].resumed && edges[0].n_down == 0 && h->code == 0);
    }
    sl_check(is_call(1, "down e0") && is_call(2, "up e0") && is_call(3, "down e0"));
    say(h, ", end", true);
    run_until(loop, taken[0]->got_fin);
    sl_check(has(taken[0], "begin, end"));
    let_go(&h);
    world_end();
}

/* A hub that was started anew knows nobody: what was under way ends, what nobody has heard of
 * waits no longer. */
static void a_hub_that_was_started_anew_begins_anew(enum sl_edge_transport transport)
{
    struct holder *old, *young;

    set_up();
    world_up(&edges[0], transport);
    old = visit(&edges[0]);
    say(old, "old", false);
    run_until(loop, n_taken == 1 && has(taken[0], "old"));
    world_free_hub();
    run_until(loop, edges[0].n_down == 1);
    young = visit(&edges[0]);
    say(young, "young", false);
    world_hub(&(struct sl_hub_opts){0});
    world_listen();
    world_table(1, "{}");
    world_up(&edges[0], transport);
    sl_check(!edges[0].resumed);
    run_until(loop, n_taken == 2 && has(taken[1], "young"));
    sl_check(old->code == SL_E_RESET && young->code == 0);
    let_go(&old);
    let_go(&young);
    world_end();
}

static void streams_wait_for_a_link_until_there_is_none_to_come(void)
{
    struct holder *first, *second;

    set_up();
    first = visit(&edges[0]);
    say(first, "waits", false);
    world_up(&edges[0], SL_EDGE_TLS);
    run_until(loop, n_taken == 1 && has(taken[0], "waits"));
    sl_edge_hang_up(edges[0].edge);
    run_until(loop, edges[0].n_down == 1);
    second = visit(&edges[0]);
    sl_edge_give_up(edges[0].edge);
    run_until(loop, first->code == SL_E_TIMEOUT && second->code == SL_E_TIMEOUT);
    let_go(&first);
    let_go(&second);
    world_end();
}

static void a_new_config_arrives(enum sl_edge_transport transport)
{
    set_up();
    world_up(&edges[0], transport);
    world_table(1, "{\"listenPorts\":[443,8443]}");
    run_until(loop, edges[0].n_configs == 1);
    sl_check_str(sl_buf_str(&edges[0].config), SL_STR("{\"listenPorts\":[443,8443]}"));
    world_end();
}

static void an_edge_that_is_taken_out_goes_down(enum sl_edge_transport transport)
{
    set_up();
    world_up(&edges[0], transport);
    world_table(0, "");
    run_until(loop, edges[0].n_down == 1);
    sl_check(edges[0].why[0] != '\0');
    world_connect(&edges[0], transport);
    run_until(loop, edges[0].n_failed == 1);
    sl_check(edges[0].code == SL_E_REFUSED);
    world_end();
}

static void an_edge_that_ends_says_so(enum sl_edge_transport transport)
{
    set_up();
    world_up(&edges[0], transport);
    sl_edge_free(edges[0].edge);
    edges[0].edge = NULL;
    run_until(loop, n_calls == 2);
    sl_check(is_call(1, "down e0"));
    world_end();
}

/* --- attempts that fail --- */

static void a_wrong_secret_is_refused(enum sl_edge_transport transport)
{
    set_up();
    (void)snprintf(edges[0].secret, sizeof(edges[0].secret), "guess");
    world_connect(&edges[0], transport);
    run_until(loop, edges[0].n_failed == 1);
    sl_check(edges[0].code == SL_E_REFUSED && strcmp(edges[0].why, "not authorized") == 0);
    sl_check(edges[0].n_answers == 0);
    world_end();
}

static void fails_with(const struct sl_edge_attempt *a, int code)
{
    int n = edges[0].n_failed;

    sl_edge_connect(edges[0].edge, a);
    sl_check(edges[0].n_failed == n); /* never inside the call */
    run_until(loop, edges[0].n_failed == n + 1);
    sl_check(edges[0].code == code);
}

static void attempts_that_cannot_be_say_why(enum sl_edge_transport transport)
{
    struct sl_edge_attempt a;

    set_up();
    a = world_attempt(&edges[0], transport);
    a.id = SL_STR("e 0");
    fails_with(&a, SL_E_CONFIG);
    a = world_attempt(&edges[0], transport);
    a.verify = true;
    a.ca_file = SL_STR("/nowhere/at/all.pem");
    fails_with(&a, SL_E_CONFIG);
    a = world_attempt(&edges[0], transport);
    a.host = SL_STR("a name with spaces");
    a.timeout_ms = 5000;
    sl_edge_connect(edges[0].edge, &a);
    run_until(loop, edges[0].n_failed == 3);
    world_end();
}

static void a_hub_proves_who_it_is_by_its_key(enum sl_edge_transport transport)
{
    struct sl_edge_attempt a;
    uint8_t pin[32];

    set_up();
    sl_cert_pin(cert, pin);
    pin[7] ^= 1;
    a = world_attempt(&edges[0], transport);
    a.pin = pin;
    fails_with(&a, SL_E_TLS);
    sl_check(strcmp(edges[0].why, "the hub's key is another one than the fingerprint says") == 0);
    sl_check(stats_of_hub().refused == 0 && n_asked == 0); /* the secret was not said */
    pin[7] ^= 1;
    sl_edge_connect(edges[0].edge, &a);
    memset(pin, 0, sizeof(pin)); /* it has a copy */
    run_until(loop, edges[0].n_up == 1);
    a = world_attempt(&edges[0], transport);
    a.verify = true; /* nobody vouches for it */
    fails_with(&a, SL_E_TLS);
    sl_check(strcmp(edges[0].why, "self-signed certificate") == 0);
    sl_check(sl_edge_is_up(edges[0].edge)); /* an attempt is nothing to the link */
    world_end();
}

/* Nobody is there: on TCP the kernel says so at once, on UDP the attempt's time is up. */
static void nobody_there(enum sl_edge_transport transport)
{
    struct sl_edge_attempt a;
    struct sl_addr at;
    int fd;

    set_up();
    fd = listen_on_loopback(&at);
    close(fd);
    a = world_attempt(&edges[0], transport);
    a.port = sl_addr_port(&at);
    a.timeout_ms = transport == SL_EDGE_QUIC ? 300 : TEST_GUARD_MS;
    sl_edge_connect(edges[0].edge, &a);
    run_until(loop, edges[0].n_failed == 1);
    sl_check(edges[0].code == (transport == SL_EDGE_QUIC ? SL_E_TIMEOUT : SL_E_UNREACHABLE));
    world_end();
}

/* --- what the owner may do at any time --- */

static void an_attempt_may_be_dropped(enum sl_edge_transport transport)
{
    set_up();
    for (int turns = 0; turns < 40; turns++) {
        world_connect(&edges[0], transport);
        for (int i = 0; i < turns; i++)
            sl_loop_turn(loop, i % 4 == 3);
        if (edges[0].n_up > 0)
            break;
        if (turns % 2 == 0)
            sl_edge_hang_up(edges[0].edge);
    }
    run_quiet(loop);
    world_up(&edges[0], transport); /* and all is well */
    sl_check(edges[0].n_failed == 0);
    world_end();
}

static void the_edge_may_be_freed_at_any_time(enum sl_edge_transport transport)
{
    for (int turns = 0; turns < 60; turns += 3) {
        set_up();
        world_connect(&edges[0], transport);
        for (int i = 0; i < turns; i++)
            sl_loop_turn(loop, false);
        sl_edge_free(edges[0].edge);
        edges[0].edge = NULL;
        world_end();
    }
}

/* Every callback of the edge may be its last. */
enum moment { ON_ANSWER, ON_UP, ON_CONFIG, ON_DOWN, ON_FAILED, MOMENTS };

static struct sl_edge *doomed;
static enum moment its_moment;

static void reach(enum moment m)
{
    if (m != its_moment)
        return;
    sl_edge_free(doomed);
    doomed = NULL;
}

static void doomed_on_answer(void *user, struct sl_str line)
{
    struct sl_edge_terms terms = terms_of(line);

    (void)user;
    reach(ON_ANSWER);
    if (doomed != NULL)
        sl_edge_accept(doomed, &terms);
}

static void doomed_on_failed(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    reach(ON_FAILED);
    sl_check(why[0] != '\0');
}

static void doomed_on_up(void *user, bool resumed)
{
    (void)user;
    (void)resumed;
    reach(ON_UP);
    if (doomed != NULL)
        world_table(1, "{\"listenPorts\":[1]}");
}

static void doomed_on_config(void *user, struct sl_str json)
{
    (void)user;
    reach(ON_CONFIG);
    sl_check(json.len == 19);
    if (doomed != NULL)
        sl_edge_hang_up(doomed);
}

static void doomed_on_down(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    reach(ON_DOWN);
    sl_check(why[0] != '\0');
}

static const struct sl_edge_handler doomed_handler = {
    doomed_on_answer, doomed_on_failed, doomed_on_up, doomed_on_config, doomed_on_down};

static void callbacks_may_free_it(enum sl_edge_transport transport)
{
    struct sl_edge_opts opts = {.handler = &doomed_handler};
    struct sl_edge_attempt a;

    for (its_moment = 0; its_moment < MOMENTS; its_moment++) {
        set_up();
        opts.loop = loop;
        opts.dns = dns;
        doomed = sl_edge_new(&opts);
        a = world_attempt(&edges[0], transport);
        if (its_moment == ON_FAILED)
            a.secret = SL_STR("guess");
        sl_edge_connect(doomed, &a);
        run_until(loop, doomed == NULL);
        world_end();
    }
}

int main(void)
{
    for (size_t i = 0; i < SL_COUNT(transports); i++) {
        enum sl_edge_transport transport = transports[i];

        a_stream_goes_both_ways(transport);
        both_sides_know_how_it_goes(transport);
        an_edge_may_take_the_hub_for_an_original(transport);
        sessions_go_through(transport);
        a_stream_goes_on_over_another_transport(transport);
        a_new_link_takes_over_from_one_that_lives(transport);
        a_hub_that_was_started_anew_begins_anew(transport);
        a_new_config_arrives(transport);
        an_edge_that_is_taken_out_goes_down(transport);
        an_edge_that_ends_says_so(transport);
        a_wrong_secret_is_refused(transport);
        attempts_that_cannot_be_say_why(transport);
        a_hub_proves_who_it_is_by_its_key(transport);
        nobody_there(transport);
        an_attempt_may_be_dropped(transport);
        the_edge_may_be_freed_at_any_time(transport);
        callbacks_may_free_it(transport);
    }
    streams_wait_for_a_link_until_there_is_none_to_come();
    return sl_check_done();
}
