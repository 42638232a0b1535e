/* Edges between control and the worker: what is on its way while control does something else. Both
 * threads are one here, with one loop, so that the test says what happens in between. */
#include "app/tunnels.h"
#include "base/check.h"

/* --- in place of tunnel/edge.c --- */

struct sl_edge {
    struct sl_edge_opts opts;
    int n_connects, n_accepts, n_hang_ups, n_give_ups;
    char host[32];
};

static struct sl_edge *made; /* the last one; NULL: freed */

struct sl_edge *sl_edge_new(const struct sl_edge_opts *opts)
{
    made = sl_zalloc(sizeof(*made));
    made->opts = *opts;
    return made;
}

void sl_edge_free(struct sl_edge *e)
{
    made = NULL;
    sl_free(e);
}

void sl_edge_connect(struct sl_edge *e, const struct sl_edge_attempt *a)
{
    e->n_connects++;
    snprintf(e->host, sizeof(e->host), "%.*s", SL_STR_FMT(a->host));
}

void sl_edge_accept(struct sl_edge *e, const struct sl_edge_terms *terms SL_UNUSED)
{
    e->n_accepts++;
}

void sl_edge_hang_up(struct sl_edge *e)
{
    e->n_hang_ups++;
}

void sl_edge_give_up(struct sl_edge *e)
{
    e->n_give_ups++;
}

bool sl_edge_is_up(const struct sl_edge *e SL_UNUSED)
{
    return false;
}

uint32_t sl_edge_hold_ms(const struct sl_edge *e SL_UNUSED)
{
    return 0;
}

struct sl_stream *sl_edge_open(struct sl_edge *e SL_UNUSED, struct sl_str opening SL_UNUSED,
                               const struct sl_stream_handler *handler SL_UNUSED,
                               void *user SL_UNUSED)
{
    return NULL;
}

struct sl_session *sl_edge_open_session(struct sl_edge *e SL_UNUSED,
                                        const struct sl_proxy_header *from SL_UNUSED,
                                        const struct sl_session_handler *handler SL_UNUSED,
                                        void *user SL_UNUSED)
{
    return NULL;
}

void sl_edge_status(const struct sl_edge *e, struct sl_tunnel_status *out)
{
    out->links = (uint64_t)e->n_accepts;
}

/* What happens on the worker. */
static void answer(const char *line)
{
    made->opts.handler->on_answer(made->opts.user, sl_str_c(line));
}

static void fail(const char *why)
{
    made->opts.handler->on_failed(made->opts.user, SL_E_RESET, why);
}

static void up(void)
{
    made->opts.handler->on_up(made->opts.user, false);
}

static void config(const char *json)
{
    made->opts.handler->on_config(made->opts.user, sl_str_c(json));
}

static void down(const char *why)
{
    made->opts.handler->on_down(made->opts.user, SL_E_RESET, why);
}

/* --- the program --- */

static struct sl_worker worker;
static struct sl_runtime rt = {.workers = &worker, .n_workers = 1};
static const struct sl_script_tunnels *services;
static char heard[512];
/* Who listens; put before what it hears. */
static char nobody[] = "", first_one[] = "1", second_one[] = "2", third_one[] = "3";

static void settle(void)
{
    for (int i = 0; i < 8; i++)
        sl_loop_turn(rt.loop, false);
}

static void begin(void)
{
    sl_assert(sl_loop_new(&rt.loop) == 0);
    worker = (struct sl_worker){.rt = &rt, .index = 1, .loop = rt.loop};
    worker.proxy = (struct sl_proxy *)&worker; /* there is one: nobody looks into it */
    rt.tunnels = sl_tunnels_new(&rt);
    services = &rt.tunnels->services;
}

static void finish(void)
{
    sl_tunnels_end_there(rt.tunnels);
    sl_tunnels_stop(rt.tunnels);
    sl_check(made == NULL);
    sl_loop_free(rt.loop);
    sl_tunnels_free(rt.tunnels);
}

