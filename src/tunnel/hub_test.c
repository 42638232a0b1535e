/* Who gets in at a hub: greetings, secrets, the table, and the end of those that never say what
   they are. */
#include "tunnel/test_raw_edge.h"

static void set_up(const struct sl_hub_opts *opts)
{
    world_begin();
    world_hub(opts);
    world_edges(2, &(struct sl_edge_opts){0});
}

/* --- greetings --- */

static void an_original_is_told_its_ports_and_opens_streams(void)
{
    struct raw r;

    set_up(&(struct sl_hub_opts){0});
    raw_begin(&r);
    for (const char *p = "EDGE e0 secret-e0\r\n"; *p != '\0'; p++)
        raw_say_n(&r, p, 1);
    sl_check(raw_has(&r, "{\"listenPorts\":[443],\"sluice\":{\"ticket\":\""));
    sl_check(n_calls == 0); /* which kind it is, its first frame says */
    sl_buf_reset(&r.in);
    raw_open(&r, 1);
    raw_frame(&r, 1, SL_FRAME_DATA, "hello", 5);
    sl_check(is_call(0, "up e0") && n_calls == 1 && n_taken == 1 && n_opened == 1);
    sl_check(has(taken[0], "hello"));
    sl_check_str(sl_str_c(last_id), SL_STR("e0"));
    sl_check(stats_of_hub().n_edges_up == 1 && stats_of_hub().accepted == 1);
    raw_end(&r);
    sl_check(is_call(1, "down e0") && taken[0]->code == SL_E_RESET && n_closed == 1);
    sl_check(stats_of_hub().n_edges_up == 0 && stats_of_hub().dropped == 0);
    world_end();
}

/* What follows the line is kept, in whatever pieces it comes. */
static void frames_that_come_with_the_greeting_are_kept(void)
{
    struct raw r;
    uint8_t bytes[256];
    size_t n = 0;

    set_up(&(struct sl_hub_opts){0});
    raw_begin(&r);
    n += (size_t)snprintf((char *)bytes, sizeof(bytes), "EDGE e0 secret-e0\n");
    sl_frame_head(bytes + n, 9, SL_FRAME_OPEN, sizeof(opening) - 1);
    memcpy(bytes + n + SL_FRAME_HEAD, opening, sizeof(opening) - 1);
    n += SL_FRAME_HEAD + sizeof(opening) - 1;
    raw_say_n(&r, bytes, n);
    sl_check(n_taken == 1 && n_calls == 1);
    raw_end(&r);
    world_end();
}

static void what_is_no_greeting_ends_at_once(void)
{
    static const char *const bad[] = {"GET / HTTP/1.1\r\n",  "EDGE e0\n",
                                      "EDGE  secret\n",      "\n",
                                      "edge e0 secret-e0\n", "EDGE e0 sec\tret\n"};
    char line[SL_GREETING_MAX + 1000];
    struct raw r;

    set_up(&(struct sl_hub_opts){0});
    for (size_t i = 0; i < SL_COUNT(bad); i++) {
        raw_begin(&r);
        raw_say(&r, bad[i]);
        sl_check(raw_is_over(&r) && sl_buf_len(&r.in) == 0);
        raw_end(&r);
    }
    memset(line, 'x', sizeof(line));
    memcpy(line, "EDGE ", 5);
    raw_begin(&r);
    raw_say_n(&r, line, sizeof(line));
    sl_check(raw_is_over(&r));
    raw_end(&r);
    sl_check(stats_of_hub().dropped == SL_COUNT(bad) + 1 && stats_of_hub().refused == 0);
    world_end();
}

/* Attack: a byte now and then keeps nobody's place. */
static void a_greeting_has_its_time(void)
{
    struct raw r;

    set_up(&(struct sl_hub_opts){.greeting_ms = 3000});
    raw_begin(&r);
    for (int i = 0; i < 5; i++) {
        raw_say(&r, "E");
        sl_loop_skip(loop, 500);
    }
    settle();
    sl_check(!raw_is_over(&r));
    sl_loop_skip(loop, 1000);
    settle();
    sl_check(raw_is_over(&r) && stats_of_hub().dropped == 1);
    raw_end(&r);
    world_end();
}

