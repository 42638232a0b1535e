/* Raw UDP between sockets: who gets what, for how long, and who may. */
#include "proxy/test_udp.h"

static struct udp_world u;
static struct spot target, a, b;

static void begin(void)
{
    udp_begin(&u);
    spot_open(&target, u.w.loop);
    spot_open(&a, u.w.loop);
    spot_open(&b, u.w.loop);
}

static void end(void)
{
    spot_close(&target);
    spot_close(&a);
    spot_close(&b);
    udp_end(&u);
}

static void begin_forwarding(void)
{
    begin();
    udp_forward(&u, &target);
}

/* --- there and back --- */

static void a_datagram_goes_there_and_back(void)
{
    begin_forwarding();
    target.answer = "pong";
    udp_say(&u, &a, "ping");
    run_until(u.w.loop, a.n_got == 1);
    sl_check_str(sl_buf_str(&target.got[0]), SL_STR("ping"));
    sl_check_str(sl_buf_str(&a.got[0]), SL_STR("pong"));
    sl_check(sl_addr_eq(&a.remote, &u.at));
    sl_check(udp_sessions(&u) == 1);
    end();
}

static void datagrams_of_any_length_stay_what_they_are(void)
{
    static const size_t lens[] = {0, 1, 100, 1472, 1473, 9000, 65000, 65507};
    static uint8_t bytes[65507];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 ^ i >> 8);
    begin_forwarding();
    target.answer = "";
    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        spot_forget(&target);
        spot_forget(&a);
        spot_send(&a, &u.at, bytes, lens[i]);
        run_until(u.w.loop, a.n_got == 1);
        sl_check_str(sl_buf_str(&a.got[0]), sl_str((char *)bytes, lens[i]));
        sl_check(target.n_got == 1 && target.n_bytes == lens[i]);
    }
    sl_check(udp_sessions(&u) == 1);
    end();
}

/* As many as one message can have: what comes together goes on together, each as it was. */
static void a_train_of_datagrams_stays_one(void)
{
    static const uint8_t bytes[100 * SL_UDP_SEGMENTS_MAX - 50];
    struct sl_udp_send m = {.remote = &u.at, .bytes = bytes, .len = sizeof(bytes), .segment = 100};

    begin_forwarding();
    target.answer = "";
    sl_check(sl_udp_send(a.udp, &m, 1, NULL) == 1);
    run_until(u.w.loop, a.n_got == SL_UDP_SEGMENTS_MAX);
    sl_check(target.n_got == SL_UDP_SEGMENTS_MAX && target.n_bytes == sizeof(bytes));
    sl_check(a.n_bytes == sizeof(bytes));
    end();
}

static void visitors_are_told_apart(void)
{
    struct sl_addr first;

    begin_forwarding();
    target.answer = "";
    udp_say(&u, &a, "from a");
    run_until(u.w.loop, a.n_got == 1);
    first = target.remote;
    udp_say(&u, &b, "from b");
    run_until(u.w.loop, b.n_got == 1);
    sl_check(!sl_addr_eq(&first, &target.remote));
    udp_say(&u, &a, "a again");
    run_until(u.w.loop, a.n_got == 2);
    sl_check(sl_addr_eq(&first, &target.remote));
    sl_check_str(sl_buf_str(&a.got[0]), SL_STR("from a"));
    sl_check_str(sl_buf_str(&b.got[0]), SL_STR("from b"));
    sl_check(udp_sessions(&u) == 2 && b.n_got == 1);
    end();
}

/* The same visitor at two addresses of ours is two: each answer comes from where he had asked. */
static void an_answer_comes_from_the_address_that_was_called(void)
{
    struct sl_addr second;
    int fd;

    begin();
    sl_proxy_unlisten_udp(u.w.proxy, u.port);
    sl_assert(sl_addr_parse(&u.at, SL_STR("0.0.0.0"), 0) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &u.at, true, NULL) == 0);
    u.port = sl_addr_port(&u.at);
    sl_proxy_listen_udp(u.w.proxy, fd, u.port);
    udp_forward(&u, &target);
    target.answer = "";
    sl_assert(sl_addr_parse(&second, SL_STR("127.0.0.2"), u.port) == 0);
    spot_send(&a, &second, "2", 1);
    run_until(u.w.loop, a.n_got == 1);
    sl_check(sl_addr_eq(&a.remote, &second));
    sl_assert(sl_addr_parse(&second, SL_STR("127.0.0.3"), u.port) == 0);
    spot_send(&a, &second, "3", 1);
    run_until(u.w.loop, a.n_got == 2);
    sl_check(sl_addr_eq(&a.remote, &second));
    sl_check(udp_sessions(&u) == 2);
    end();
}