static void on_event(void *arg, const struct sl_edge_event *event)
{
    static const char *const names[] = {"answer", "failed", "up", "config", "down", "lost"};
    size_t at = strlen(heard);

    snprintf(heard + at, sizeof(heard) - at, "%s%s:%.*s ", (const char *)arg, names[event->kind],
             SL_STR_FMT(event->text));
}

static struct sl_script_edge *open_as(char *listener)
{
    struct sl_script_edge_opts opts = {.name = SL_STR("main")};
    struct sl_script_edge *e = services->edge_open(services->user, &opts);

    heard[0] = '\0';
    services->edge_listen(e, on_event, listener);
    settle();
    return e;
}

static void connect_to(struct sl_script_edge *e, const char *host)
{
    struct sl_edge_attempt attempt = {.host = sl_str_c(host),
                                      .id = SL_STR("a"),
                                      .secret = SL_STR("s"),
                                      .ca_file = SL_STR(""),
                                      .server_name = SL_STR("")};

    services->edge_connect(e, &attempt);
}

static void accept_it(struct sl_script_edge *e)
{
    struct sl_edge_terms terms = {0};

    services->edge_accept(e, &terms);
}

/* What has been heard since the last look. */
static void check_heard(const char *what)
{
    settle();
    if (strcmp(heard, what) != 0)
        fprintf(stderr, "heard: %s\n want: %s\n", heard, what);
    sl_check(strcmp(heard, what) == 0);
    heard[0] = '\0';
}

static void bring_up(struct sl_script_edge *e, const char *line)
{
    connect_to(e, "hub");
    settle();
    answer(line);
    settle();
    accept_it(e);
    settle();
    up();
    settle();
    heard[0] = '\0';
}

static char answer_now[64], config_now[64];

static void on_status(void *arg, const struct sl_script_edge_status *status)
{
    *(int *)arg += 1;
    snprintf(answer_now, sizeof(answer_now), "%.*s", SL_STR_FMT(status->answer));
    snprintf(config_now, sizeof(config_now), "%.*s", SL_STR_FMT(status->config));
}

static void check_told(struct sl_script_edge *e, const char *line, const char *json)
{
    int n = 0;

    services->edge_status(e, on_status, &n);
    settle();
    sl_check(n == 1 && strcmp(answer_now, line) == 0 && strcmp(config_now, json) == 0);
}

/* --- the tests --- */

static void the_way_up(void)
{
    struct sl_script_edge *e;

    begin();
    e = open_as(nobody);
    sl_check(sl_tunnels_find_edge(&worker, SL_STR("main")) == made && made != NULL);
    sl_check(sl_tunnels_find_edge(&worker, SL_STR("other")) == NULL);
    connect_to(e, "hub.example");
    settle();
    sl_check(made->n_connects == 1 && strcmp(made->host, "hub.example") == 0);
    answer("one");
    check_heard("answer:one ");
    check_told(e, "", "");
    accept_it(e);
    settle();
    up();
    config("c1");
    check_heard("up: config:c1 ");
    check_told(e, "one", "c1");
    services->edge_give_up(e);
    services->edge_hang_up(e);
    settle();
    sl_check(made->n_hang_ups == 1 && made->n_give_ups == 1);
    down("hung up");
    check_heard("down:hung up ");
    services->edge_release(e, nobody);
    finish();
}

/* An attempt that was followed by another one is not heard of any more. */
static void an_attempt_of_before(void)
{
    struct sl_script_edge *e;

    begin();
    e = open_as(nobody);
    connect_to(e, "one");
    settle();
    fail("too late");
    connect_to(e, "two");
    check_heard("");
    answer("two");
    check_heard("answer:two ");
    services->edge_release(e, nobody);
    finish();
}

