/* From the proxy to a target and back: which target, what is sent, what comes back, and what
 * happens when one side is slow, breaks the rules or goes. */
#include "proxy/test_world.h"

#define GET "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define POST5 "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct world w;
static struct origin o, second;
static struct client c;

/* Port 0 to `o`, and to `second` when it fails; port 1 to `o` alone. */
static void begin_with(const struct sl_route_spec *spec)
{
    struct sl_target_spec targets[2] = {{.host = SL_STR("127.0.0.1"), .priority = 2},
                                        {.host = SL_STR("127.0.0.1"), .priority = 1}};
    struct sl_port_range range;
    struct sl_route_spec full = *spec;

    world_begin(&w);
    origin_begin(&o, w.loop);
    origin_begin(&second, w.loop);
    targets[0].port = origin_port(&o);
    targets[1].port = origin_port(&second);
    range = (struct sl_port_range){w.ports[0], w.ports[0]};
    full.name = SL_STR("app");
    full.ports = &range;
    full.n_ports = 1;
    full.targets = targets;
    full.n_targets = 2;
    world_route(&w, &full);
    world_forward(&w, 1, "alone", &o);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_DONE);
    client_open(&c, &w, 0);
}

static void begin(void)
{
    begin_with(&(struct sl_route_spec){.priority = 0});
}

static void end(void)
{
    client_close(&c);
    run_until(w.loop, world_active(&w) == 0);
    origin_end(&o);
    origin_end(&second);
    world_end(&w);
}

static void expect(int status)
{
    run_until(w.loop, client_got_status(&c, status) && w.n_done == 1);
    sl_check(w.done_status == status);
}

static void arrives(struct origin *origin, int i)
{
    run_until(w.loop, origin->n_conns > i && origin_got(origin, i, "\r\n\r\n"));
}

/* --- which target --- */

static void the_first_serves_all(void)
{
    begin();
    o.answer = OK;
    client_say(&c, GET GET GET);
    run_until(w.loop, w.n_done == 3);
    sl_check(o.n_conns == 1 && second.n_conns == 0); /* kept alive */
    end();
}

static void the_next_one_is_tried(void)
{
    begin();
    sl_listener_free(o.listener);
    run_quiet(w.loop);
    second.answer = OK;
    client_say(&c, POST5 "hello");
    expect(200);
    run_until(w.loop, sl_str_ends(origin_text(&second, 0), SL_STR("\r\n\r\nhello")));
    client_forget(&c);
    client_say(&c, GET); /* the first one rests */
    run_until(w.loop, client_got_status(&c, 200));
    o.listener = sl_listener_new(w.loop, listen_on_loopback(&o.at), origin_on_accept, &o);
    end();
}

static void nobody_is_there(void)
{
    begin();
    sl_listener_free(o.listener);
    sl_listener_free(second.listener);
    run_quiet(w.loop);
    client_say(&c, GET);
    expect(502);
    sl_check(!client_is_closed(&c) && w.done_error[0] != '\0');
    sl_check(sl_proxy_stats(w.proxy)->errors == 1);
    o.listener = sl_listener_new(w.loop, listen_on_loopback(&o.at), origin_on_accept, &o);
    second.listener =
        sl_listener_new(w.loop, listen_on_loopback(&second.at), origin_on_accept, &second);
    end();
}

static void a_route_without_a_usable_target(void)
{
    const struct sl_target_spec target = {
        .host = SL_STR("127.0.0.1"), .port = 1, .path = SL_STR("/other/*")};
    struct sl_port_range range;

    begin();
    range = (struct sl_port_range){w.ports[0], w.ports[0]};
    world_route(&w, &(struct sl_route_spec){.name = SL_STR("app"),
                                            .ports = &range,
                                            .n_ports = 1,
                                            .targets = &target,
                                            .n_targets = 1});
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_DONE | SL_HOOK_FAILURE);
    client_say(&c, GET);
    expect(503);
    sl_check(w.failure.n_calls == 1);
    end();
}

/* --- on_failure --- */

static char failure_target[64], failure_route[32], failure_error[128];
static int failure_status;