/* Many visitors at once, none of whose datagrams is lost on the way. */
static void a_burst_of_many_visitors_arrives(void)
{
    enum { VISITORS = 200, EACH = 20 };
    static struct spot visitors[VISITORS];
    size_t n_back = 0;

    begin_forwarding();
    target.answer = "";
    for (int i = 0; i < VISITORS; i++)
        spot_open(&visitors[i], u.w.loop);
    for (int k = 0; k < EACH; k++) {
        for (int i = 0; i < VISITORS; i++)
            udp_say(&u, &visitors[i], "hello");
        sl_loop_turn(u.w.loop, false);
    }
    run_until(u.w.loop, target.n_got == VISITORS * EACH);
    run_quiet(u.w.loop);
    for (int i = 0; i < VISITORS; i++) {
        n_back += visitors[i].n_got;
        spot_close(&visitors[i]);
    }
    sl_check(n_back == VISITORS * EACH);
    sl_check(udp_sessions(&u) == VISITORS && udp_stats(&u)->udp_dropped == 0);
    end();
}

/* --- how long --- */

static void a_silent_session_ends(void)
{
    begin_forwarding();
    world_hooks_on(&u.w, SL_HOOK_DONE);
    target.answer = "pong!";
    udp_say(&u, &a, "ping");
    run_until(u.w.loop, a.n_got == 1);
    sl_loop_skip(u.w.loop, 59000);
    run_quiet(u.w.loop);
    sl_check(udp_sessions(&u) == 1 && u.w.n_done == 0);
    sl_loop_skip(u.w.loop, 2000);
    run_until(u.w.loop, udp_sessions(&u) == 0);
    sl_check(u.w.n_done == 1 && !u.w.done_is_exchange && u.w.done_in == 4 && u.w.done_out == 5);
    sl_check_str(sl_str_c(u.w.done_route), SL_STR("raw"));
    sl_check_str(sl_str_c(u.w.done_error), SL_STR(""));
    sl_check(strncmp(u.w.done_target, "127.0.0.1:", 10) == 0);
    sl_check(udp_stats(&u)->bytes_in == 4 && udp_stats(&u)->bytes_out == 5);
    end();
}

static void either_side_keeps_it_alive(void)
{
    struct sl_addr back;

    begin_forwarding();
    udp_say(&u, &a, "ping");
    run_until(u.w.loop, target.n_got == 1);
    back = target.remote;
    for (int i = 0; i < 4; i++) {
        sl_loop_skip(u.w.loop, 40000);
        run_quiet(u.w.loop);
        if (i % 2 == 0)
            spot_send(&target, &back, "tick", 4);
        else
            udp_say(&u, &a, "tock");
        run_until(u.w.loop, a.n_got + target.n_got == (size_t)i + 2);
    }
    sl_check(udp_sessions(&u) == 1 && udp_stats(&u)->udp_sessions_total == 1);
    end();
}

static void a_closed_port_ends_its_sessions(void)
{
    int fds;

    begin_forwarding();
    udp_say(&u, &a, "x");
    run_until(u.w.loop, target.n_got == 1);
    fds = count_fds();
    sl_proxy_unlisten_udp(u.w.proxy, u.port);
    sl_check(udp_sessions(&u) == 0 && count_fds() == fds - 2);
    run_quiet(u.w.loop);
    udp_listen(&u); /* on the same port */
    udp_say(&u, &a, "y");
    run_until(u.w.loop, target.n_got == 2);
    end();
}

static void on_drained(void *user)
{
    (*(int *)user)++;
}

static void a_drain_does_not_wait_for_sessions(void)
{
    int n_drained = 0;

    begin_forwarding();
    target.answer = "";
    udp_say(&u, &a, "1");
    run_until(u.w.loop, a.n_got == 1);
    sl_proxy_drain(u.w.proxy, 0, on_drained, &n_drained);
    sl_check(n_drained == 1);
    udp_say(&u, &a, "2");
    run_until(u.w.loop, a.n_got == 2); /* the last datagrams still go */
    udp_say(&u, &b, "new");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    sl_check(udp_sessions(&u) == 1);
    end();
}