/* The end of a link that has been replaced is not the end of the new one. */
static void a_link_of_before(void)
{
    struct sl_script_edge *e;

    begin();
    e = open_as(nobody);
    bring_up(e, "one");
    connect_to(e, "hub");
    settle();
    answer("two");
    settle();
    down("the old one");
    accept_it(e);
    check_heard("answer:two ");
    up();
    config("c2");
    down("the new one");
    check_heard("up: config:c2 down:the new one ");
    check_told(e, "two", "c2");
    services->edge_release(e, nobody);
    finish();
}

/* It is gone when control says yes: that it has failed is the answer to that. */
static void an_answer_that_is_lost(void)
{
    struct sl_script_edge *e;

    begin();
    e = open_as(nobody);
    connect_to(e, "hub");
    settle();
    answer("one");
    settle();
    fail("gone");
    accept_it(e);
    check_heard("answer:one failed:gone ");
    sl_check(made->n_accepts == 0);
    services->edge_release(e, nobody);
    finish();
}

/* Cancelling an attempt leaves the link alone, also when there is no attempt any more. */
static void a_cancelled_attempt(void)
{
    struct sl_script_edge *e;

    begin();
    e = open_as(nobody);
    bring_up(e, "one");
    connect_to(e, "hub");
    services->edge_cancel(e);
    settle();
    sl_check(made->n_hang_ups == 1);
    connect_to(e, "hub");
    settle();
    fail("no");
    services->edge_cancel(e);
    settle();
    sl_check(made->n_hang_ups == 1);
    services->edge_release(e, nobody);
    finish();
}

/* A hub that sends more of them than control can take costs no memory: the newest arrives. */
static void a_flood_of_configs(void)
{
    struct sl_script_edge *e;
    char json[16];

    begin();
    e = open_as(nobody);
    bring_up(e, "one");
    for (int i = 0; i < 100000; i++) {
        snprintf(json, sizeof(json), "c%d", i);
        config(json);
    }
    check_heard("config:c0 config:c99999 ");
    config("x");
    config("y");
    down("why");
    check_heard("config:x config:y down:why ");
    services->edge_release(e, nobody);
    finish();
}

/* A new script gets the edge that is there, and the old one is told that it has lost it. */
static void two_scripts(void)
{
    struct sl_script_edge *first, *second;

    begin();
    first = open_as(first_one);
    bring_up(first, "one");
    second = open_as(second_one);
    sl_check(first == second);
    services->edge_release(first, first_one);
    check_heard("1lost: ");
    check_told(second, "one", "");
    config("c");
    check_heard("2config:c ");
    services->edge_release(second, second_one);
    config("nobody listens");
    check_heard("");
    second = open_as(third_one);
    sl_check(second == first);
    check_told(second, "one", "nobody listens");
    services->edge_release(second, third_one);
    finish();
}

static void closing(void)
{
    struct sl_script_edge *e, *again;
    int n = 0;

    begin();
    e = open_as(nobody);
    bring_up(e, "one");
    config("on its way");
    services->edge_close(e);
    services->edge_close(e);
    check_heard("lost: ");
    sl_check(made == NULL && sl_tunnels_find_edge(&worker, SL_STR("main")) == NULL);
    connect_to(e, "hub");
    services->edge_hang_up(e);
    services->edge_status(e, on_status, &n);
    services->edge_release(e, nobody);
    settle();
    sl_check(n == 1);
    again = open_as(nobody);
    sl_check(made != NULL && made->n_connects == 0);
    services->edge_release(again, nobody);
    finish();
}

/* What is on its way when the program ends. */
static void the_end(void)
{
    struct sl_script_edge *e;
    int n = 0;

    begin();
    e = open_as(nobody);
    bring_up(e, "one");
    config("c1");
    config("c2");
    services->edge_status(e, on_status, &n);
    finish();
    sl_check(n == 1);
}

int main(void)
{
    the_way_up();
    an_attempt_of_before();
    a_link_of_before();
    an_answer_that_is_lost();
    a_cancelled_attempt();
    a_flood_of_configs();
    two_scripts();
    closing();
    the_end();
    return sl_check_done();
}