static void an_edge_that_sends_no_frame_ends(void)
{
    struct raw r;

    set_up(&(struct sl_hub_opts){.dead_ms = 5000});
    raw_begin(&r);
    raw_greet(&r, &edges[0]);
    sl_loop_skip(loop, 5200);
    settle();
    sl_check(raw_is_over(&r) && n_calls == 0);
    raw_end(&r);
    world_end();
}

static void there_are_only_so_many_without_a_greeting(void)
{
    struct raw r[3];

    set_up(&(struct sl_hub_opts){.max_greetings = 2});
    for (int i = 0; i < 3; i++)
        raw_begin(&r[i]);
    sl_check(!raw_is_over(&r[0]) && !raw_is_over(&r[1]) && raw_is_over(&r[2]));
    raw_greet(&r[0], &edges[0]);
    raw_resume(&r[0], r[0].ticket, 1);
    raw_end(&r[2]);
    raw_begin(&r[2]); /* a link is none of them any more */
    sl_check(!raw_is_over(&r[2]) && stats_of_hub().dropped == 1);
    for (int i = 0; i < 3; i++)
        raw_end(&r[i]);
    world_end();
}

/* --- secrets --- */

/* Attack U-08. From outside an id that is not there and a wrong secret are the same. */
static void a_wrong_secret_is_refused_late_and_without_a_reason(void)
{
    static const char *const bad[] = {"EDGE e0 secret-e1\n", "EDGE nobody secret-e0\n",
                                      "EDGE e0 secret-e0x\n", "EDGE e0  secret-e0\n"};
    struct raw r;

    set_up(&(struct sl_hub_opts){.refusal_ms = 2000});
    for (size_t i = 0; i < SL_COUNT(bad); i++) {
        raw_begin(&r);
        raw_say(&r, bad[i]);
        sl_loop_skip(loop, 1500);
        settle();
        sl_check(sl_buf_len(&r.in) == 0 && !raw_is_over(&r));
        sl_loop_skip(loop, 700);
        settle();
        sl_check_str(sl_buf_str(&r.in), SL_STR("ERROR not authorized\n"));
        sl_check(r.got_fin);
        sl_loop_skip(loop, 2500); /* it does not go by itself */
        settle();
        raw_end(&r);
    }
    sl_check(stats_of_hub().refused == SL_COUNT(bad) && n_asked == 0 && n_calls == 0);
    world_end();
}

static void a_thousand_guesses_hurt_nobody(void)
{
    enum { N = 1000 };
    static struct raw r[N];
    struct raw good;

    set_up(&(struct sl_hub_opts){0});
    for (int i = 0; i < N; i++) {
        char line[64];

        raw_begin_at(&r[i], i % 2 == 0 ? "192.0.2.66" : "2001:db8::66");
        (void)snprintf(line, sizeof(line), "EDGE e0 guess%d\n", i);
        raw_say(&r[i], line);
    }
    raw_original(&good, &edges[0]);
    sl_check(is_call(0, "up e0") && stats_of_hub().refused == N);
    sl_loop_skip(loop, 1200);
    settle();
    for (int i = 0; i < N; i++) {
        sl_check(r[i].got_fin);
        raw_end(&r[i]);
    }
    raw_end(&good);
    world_end();
}

/* --- the script's word --- */

static void a_script_may_decide_later(void)
{
    struct raw r;

    set_up(&(struct sl_hub_opts){0});
    on_edge_rc = SL_E_AGAIN;
    raw_begin(&r);
    raw_say(&r, "EDGE e1 secret-e1\n");
    sl_check(n_asked == 1 && sl_buf_len(&r.in) == 0);
    sl_check_str(sl_hub_edge_id(asked), SL_STR("e1"));
    sl_check(sl_addr_port(sl_hub_edge_addr(asked)) == 50000);
    sl_check(sl_hub_edge_transport(asked) == SL_EDGE_TLS);
    sl_hub_decide(asked, 0);
    settle();
    sl_check(raw_has(&r, "listenPorts") && n_gone == 0);
    raw_end(&r);
    sl_check(n_gone == 0);
    world_end();
}