/* Routes are exchanged: what runs goes on, what begins sees the new ones. */
static void sessions_outlive_their_routes(void)
{
    struct spot other;

    begin_forwarding();
    spot_open(&other, u.w.loop);
    udp_say(&u, &a, "old");
    run_until(u.w.loop, target.n_got == 1);
    udp_forward(&u, &other);
    udp_say(&u, &a, "old again");
    udp_say(&u, &b, "new");
    run_until(u.w.loop, target.n_got == 2 && other.n_got == 1);
    sl_check_str(sl_buf_str(&other.got[0]), SL_STR("new"));
    spot_close(&other);
    end();
}

/* --- how many --- */

static void limit_sessions(uint32_t max)
{
    u.w.settings.max_udp_sessions = max;
    world_settings_changed(&u.w);
}

/* A flood of addresses that nobody answers from: it ends its own, and no descriptor stays. */
static void a_flood_does_not_end_sessions_in_use(void)
{
    enum { FLOOD = 300, MAX = 20 };
    static struct spot strangers[FLOOD];
    int fds;

    begin_forwarding();
    limit_sessions(MAX);
    target.answer = "";
    udp_say(&u, &a, "1");
    run_until(u.w.loop, a.n_got == 1);
    udp_say(&u, &a, "2");
    run_until(u.w.loop, a.n_got == 2);
    for (int i = 0; i < FLOOD; i++)
        spot_open(&strangers[i], u.w.loop);
    fds = count_fds();
    for (int i = 0; i < FLOOD; i++) {
        udp_say(&u, &strangers[i], "x");
        run_until(u.w.loop, udp_stats(&u)->udp_sessions_total == (uint64_t)i + 2);
    }
    sl_check(udp_sessions(&u) == MAX && count_fds() == fds + MAX - 1);
    sl_check(udp_stats(&u)->udp_evicted == FLOOD + 1 - MAX);
    udp_say(&u, &a, "3");
    run_until(u.w.loop, a.n_got == 3);
    sl_check(udp_stats(&u)->udp_sessions_total == FLOOD + 1);
    for (int i = 0; i < FLOOD; i++)
        spot_close(&strangers[i]);
    end();
}

/* Descriptors are of all workers: who has used his for longest ago gives it back. */
static void sockets_have_a_limit_of_their_own(void)
{
    int fds;

    begin_forwarding();
    u.w.settings.max_udp_sockets_all = 1;
    world_settings_changed(&u.w);
    udp_say(&u, &a, "a");
    run_until(u.w.loop, target.n_got == 1);
    fds = count_fds();
    udp_say(&u, &b, "b");
    run_until(u.w.loop, target.n_got == 2);
    sl_check(udp_sessions(&u) == 1 && udp_stats(&u)->udp_evicted == 1 && count_fds() == fds);
    end();
}

static void the_longest_unused_makes_room(void)
{
    struct spot c;

    begin_forwarding();
    world_hooks_on(&u.w, SL_HOOK_DONE);
    limit_sessions(2);
    spot_open(&c, u.w.loop);
    udp_say(&u, &a, "a");
    run_until(u.w.loop, target.n_got == 1);
    udp_say(&u, &b, "b");
    run_until(u.w.loop, target.n_got == 2);
    udp_say(&u, &a, "a");
    run_until(u.w.loop, target.n_got == 3);
    udp_say(&u, &c, "c"); /* b goes */
    run_until(u.w.loop, target.n_got == 4);
    sl_check(u.w.n_done == 1 && u.w.done_in == 1);
    sl_check_str(sl_str_c(u.w.done_error), SL_STR("ended to make room"));
    udp_say(&u, &a, "a");
    run_until(u.w.loop, target.n_got == 5);
    sl_check(udp_stats(&u)->udp_sessions_total == 3 && udp_sessions(&u) == 2);
    spot_close(&c);
    end();
}

/* --- who may --- */