static void note_failure(struct world *world, const struct sl_failure *failure)
{
    (void)world;
    failure_status = failure->status;
    snprintf(failure_target, sizeof(failure_target), "%.*s", SL_STR_FMT(failure->target));
    snprintf(failure_route, sizeof(failure_route), "%.*s", SL_STR_FMT(failure->route));
    snprintf(failure_error, sizeof(failure_error), "%s", failure->error);
}

static void begin_failure(enum sl_verdict_kind kind)
{
    begin();
    world_hooks_on(&w, SL_HOOK_DONE | SL_HOOK_FAILURE);
    w.on_failure_hook = note_failure;
    w.failure.verdict = (struct sl_verdict){.kind = kind, .status = 418, .text = SL_STR("instead")};
}

/* Both answers are to leave the connection in order. */
static void on_failure_may_reply(enum sl_verdict_kind kind, int status)
{
    begin_failure(kind);
    o.answer = "SSH-2.0\r\n";
    client_close(&c);
    client_open(&c, &w, 1);
    client_say(&c, GET GET);
    run_until(w.loop, w.n_done == 2);
    sl_check(client_got_status(&c, status) && w.done_status == status && w.done_error[0] != '\0');
    sl_check(w.failure.n_calls == 2 && failure_status == 502 && w.failure.slot == NULL);
    sl_check_str(sl_str_c(failure_target), port_text(&o));
    sl_check_str(sl_str_c(failure_route), SL_STR("alone"));
    sl_check_str(sl_str_c(failure_error), sl_str_c(w.done_error));
    sl_check(sl_proxy_stats(w.proxy)->errors == 2);
    end();
}

static void on_failure_is_not_for_answers(void)
{
    begin_failure(SL_VERDICT_REPLY);
    o.answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
    client_say(&c, GET);
    expect(503);
    sl_check(w.failure.n_calls == 0);
    end();
}

static void on_failure_comes_after_the_last_target(void)
{
    begin_failure(SL_VERDICT_REPLY);
    sl_listener_free(o.listener);
    sl_listener_free(second.listener);
    run_quiet(w.loop);
    client_say(&c, GET);
    expect(418);
    sl_check(w.failure.n_calls == 1 && failure_status == 502 && client_got_tail(&c, "instead"));
    sl_check_str(sl_str_c(failure_target), port_text(&second));
    o.listener = sl_listener_new(w.loop, listen_on_loopback(&o.at), origin_on_accept, &o);
    second.listener =
        sl_listener_new(w.loop, listen_on_loopback(&second.at), origin_on_accept, &second);
    end();
}

/* The target closes a kept connection at the moment of its use: harmless requests go again. */
static void stale(const char *request, int status)
{
    begin();
    o.answer = OK;
    client_say(&c, GET);
    expect(200);
    client_forget(&c);
    run_until(w.loop, sl_pool_idle(w.pool) == 1);
    o.answer = NULL;
    client_say(&c, request);
    run_until(w.loop, sl_pool_idle(w.pool) == 0);
    origin_close(&o, 0, SL_CLOSE_ABORT); /* before it has answered */
    o.answer = OK;
    run_until(w.loop, client_got_status(&c, status));
    sl_check(o.n_conns == (status == 200 ? 2 : 1) && second.n_conns == 0);
    end();
}

/* One request has been served over a connection that is kept. */
static void warm_up(void)
{
    begin();
    o.answer = OK;
    client_say(&c, GET);
    expect(200);
    client_forget(&c);
    run_until(w.loop, sl_pool_idle(w.pool) == 1);
    o.answer = NULL;
}

/* `more` comes from the client when the second connection has got the request. */
static void goes_again(const char *more, const char *body)
{
    arrives(&o, 1);
    client_say(&c, more);
    run_until(w.loop, sl_str_ends(origin_text(&o, 1), sl_str_c(body)));
    origin_say(&o, 1, OK);
    run_until(w.loop, client_got_status(&c, 200));
    end();
}

/* The target has closed before the request reached it, which nobody can have read: any goes again,
 * with what was sent of its body. */
static void closed_before(const char *request, const char *more, const char *body)
{
    warm_up();
    client_say(&c, request);
    origin_fin(&o, 0); /* both are there when the loop looks, the request first */
    goes_again(more, body);
}