static void a_script_may_refuse_now_or_later(void)
{
    struct raw now, later;

    set_up(&(struct sl_hub_opts){.refusal_ms = 100});
    on_edge_rc = SL_E_DENIED;
    raw_begin(&now);
    raw_say(&now, "EDGE e0 secret-e0\n");
    on_edge_rc = SL_E_AGAIN;
    raw_begin(&later);
    raw_say(&later, "EDGE e0 secret-e0\n");
    sl_hub_decide(asked, SL_E_DENIED);
    sl_loop_skip(loop, 300);
    settle();
    sl_check(raw_has(&now, "ERROR not authorized\n") && raw_has(&later, "ERROR not authorized\n"));
    sl_check(stats_of_hub().refused == 2 && n_gone == 0 && n_calls == 0);
    raw_end(&now);
    raw_end(&later);
    world_end();
}

/* Whoever has to decide hears of it when there is nothing to decide any more. */
static void an_edge_may_go_before_the_script_has_decided(void)
{
    struct raw r, newer;

    set_up(&(struct sl_hub_opts){.greeting_ms = 2000});
    on_edge_rc = SL_E_AGAIN;
    raw_begin(&r);
    raw_say(&r, "EDGE e0 secret-e0\n");
    raw_begin(&newer);
    raw_say(&newer, "EDGE e0 secret-e0\n"); /* a newer connection of the same edge */
    sl_check(n_gone == 1 && n_asked == 2 && raw_is_over(&r));
    sl_loop_skip(loop, 2500); /* nobody decides */
    settle();
    sl_check(n_gone == 2 && raw_is_over(&newer));
    raw_end(&r);
    raw_end(&newer);
    raw_begin(&r);
    raw_say(&r, "EDGE e0 secret-e0\n");
    world_table(0, "{}"); /* not in the table any more */
    settle();
    sl_check(n_gone == 3 && raw_is_over(&r));
    raw_end(&r);
    world_end();
}

/* --- the table --- */

static void the_table_decides_from_now_on(void)
{
    struct sl_hub_edge_spec changed = {SL_STR("e0"), SL_STR("another"), SL_STR("{}")};
    struct raw e0, e1;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&e0, &edges[0]);
    raw_original(&e1, &edges[1]);
    raw_open(&e1, 1);
    world_table(2, "{\"listenPorts\":[443]}"); /* the same: nothing happens */
    settle();
    sl_check(n_calls == 2 && sl_buf_len(&e0.in) == 0);
    sl_hub_set_edges(hub, &changed, 1);
    settle();
    sl_check(is_call(2, "down e0") && is_call(3, "down e1") && n_calls == 4);
    sl_check(raw_is_over(&e0) && raw_is_over(&e1) && taken[0]->code == SL_E_CLOSED);
    sl_check(sl_buf_len(&e1.in) == 0); /* with it goes all that it had open */
    raw_end(&e0);
    raw_end(&e1);
    world_end();
}

static void a_new_config_is_told_to_those_that_are_connected(void)
{
    struct raw e0, e1;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&e0, &edges[0]);
    raw_begin(&e1);
    raw_greet(&e1, &edges[1]); /* has been told the old one, and is not up yet */
    world_table(2, "{\"listenPorts\":[8443]}");
    settle();
    sl_check(raw_got(&e0, SL_FRAME_CONFIG, 0) && raw_has(&e0, "{\"listenPorts\":[8443]}"));
    sl_check(!raw_has(&e0, "sluice") && sl_buf_len(&e1.in) == 0);
    raw_frame(&e1, 0, SL_FRAME_PONG, NULL, 0);
    sl_check(raw_got(&e1, SL_FRAME_CONFIG, 0) && raw_has(&e1, "{\"listenPorts\":[8443]}"));
    raw_end(&e0);
    raw_end(&e1);
    world_end();
}