static void check_refused(void)
{
    uint64_t n = udp_stats(&u)->udp_dropped;

    udp_say(&u, &a, "x");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == n + 1);
    sl_check(udp_sessions(&u) == 0 && target.n_got == 0);
}

static void the_policy_refuses(void)
{
    begin();
    u.w.policy_block = SL_STR("127.0.0.1");
    u.w.policy.block = &u.w.policy_block;
    u.w.policy.n_block = 1;
    udp_forward(&u, &target);
    check_refused();
    end();
}

static void a_new_policy_ends_sessions(void)
{
    begin_forwarding();
    udp_say(&u, &a, "x");
    run_until(u.w.loop, target.n_got == 1);
    u.w.policy_block = SL_STR("127.0.0.0/8");
    u.w.policy.block = &u.w.policy_block;
    u.w.policy.n_block = 1;
    udp_forward(&u, &target);
    sl_proxy_apply_policy(u.w.proxy);
    sl_check(udp_sessions(&u) == 0);
    end();
}

static void an_address_has_so_many_sessions(void)
{
    begin();
    u.w.policy.max_connections_per_ip = 1;
    udp_forward(&u, &target);
    udp_say(&u, &a, "x");
    run_until(u.w.loop, target.n_got == 1);
    udp_say(&u, &b, "x");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    sl_loop_skip(u.w.loop, 61000); /* the first one ends */
    run_until(u.w.loop, udp_sessions(&u) == 0);
    udp_say(&u, &b, "y");
    run_until(u.w.loop, target.n_got == 2);
    end();
}

static void on_connect_denies(void)
{
    begin_forwarding();
    world_hooks_on(&u.w, SL_HOOK_CONNECT | SL_HOOK_DONE);
    u.w.connect.verdict.kind = SL_VERDICT_DENY;
    check_refused();
    sl_check(u.w.connect.n_calls == 1 && u.w.n_forgotten == 1 && u.w.n_done == 0);
    end();
}

static void a_route_has_a_list_and_a_limit(void)
{
    const struct sl_str block = SL_STR("127.0.0.1");
    struct sl_target_spec to;

    begin();
    to = udp_target(&target);
    udp_add(&u, &(struct sl_route_spec){.block = &block, .n_block = 1}, &to);
    world_publish(&u.w);
    check_refused();
    udp_add(&u, &(struct sl_route_spec){.max_connections = 1}, &to);
    world_publish(&u.w);
    udp_say(&u, &a, "x");
    run_until(u.w.loop, target.n_got == 1);
    udp_say(&u, &b, "x");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 2);
    sl_check(udp_sessions(&u) == 1);
    end();
}

static void without_a_route_nothing_goes(void)
{
    begin();
    world_publish(&u.w);
    check_refused();
    end();
}

static void what_a_route_counts(void)
{
    struct sl_route *r;

    begin_forwarding();
    target.answer = "four";
    udp_say(&u, &a, "x");
    run_until(u.w.loop, a.n_got == 1);
    r = sl_snapshot_by_name(u.w.proxy->live->snapshot, SL_STR("raw"));
    sl_check(r->n_active == 1 && r->n_total == 1 && sl_target_active(&r->targets[0]) == 1);
    sl_proxy_unlisten_udp(u.w.proxy, u.port);
    sl_check(r->n_active == 0 && r->bytes_in == 1 && r->bytes_out == 4);
    sl_check(sl_target_active(&r->targets[0]) == 0);
    end();
}

int main(void)
{
    a_datagram_goes_there_and_back();
    datagrams_of_any_length_stay_what_they_are();
    a_train_of_datagrams_stays_one();
    visitors_are_told_apart();
    an_answer_comes_from_the_address_that_was_called();
    a_burst_of_many_visitors_arrives();
    a_silent_session_ends();
    either_side_keeps_it_alive();
    a_closed_port_ends_its_sessions();
    a_drain_does_not_wait_for_sessions();
    sessions_outlive_their_routes();
    a_flood_does_not_end_sessions_in_use();
    sockets_have_a_limit_of_their_own();
    the_longest_unused_makes_room();
    the_policy_refuses();
    a_new_policy_ends_sessions();
    an_address_has_so_many_sessions();
    on_connect_denies();
    a_route_has_a_list_and_a_limit();
    without_a_route_nothing_goes();
    what_a_route_counts();
    return sl_check_done();
}