/* The target resets the connection, which it may have read from; but there was only a head. */
static void nothing_of_the_body_was_sent(void)
{
    warm_up();
    client_say(&c, POST5);
    run_until(w.loop,
              sl_str_ends(origin_text(&o, 0), SL_STR("\r\n\r\n")) && origin_got(&o, 0, "POST /"));
    origin_close(&o, 0, SL_CLOSE_ABORT);
    goes_again("hello", "\r\n\r\nhello");
}

/* A target that took the request and failed may have acted on it: no other one gets it. */
static void a_request_is_not_sent_twice(void)
{
    begin();
    client_say(&c, GET);
    arrives(&o, 0);
    origin_close(&o, 0, SL_CLOSE_ABORT);
    expect(502);
    sl_check(o.n_conns == 1 && second.n_conns == 0);
    end();
}

/* --- what comes back --- */

static void broken_answers(const char *answer)
{
    begin();
    o.answer = answer;
    client_say(&c, GET);
    expect(502);
    sl_check(!client_is_closed(&c)); /* the client has done nothing wrong */
    client_forget(&c);
    o.answer = OK;
    client_say(&c, GET);
    run_until(w.loop, client_got_status(&c, 200));
    end();
}

static void it_takes_too_long(void)
{
    begin_with(&(struct sl_route_spec){.response_timeout_ms = 2000});
    client_say(&c, GET);
    arrives(&o, 0);
    sl_loop_skip(w.loop, 1500);
    run_quiet(w.loop);
    sl_check(w.n_done == 0);
    sl_loop_skip(w.loop, 1000);
    expect(504);
    run_until(w.loop, o.conns[0].n_error == 1); /* it is not left working */
    end();
}

/* A part must not look like the whole: the client is reset. */
static void a_cut_body(const char *head, bool by_time)
{
    begin();
    client_say(&c, GET);
    arrives(&o, 0);
    origin_say(&o, 0, head);
    run_until(w.loop, client_got(&c, "hello"));
    if (by_time)
        sl_loop_skip(w.loop, w.settings.response_body_timeout + 200);
    else
        origin_fin(&o, 0);
    run_until(w.loop, client_is_closed(&c) && w.n_done == 1);
    sl_check(c.n_error == 1 && c.code == SL_E_RESET && w.done_error[0] != '\0');
    end();
}

static void forms_of_answers(void)
{
    begin();
    o.answer = "HTTP/1.0 200 OK\r\n\r\nuntil";
    client_say(&c, GET);
    arrives(&o, 0);
    origin_fin(&o, 0);
    expect(200);
    sl_check(client_got(&c, "Transfer-Encoding: chunked\r\n"));
    sl_check(client_got_tail(&c, "\r\n5\r\nuntil\r\n0\r\n\r\n") && !client_is_closed(&c));
    o.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX-Sum: "
               "1\r\n\r\n";
    client_forget(&c);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"));
    o.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    client_forget(&c);
    client_say(&c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(w.loop, client_got(&c, "Content-Length: 5\r\n") && w.n_done == 3);
    o.answer = "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n";
    client_forget(&c);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "\r\n\r\n") && w.n_done == 4);
    sl_check(!client_got(&c, "Content-Length") && !client_got(&c, "chunked"));
    end();
}

static void an_old_client_gets_a_body_until_the_end(void)
{
    begin();
    o.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    client_say(&c, "GET / HTTP/1.0\r\n\r\n");
    run_until(w.loop, client_is_closed(&c));
    sl_check(client_got_tail(&c, "\r\n\r\nhello") && c.n_fin == 1 && !client_got(&c, "chunked"));
    sl_check(origin_got(&o, 0, "Host: 127.0.0.1:")); /* it named none */
    end();
}