static void check_answer(const char *config, const char *want)
{
    static const uint8_t ticket[SL_RESUME_TICKET] = {0x01, 0xab};
    struct sl_hub_entry entry = {.config = sl_str_c(config)};
    struct sl_buf out = {0};

    sl_hub_table_answer(&entry, ticket, &out);
    sl_check_str(sl_buf_str(&out), sl_str_c(want));
    sl_buf_clear(&out);
}

static void an_answer_is_one_line_with_the_ticket(void)
{
#define TICKET "\"sluice\":{\"ticket\":\"01ab0000000000000000000000000000\"}}\n"
    check_answer("{}", "{" TICKET);
    check_answer(" {\n} \n", "{ " TICKET);
    check_answer("{\"a\":\r\n1}", "{\"a\":  1," TICKET);
#undef TICKET
}

static void specs_that_cannot_be_are_left_out(void)
{
    struct sl_hub_edge_spec specs[] = {
        {SL_STR("e 0"), SL_STR("secret"), SL_STR("{}")},
        {SL_STR("e1"), SL_STR("sec\nret"), SL_STR("{}")},
        {SL_STR("e2"), SL_STR("secret"), SL_STR("[]")},
        {SL_STR("e3"), SL_STR("secret"), SL_STR("")},
        {SL_STR("good"), SL_STR("a secret"), SL_STR("\n{\"listenPorts\":\r\n[1]}\n")},
    };
    struct raw r;

    set_up(&(struct sl_hub_opts){.refusal_ms = 100});
    sl_hub_set_edges(hub, specs, SL_COUNT(specs));
    raw_begin(&r);
    raw_say(&r, "EDGE good a secret\n");
    sl_check(raw_has(&r, "{\"listenPorts\":  [1],\"sluice\":{"));
    raw_end(&r);
    raw_begin(&r);
    raw_say(&r, "EDGE e2 secret\n");
    sl_loop_skip(loop, 300);
    settle();
    sl_check(raw_has(&r, "ERROR not authorized\n"));
    raw_end(&r);
    world_end();
}

static void count_each(void *arg, struct sl_str id, const struct sl_tunnel_status *status)
{
    int *n = arg;
    char want[16];

    (void)snprintf(want, sizeof(want), "e%d", *n);
    sl_check_str(id, sl_str_c(want));
    sl_check(status->is_up == (*n == 1) && status->links == (*n == 1 ? 1u : 0u));
    sl_check((status->up_since != 0) == (*n == 1));
    sl_check(status->streams.n_streams == (*n == 1 ? 2u : 0u));
    ++*n;
}

static void every_edge_of_the_table_has_a_status(void)
{
    struct raw r;
    int n = 0;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&r, &edges[1]);
    raw_open(&r, 1);
    raw_open(&r, 2);
    sl_hub_each(hub, count_each, &n);
    sl_check(n == 2);
    raw_end(&r);
    world_end();
}

int main(void)
{
    an_original_is_told_its_ports_and_opens_streams();
    frames_that_come_with_the_greeting_are_kept();
    what_is_no_greeting_ends_at_once();
    a_greeting_has_its_time();
    an_edge_that_sends_no_frame_ends();
    there_are_only_so_many_without_a_greeting();
    a_wrong_secret_is_refused_late_and_without_a_reason();
    a_thousand_guesses_hurt_nobody();
    a_script_may_decide_later();
    a_script_may_refuse_now_or_later();
    an_edge_may_go_before_the_script_has_decided();
    the_table_decides_from_now_on();
    a_new_config_is_told_to_those_that_are_connected();
    an_answer_is_one_line_with_the_ticket();
    specs_that_cannot_be_are_left_out();
    every_edge_of_the_table_has_a_status();
    return sl_check_done();
}