static void interim_responses_are_relayed(void)
{
    begin();
    client_say(&c,
               "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    arrives(&o, 0);
    run_quiet(w.loop);
    sl_check(origin_got(&o, 0, "Expect: 100-continue\r\n") && sl_buf_len(&c.got) == 0);
    origin_say(&o, 0, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    run_until(w.loop, client_got(&c, "HTTP/1.1 100 Continue\r\n\r\n"));
    sl_check(client_got(&c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"));
    client_say(&c, "hello");
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), SL_STR("\r\n\r\nhello")));
    origin_say(&o, 0, OK);
    expect(200);
    sl_check(!client_is_closed(&c));
    end();
}

static void an_early_answer(void)
{
    begin();
    client_say(&c, POST5 "he");
    arrives(&o, 0);
    origin_say(&o, 0, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    run_until(w.loop, client_got_status(&c, 413));
    client_say(&c, "llo");
    run_until(w.loop, w.n_done == 1);
    sl_check(!client_is_closed(&c) && sl_pool_idle(w.pool) == 0);
    end();
}

/* --- who the target believes the visitor to be (attack P-08) --- */

static const char *const claims[] = {
    "X-Forwarded-For: 6.6.6.6\r\n", "X-Forwarded-Proto: gopher\r\n",
    "X-Forwarded-Host: evil\r\n",   "X-Forwarded-Port: 666\r\n",
    "X-Real-IP: 6.6.6.6\r\n",       "Forwarded: for=6.6.6.6\r\n",
    "X_Forwarded_For: 6.6.6.6\r\n", "x_forwarded-for: 6.6.6.6\r\n",
    "X-Real_IP: 6.6.6.6\r\n",       "Connection: X-Forwarded-For\r\n",
};

static void claims_of_strangers_are_dropped(void)
{
    begin();
    o.answer = OK;
    client_say(&c, "GET / HTTP/1.1\r\nHost: a.example:99\r\n");
    for (size_t i = 0; i < SL_COUNT(claims); i++) {
        run_until(w.loop, !c.stream->is_writing);
        client_say(&c, claims[i]);
    }
    client_say(&c, "\r\n");
    expect(200);
    for (size_t i = 0; i < SL_COUNT(claims); i++)
        sl_check(!origin_got(&o, 0, claims[i]));
    sl_check(!origin_got(&o, 0, "6.6.6.6") && !origin_got(&o, 0, "gopher"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-For: 127.0.0.1\r\n"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-Proto: http\r\n"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-Host: a.example:99\r\n"));
    sl_check(origin_got(&o, 0, "\r\nX-Real-IP: 127.0.0.1\r\n"));
    end();
}

static void claims_of_friends_are_carried_on(void)
{
    const struct sl_str friends = SL_STR("127.0.0.0/8");

    begin();
    sl_assert(sl_ip_set_init(&w.settings.trusted, &friends, 1, "trusted", NULL) == 0);
    client_close(&c);
    client_open(&c, &w, 0);
    o.answer = OK;
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n"
                   "x-forwarded-for: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n\r\n");
    expect(200);
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\n"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-Proto: https\r\n") &&
             !origin_got(&o, 0, "Proto: http\r"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-Host: a\r\n"));
    end();
    sl_ip_set_clear(&w.settings.trusted);
}

static void a_proxy_header_for_the_target(unsigned version)
{
    char want[64];

    begin_with(&(struct sl_route_spec){.send_proxy = version});
    o.answer = OK;
    client_say(&c, GET GET);
    run_until(w.loop, w.n_done == 2);
    snprintf(want, sizeof(want), " %u\r\nGET / HTTP/1.1\r\n", w.ports[0]);
    if (version == 1) {
        sl_check(sl_str_starts(origin_text(&o, 0), SL_STR("PROXY TCP4 127.0.0.1 127.0.0.1 ")));
        sl_check(origin_got(&o, 0, want));
    } else {
        sl_check(sl_str_starts(origin_text(&o, 0), SL_STR("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")));
        sl_check(origin_text(&o, 0).len > 28 && memcmp(origin_text(&o, 0).p + 28, "GET", 3) == 0);
    }
    sl_check(o.n_conns == 2 && sl_pool_idle(w.pool) == 0); /* one connection for each */
    end();
}

/* --- slow sides --- */

static void stream_down(bool is_chunked)
{
    enum { N = 300, LEN = 100000 }; /* 30 MB: more than the kernel's buffers take */
    static char part[LEN + 1];
    int sent = 0, n_stuck;

    memset(part, 'p', LEN);
    begin();
    client_say(&c, GET);
    arrives(&o, 0);
    sl_stream_read(c.stream, false);
    c.drops = true;
    origin_say(&o, 0,
               is_chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c9c380\r\n"
                          : "HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n");
    for (n_stuck = 0; sent < N && n_stuck < 100;) {
        if (!o.conns[0].stream->is_writing) {
            origin_say(&o, 0, part);
            sent++;
            n_stuck = 0;
        } else {
            n_stuck++;
        }
        sl_loop_turn(w.loop, false);
    }
    sl_check(sent < N); /* the target feels that the client does not read */
    sl_stream_read(c.stream, true);
    while (sent < N) {
        run_until(w.loop, !o.conns[0].stream->is_writing);
        origin_say(&o, 0, part);
        sent++;
    }
    run_until(w.loop, !o.conns[0].stream->is_writing);
    if (is_chunked)
        origin_say(&o, 0, "\r\n0\r\n\r\n");
    run_until(w.loop, w.n_done == 1 && c.n_got >= (size_t)N * LEN);
    sl_check(w.done_out == (uint64_t)N * LEN);
    end();
}

static void fill_from_client(int *sent, int n, const char *part)
{
    for (int n_stuck = 0; *sent < n && n_stuck < 100;) {
        if (!c.stream->is_writing) {
            client_say(&c, part);
            ++*sent;
            n_stuck = 0;
        } else {
            n_stuck++;
        }
        sl_loop_turn(w.loop, false);
    }
}

static void stream_up(void)
{
    enum { N = 300, LEN = 100000 };
    static char part[LEN + 1];
    int sent = 0;

    memset(part, 'p', LEN);
    begin();
    o.starts_paused = true;
    client_say(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n");
    run_until(w.loop, o.n_conns == 1);
    fill_from_client(&sent, N, part);
    sl_check(sent < N); /* the client feels that the target does not read */
    sl_stream_read(o.conns[0].stream, true);
    while (sent < N) {
        run_until(w.loop, !c.stream->is_writing);
        client_say(&c, part);
        sent++;
    }
    run_until(w.loop, sl_buf_len(&o.conns[0].got) > (size_t)N * LEN);
    origin_say(&o, 0, OK);
    expect(200);
    sl_check(w.done_in == (uint64_t)N * LEN);
    end();
}

/* A target that never reads is given up; the client hears why. */
static void an_upload_gets_stuck(void)
{
    static char part[100001];
    int sent = 0;

    memset(part, 'p', sizeof(part) - 1);
    begin();
    o.starts_paused = true;
    client_say(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n");
    run_until(w.loop, o.n_conns == 1);
    fill_from_client(&sent, 300, part);
    sl_loop_skip(w.loop, w.settings.response_timeout + 200);
    expect(504);
    end();
}

/* --- the client goes --- */

static void the_client_goes_while_the_target_works(void)
{
    begin();
    client_say(&c, GET);
    arrives(&o, 0);
    sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    run_until(w.loop, w.n_done == 1 && o.conns[0].n_error == 1);
    sl_check(w.done_status == 499);
    end();
}

static void the_client_goes_in_its_body(void)
{
    begin();
    client_say(&c, POST5 "he");
    arrives(&o, 0);
    client_fin(&c);
    run_until(w.loop, w.n_done == 1 && o.conns[0].n_error == 1); /* it sees no complete request */
    end();
}

static void the_client_goes_while_it_is_answered(void)
{
    begin();
    client_say(&c, GET);
    arrives(&o, 0);
    origin_say(&o, 0, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    run_until(w.loop, client_got(&c, "hello"));
    sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    run_until(w.loop, w.n_done == 1 && o.conns[0].n_error == 1);
    sl_check(w.done_status == 200 && w.done_error[0] != '\0');
    end();
}

/* --- upgrades --- */

static void begin_upgrade(void)
{
    begin();
    client_say(&c, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Key: x\r\n\r\nearly ");
    arrives(&o, 0);
    sl_check(origin_got(&o, 0, "Upgrade: websocket\r\n") &&
             origin_got(&o, 0, "Connection: upgrade\r\n"));
    origin_say(&o, 0,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\n\r\nhello");
    run_until(w.loop, client_got_tail(&c, "\r\n\r\nhello"));
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), SL_STR("\r\n\r\nearly ")));
    sl_check(client_got_status(&c, 101) && client_got(&c, "Upgrade: websocket\r\n"));
}

static void an_upgrade_ended_by_the_client(void)
{
    begin_upgrade();
    client_say(&c, "up");
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    sl_check(sl_str_ends(origin_text(&o, 0), SL_STR("early up")) && !client_is_closed(&c));
    origin_say(&o, 0, " down");
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && w.n_done == 1);
    sl_check(client_got_tail(&c, "hello down") && c.n_error == 0);
    sl_check(w.done_status == 101 && w.done_error[0] == '\0');
    end();
}

static void an_upgrade_ended_by_the_target(void)
{
    begin_upgrade();
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1);
    client_say(&c, "up");
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1 && w.n_done == 1);
    sl_check(sl_str_ends(origin_text(&o, 0), SL_STR("early up")) && c.n_error == 0);
    end();
}

static void an_upgrade_is_reset(bool by_client)
{
    begin_upgrade();
    if (by_client) {
        sl_stream_free(&c.stream, SL_CLOSE_ABORT);
        run_until(w.loop, o.conns[0].n_error == 1);
    } else {
        origin_close(&o, 0, SL_CLOSE_ABORT);
        run_until(w.loop, c.n_error == 1);
    }
    run_until(w.loop, w.n_done == 1);
    sl_check(w.done_error[0] != '\0');
    end();
}

/* Both ways stop and go on with the slow side. */
static void an_upgrade_with_slow_sides(void)
{
    enum { N = 300, LEN = 100000 };
    static char part[LEN + 1];
    size_t before;
    int sent = 0;

    memset(part, 'p', LEN);
    begin_upgrade();
    sl_stream_read(o.conns[0].stream, false);
    before = sl_buf_len(&o.conns[0].got);
    fill_from_client(&sent, N, part);
    sl_check(sent < N);
    sl_stream_read(o.conns[0].stream, true);
    run_until(w.loop, sl_buf_len(&o.conns[0].got) == before + (size_t)sent * LEN);
    client_say(&c, "more");
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), SL_STR("more")));
    origin_say(&o, 0, "back");
    run_until(w.loop, client_got_tail(&c, "back"));
    end();
}

static void an_upgrade_that_is_refused(void)
{
    begin();
    o.answer = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno";
    client_say(
        &c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" GET);
    run_until(w.loop, w.n_done == 2);
    sl_check(client_got_tail(&c, "no") && !client_is_closed(&c));
    end();
}

static void an_upgrade_nobody_asked_for(void)
{
    begin();
    o.answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    client_say(&c, GET);
    expect(502);
    end();
}

int main(void)
{
    the_first_serves_all();
    the_next_one_is_tried();
    nobody_is_there();
    a_route_without_a_usable_target();
    on_failure_may_reply(SL_VERDICT_REPLY, 418);
    on_failure_may_reply(SL_VERDICT_NONE, 502);
    on_failure_may_reply(SL_VERDICT_ERROR, 502);
    on_failure_is_not_for_answers();
    on_failure_comes_after_the_last_target();
    stale(GET, 200);
    stale("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    stale("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 502);
    stale(POST5 "hello", 502);
    stale("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200);
    closed_before("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "", "\r\n\r\n");
    closed_before(POST5 "hello", "", "\r\n\r\nhello");
    closed_before(POST5 "he", "llo", "\r\n\r\nhello");
    nothing_of_the_body_was_sent();
    a_request_is_not_sent_twice();
    broken_answers("SSH-2.0\r\n");
    broken_answers("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    broken_answers("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n");
    it_takes_too_long();
    a_cut_body("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", false);
    a_cut_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false);
    a_cut_body("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", true);
    forms_of_answers();
    an_old_client_gets_a_body_until_the_end();
    interim_responses_are_relayed();
    an_early_answer();
    claims_of_strangers_are_dropped();
    claims_of_friends_are_carried_on();
    a_proxy_header_for_the_target(1);
    a_proxy_header_for_the_target(2);
    stream_down(false);
    stream_down(true);
    stream_up();
    an_upload_gets_stuck();
    the_client_goes_while_the_target_works();
    the_client_goes_in_its_body();
    the_client_goes_while_it_is_answered();
    an_upgrade_ended_by_the_client();
    an_upgrade_ended_by_the_target();
    an_upgrade_is_reset(true);
    an_upgrade_is_reset(false);
    an_upgrade_with_slow_sides();
    an_upgrade_that_is_refused();
    an_upgrade_nobody_asked_for();
    return sl_check_done();
}
