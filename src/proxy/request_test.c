/* From a request to a decision: what hooks may say, what routes demand, and what everybody is told
 * at the end. */
#include "proxy/test_world.h"

#define GET "GET /p?q=1 HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define ALL (SL_HOOK_CONNECT | SL_HOOK_REQUEST | SL_HOOK_RESPONSE | SL_HOOK_DONE)

static struct world w;
static struct origin o;
static struct client c;

/* Port 0: everything to the origin `o`, which answers with "ok". */
static void begin_with(unsigned hooks)
{
    world_begin(&w);
    origin_begin(&o, w.loop);
    o.answer = OK;
    world_forward(&w, 0, "app", &o);
    world_publish(&w);
    world_hooks_on(&w, hooks);
    client_open(&c, &w, 0);
}

static void end(void)
{
    client_close(&c);
    run_until(w.loop, world_active(&w) == 0);
    sl_check(w.connect.slot == NULL && w.request.slot == NULL && w.response.slot == NULL);
    origin_end(&o);
    world_end(&w);
    sl_check(w.n_released == 1);
}

static void expect(int status)
{
    run_until(w.loop, client_got_status(&c, status) && w.n_done == 1);
    sl_check(w.done_status == status && w.done_is_exchange);
}

/* --- verdicts of on_request --- */

static void no_hook_at_all(void)
{
    begin_with(0);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(w.n_done == 0 && w.request.n_calls == 0);
    sl_check(sl_proxy_stats(w.proxy)->requests == 1 && sl_proxy_stats(w.proxy)->errors == 0);
    end();
}

static void nothing_to_say(void)
{
    begin_with(ALL);
    client_say(&c, GET);
    expect(200);
    sl_check(client_got_tail(&c, "ok") && w.connect.n_calls == 1 && w.request.n_calls == 1);
    sl_check(w.response.n_calls == 1);
    sl_check_str(sl_str_c(w.done_route), SL_STR("app"));
    sl_check_str(sl_str_c(w.done_target), port_text(&o));
    sl_check_str(sl_str_c(w.done_error), SL_STR(""));
    sl_check(w.done_in == 0 && w.done_out == 2);
    end();
}

static void verdict(const struct sl_verdict *v, int status, const char *part, const char *tail)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.verdict = *v;
    client_say(&c, GET);
    expect(status);
    sl_check(client_got(&c, part) && client_got_tail(&c, tail));
    sl_check(o.n_conns == 0 && !client_is_closed(&c));
    sl_check_str(sl_str_c(w.done_target), SL_STR(""));
    end();
}

static void answers_of_the_hook(void)
{
    struct sl_header extra = {SL_STR("X-A"), SL_STR("1"), SL_H_OTHER};

    verdict(&(struct sl_verdict){.kind = SL_VERDICT_REPLY,
                                 .status = 201,
                                 .text = SL_STR("made"),
                                 .content_type = SL_STR("text/x"),
                                 .headers = {&extra, 1, 1}},
            201, "Content-Type: text/x\r\nX-A: 1\r\n", "\r\n\r\nmade");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_REPLY, .status = 204}, 204, "204", "\r\n\r\n");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_DENY}, 403, "application/json",
            "{\"error\":\"Forbidden\",\"status\":403}\n");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_DENY, .status = 451, .text = SL_STR("no")}, 451,
            "text/plain", "\r\n\r\nno");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_REDIRECT,
                                 .status = 307,
                                 .text = SL_STR("https://b/")},
            307, "Location: https://b/\r\n", "\r\n\r\n");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_ERROR}, 500, "application/json", "500}\n");
    verdict(&(struct sl_verdict){.kind = SL_VERDICT_ROUTE, .text = SL_STR("none")}, 500, "500",
            "500}\n");
}

static void a_named_route(void)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.verdict = (struct sl_verdict){.kind = SL_VERDICT_ROUTE, .text = SL_STR("app")};
    client_say(&c, GET);
    expect(200);
    sl_check_str(sl_str_c(w.done_route), SL_STR("app"));
    end();
}

static void a_target_of_the_scripts_own(void)
{
    struct origin other;

    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    origin_begin(&other, w.loop);
    other.answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    w.request.verdict = (struct sl_verdict){.kind = SL_VERDICT_TARGET,
                                            .target_host = SL_STR("127.0.0.1"),
                                            .target_port = origin_port(&other)};
    client_say(&c, GET);
    expect(202);
    sl_check(o.n_conns == 0 && other.n_conns == 1 && w.done_route[0] == '\0');
    sl_check_str(sl_str_c(w.done_target), port_text(&other));
    client_say(&c, GET);
    run_until(w.loop, w.n_done == 2);
    sl_check(other.n_conns == 1); /* kept alive as well */
    origin_end(&other);
    end();
}

static void add_a_header(struct world *world, struct sl_exchange *ex)
{
    (void)world;
    sl_headers_set(&ex->req.headers, &ex->arena, SL_STR("X-Policy"), SL_STR("seen"));
    sl_headers_set(&ex->req.headers, &ex->arena, SL_STR("User-Agent"), SL_STR_NONE);
}

static void a_hook_may_edit_the_request(void)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.on_request_hook = add_a_header;
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n");
    expect(200);
    sl_check(origin_got(&o, 0, "X-Policy: seen\r\n") && !origin_got(&o, 0, "User-Agent"));
    end();
}

/* --- a hook that waits --- */

static void begin_waiting(void)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.rc = SL_E_AGAIN;
    client_say(&c, "POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    run_until(w.loop, w.request.n_calls == 1);
    run_quiet(w.loop);
    sl_check(o.n_conns == 0 && sl_buf_len(&c.got) == 0);
}

static void it_goes_on(void)
{
    begin_waiting();
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_NONE});
    expect(200);
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), SL_STR("\r\n\r\nhello")));
    sl_check(w.done_in == 5);
    end();
}

static void it_answers(void)
{
    begin_waiting();
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_DENY});
    expect(403);
    client_say(&c, GET); /* the body of the first was swallowed */
    run_until(w.loop, w.request.n_calls == 2);
    end();
}

static void it_waits_for_too_long(void)
{
    begin_waiting();
    sl_loop_skip(w.loop, w.settings.hook_timeout + 200);
    expect(500);
    sl_check(w.n_forgotten == 1 && w.request.slot == NULL && o.n_conns == 0);
    end();
}

/* Its body is not wanted yet, so that nobody reads: it is missed when something is written. */
static void the_client_goes_meanwhile(void)
{
    begin_waiting();
    sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    run_quiet(w.loop);
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_DENY});
    run_until(w.loop, w.n_done == 1);
    run_quiet(w.loop);
    sl_check(w.request.slot == NULL && o.n_conns == 0);
    end();
}

static void the_client_goes_without_a_body(void)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.rc = SL_E_AGAIN;
    client_say(&c, GET);
    run_until(w.loop, w.request.n_calls == 1);
    sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    run_until(w.loop, w.n_done == 1);
    sl_check(w.done_status == 499 && w.n_forgotten == 1 && w.request.slot == NULL);
    end();
}

static void the_routes_change_meanwhile(void)
{
    begin_waiting();
    world_publish(&w); /* no routes any more */
    sl_check(w.n_released == 0);
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_NONE});
    expect(200); /* it goes on with those it began with */
    run_until(w.loop, w.n_released == 1);
    client_forget(&c);
    w.request.rc = 0;
    client_say(&c, GET);
    run_until(w.loop, client_got_status(&c, 404));
    w.n_released = 0;
    end();
}

/* --- the body for a hook --- */

static int collected_code, n_collected;
static char collected[64];

static void on_collected(struct sl_hook_slot *slot, int code, struct sl_str body)
{
    sl_check(slot == w.request.slot);
    collected_code = code;
    n_collected++;
    snprintf(collected, sizeof(collected), "%.*s", SL_STR_FMT(body));
}

static void collect(const char *request, const char *later, size_t max)
{
    n_collected = 0;
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.rc = SL_E_AGAIN;
    client_say(&c, request);
    run_until(w.loop, w.request.n_calls == 1);
    sl_hook_collect_body(w.request.slot, max, on_collected);
    sl_check(n_collected == 0); /* never inside the call */
    if (later[0] != '\0') {
        run_quiet(w.loop);
        sl_check(n_collected == 0);
        client_say(&c, later);
    }
    run_until(w.loop, n_collected == 1);
}

static void go_on_and_check(const char *tail)
{
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_NONE});
    expect(200);
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), sl_str_c(tail)));
    end();
}

static void a_hook_may_read_the_body(void)
{
    collect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", "llo", 100);
    sl_check_str(sl_str_c(collected), SL_STR("hello"));
    sl_check(collected_code == 0);
    sl_hook_collect_body(w.request.slot, 100, on_collected); /* once more, the same */
    run_until(w.loop, n_collected == 2);
    sl_check_str(sl_str_c(collected), SL_STR("hello"));
    go_on_and_check("Content-Length: 5\r\n\r\nhello");
    collect("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "0\r\n\r\n", 100);
    sl_check_str(sl_str_c(collected), SL_STR("hello"));
    go_on_and_check("\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    collect(GET, "", 100);
    sl_check(collected_code == 0 && collected[0] == '\0');
    go_on_and_check("\r\n\r\n");
}

/* What does not fit is still forwarded, if the hook wants it so. */
static void a_body_may_be_too_long(void)
{
    collect("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "", 4);
    sl_check(collected_code == SL_E_LIMIT);
    go_on_and_check("Content-Length: 5\r\n\r\nhello");
    collect("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n",
            4);
    sl_check(collected_code == SL_E_LIMIT);
    client_say(&c, "5\r\nworld\r\n0\r\n\r\n");
    go_on_and_check("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n");
}

static void the_client_goes_while_its_body_is_read(void)
{
    n_collected = 0;
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.rc = SL_E_AGAIN;
    client_say(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    run_until(w.loop, w.request.n_calls == 1);
    sl_hook_collect_body(w.request.slot, 100, on_collected);
    run_quiet(w.loop);
    client_fin(&c);
    run_until(w.loop, w.n_done == 1);
    sl_check(n_collected == 0 && w.request.slot == NULL);
    end();
}

/* --- the body for a hook, in pieces --- */

static struct sl_exchange *asked;
static struct sl_buf streamed;
static bool streamed_end;

static void keep_exchange(struct world *world, struct sl_exchange *ex)
{
    (void)world;
    asked = ex;
}

static void on_streamed(struct sl_hook_slot *slot, const uint8_t *bytes, size_t len, bool fin)
{
    sl_check(slot == w.request.slot && !streamed_end);
    sl_buf_append(&streamed, bytes, len);
    streamed_end = fin;
}

/* A hook waits, and has got "hel" of a body of this length. */
static void stream(int length)
{
    char request[128];

    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.rc = SL_E_AGAIN;
    w.on_request_hook = keep_exchange;
    sl_buf_reset(&streamed);
    streamed_end = false;
    snprintf(request, sizeof(request),
             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nhel", length);
    client_say(&c, request);
    run_until(w.loop, w.request.n_calls == 1);
    sl_hook_stream_body(w.request.slot, on_streamed);
    run_quiet(w.loop);
    sl_check(sl_buf_len(&streamed) == 0); /* it comes when it is let */
    sl_exchange_read(asked, true);
    run_until(w.loop, sl_buf_len(&streamed) == 3);
}

static void a_body_may_be_read_in_pieces(void)
{
    stream(5);
    client_say(&c, "lo");
    run_until(w.loop, streamed_end);
    sl_check_str(sl_buf_str(&streamed), SL_STR("hello"));
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_DENY, .status = 418});
    expect(418);
    sl_check(o.n_conns == 0 && w.done_in == 5);
    client_forget(&c);
    w.request.rc = 0;
    w.n_done = 0;
    client_say(&c, GET); /* the connection goes on */
    expect(200);
    end();
    sl_buf_clear(&streamed);
}

/* What was read is not there any more to be forwarded, and half a request must not be. */
static void what_was_read_is_not_forwarded(void)
{
    stream(5);
    sl_hook_resume(w.request.slot, &(struct sl_verdict){.kind = SL_VERDICT_NONE});
    run_until(w.loop, client_got_status(&c, 500));
    client_say(&c, "lo");
    expect(500);
    sl_check(sl_buf_len(&streamed) == 3 && o.n_conns == 0);
    sl_check_str(sl_str_c(w.done_error), SL_STR("the body was read by the script"));
    end();
    sl_buf_clear(&streamed);
}

/* --- a host that answers by itself --- */

static void (*gone)(void *user, int status, const char *error);
static void *gone_user;

static void ignore_bytes(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    (void)ex;
    (void)bytes;
    (void)len;
    (void)fin;
}

static void ignore_written(struct sl_exchange *ex)
{
    (void)ex;
}

static void on_served_done(struct sl_exchange *ex)
{
    (void)ex;
    gone(gone_user, 202, NULL);
}

static void on_served_abort(struct sl_exchange *ex, int code)
{
    (void)ex;
    gone(gone_user, 0, sl_error_text(code));
}

static int serve_accepted(void *serving, struct sl_exchange *ex,
                          void (*on_gone)(void *user, int status, const char *error), void *user)
{
    static const struct sl_exchange_handler handler = {ignore_bytes, ignore_written, on_served_done,
                                                       on_served_abort};

    sl_check(serving == &w);
    ex->handler = &handler;
    asked = ex;
    gone = on_gone;
    gone_user = user;
    return 0;
}

static void begin_serving(void)
{
    begin_with(SL_HOOK_REQUEST | SL_HOOK_DONE);
    w.request.verdict = (struct sl_verdict){
        .kind = SL_VERDICT_SERVE, .status = 202, .serve = serve_accepted, .serving = &w};
    client_say(&c, GET);
    run_until(w.loop, w.request.n_calls == 1);
}

static void a_host_may_take_the_exchange_over(void)
{
    begin_serving();
    sl_exchange_reply(asked, 202, SL_STR_NONE, SL_STR("mine"), NULL);
    expect(202);
    sl_check(client_got_tail(&c, "mine") && w.done_out == 4 && w.done_error[0] == '\0');
    end();
}

static void the_client_of_a_host_goes(void)
{
    begin_serving();
    client_close(&c);
    run_until(w.loop, w.n_done == 1);
    sl_check(w.done_status == 499 && w.done_error[0] != '\0');
    client_open(&c, &w, 0);
    end();
}

/* --- on_connect, on_response --- */

static void on_connect_refuses(void)
{
    begin_with(SL_HOOK_CONNECT);
    w.connect.verdict.kind = SL_VERDICT_DENY;
    client_close(&c);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    run_until(w.loop, client_is_closed(&c));
    sl_check(sl_buf_len(&c.got) == 0 && o.n_conns == 0);
    end();
}

static void edit_the_response(struct world *world, struct sl_response *res, struct sl_str target)
{
    (void)world;
    sl_check_str(target, port_text(&o));
    sl_headers_remove_id(&res->headers, SL_H_SERVER);
}

static void on_response_may_edit(void)
{
    begin_with(SL_HOOK_RESPONSE | SL_HOOK_DONE);
    o.answer = "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: x\r\nConnection: X-Hop\r\nX-Hop: "
               "1\r\nX-Hop: 2\r\nX-B: 2\r\n"
               "Content-Length: 2\r\n\r\nok";
    w.on_response_hook = edit_the_response;
    client_say(&c, GET);
    expect(200);
    sl_check(!client_got(&c, "Server:") && client_got(&c, "X-B: 2\r\n") &&
             !client_got(&c, "X-Hop"));
    end();
}

static void on_response_may_replace(enum sl_verdict_kind kind, int status)
{
    begin_with(SL_HOOK_RESPONSE | SL_HOOK_DONE);
    w.response.verdict =
        (struct sl_verdict){.kind = kind, .status = status, .text = SL_STR("instead")};
    client_say(&c, GET GET);
    run_until(w.loop, w.n_done == 2);
    sl_check(client_got_status(&c, status) && w.done_status == status);
    sl_check(!client_got_tail(&c, "ok"));
    end();
}

/* --- what routes demand --- */

static void begin_route(const struct sl_route_spec *spec)
{
    struct sl_route_spec full = *spec;
    struct sl_target_spec target = {.host = SL_STR("127.0.0.1")};
    struct sl_port_range range;

    world_begin(&w);
    origin_begin(&o, w.loop);
    o.answer = OK;
    target.port = origin_port(&o);
    range = (struct sl_port_range){w.ports[0], w.ports[0]};
    full.name = SL_STR("app");
    full.ports = &range;
    full.n_ports = 1;
    if (full.action == SL_ACTION_FORWARD) {
        full.targets = &target;
        full.n_targets = 1;
    }
    world_route(&w, &full);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_DONE);
    client_open(&c, &w, 0);
}

static void routes_answer_by_themselves(void)
{
    const struct sl_header_spec header = {SL_STR("X-Client"), SL_STR("{clientIp}")};

    begin_route(&(struct sl_route_spec){.action = SL_ACTION_REDIRECT,
                                        .status = 308,
                                        .location = SL_STR("https://{domain}:{port}{path}"),
                                        .response_headers = &header,
                                        .n_response_headers = 1});
    client_say(&c, GET);
    expect(308);
    sl_check(client_got(&c, "Location: https://a.example:") && client_got(&c, "/p?q=1\r\n"));
    sl_check(client_got(&c, "X-Client: 127.0.0.1\r\n"));
    end();
    begin_route(&(struct sl_route_spec){.action = SL_ACTION_REPLY,
                                        .status = 200,
                                        .body = SL_STR("static"),
                                        .content_type = SL_STR("text/plain")});
    client_say(&c, GET);
    expect(200);
    sl_check(client_got_tail(&c, "static"));
    end();
}

static void credentials(void)
{
    const struct sl_user_spec user = {SL_STR("alice"), SL_STR("secret")};

    begin_route(&(struct sl_route_spec){.users = &user, .n_users = 1, .realm = SL_STR("the door")});
    client_say(&c, GET);
    expect(401);
    sl_check(client_got(&c, "WWW-Authenticate: Basic realm=\"the door\"") && o.n_conns == 0);
    client_forget(&c);
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n");
    run_until(w.loop, client_got_status(&c, 200));
    end();
}

static void access_lists(void)
{
    const struct sl_str block = SL_STR("127.0.0.0/8");

    begin_route(&(struct sl_route_spec){.block = &block, .n_block = 1});
    client_say(&c, GET);
    expect(403);
    sl_check(o.n_conns == 0);
    end();
}

static void a_route_has_a_number_of_exchanges(void)
{
    struct client second;

    begin_route(&(struct sl_route_spec){.max_connections = 1});
    o.answer = NULL;
    client_say(&c, GET);
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    client_open(&second, &w, 0);
    client_say(&second, GET);
    run_until(w.loop, client_got_status(&second, 503));
    origin_say(&o, 0, OK);
    run_until(w.loop, client_got_status(&c, 200));
    client_forget(&second);
    o.answer = OK;
    client_say(&second, GET);
    run_until(w.loop, client_got_status(&second, 200));
    client_close(&second);
    end();
}

static void no_websocket_here(void)
{
    begin_route(&(struct sl_route_spec){.no_websocket = true});
    client_say(&c,
               "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    expect(403);
    end();
}

static void no_route_at_all(void)
{
    const struct sl_str domain = SL_STR("b.example");

    begin_route(&(struct sl_route_spec){.domains = &domain, .n_domains = 1});
    client_say(&c, GET);
    expect(404);
    sl_check(w.done_route[0] == '\0' && sl_proxy_stats(w.proxy)->errors == 0);
    end();
}

static void headers_of_the_route(void)
{
    const struct sl_header_spec req[] = {{SL_STR("X-Domain"), SL_STR("{domain}:{port}")},
                                         {SL_STR("User-Agent"), SL_STR_NONE}};
    const struct sl_header_spec res[] = {{SL_STR("X-Frame"), SL_STR("deny")},
                                         {SL_STR("Server"), SL_STR_NONE}};
    char want[64];

    begin_route(&(struct sl_route_spec){.request_headers = req,
                                        .n_request_headers = 2,
                                        .response_headers = res,
                                        .n_response_headers = 2,
                                        .rewrite_host = true});
    o.answer = "HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 0\r\n\r\n";
    client_say(&c, "GET / HTTP/1.1\r\nHost: A.example\r\nuser-agent: x\r\n\r\n");
    expect(200);
    snprintf(want, sizeof(want), "X-Domain: a.example:%u\r\n", w.ports[0]);
    sl_check(origin_got(&o, 0, want) && !origin_got(&o, 0, "user-agent"));
    snprintf(want, sizeof(want), "Host: 127.0.0.1:%u\r\n", origin_port(&o));
    sl_check(origin_got(&o, 0, want));
    sl_check(client_got(&c, "X-Frame: deny\r\n") && !client_got(&c, "server: x"));
    end();
}

int main(void)
{
    no_hook_at_all();
    nothing_to_say();
    answers_of_the_hook();
    a_named_route();
    a_target_of_the_scripts_own();
    a_hook_may_edit_the_request();
    it_goes_on();
    it_answers();
    it_waits_for_too_long();
    the_client_goes_meanwhile();
    the_client_goes_without_a_body();
    the_routes_change_meanwhile();
    a_hook_may_read_the_body();
    a_body_may_be_too_long();
    the_client_goes_while_its_body_is_read();
    a_body_may_be_read_in_pieces();
    what_was_read_is_not_forwarded();
    a_host_may_take_the_exchange_over();
    the_client_of_a_host_goes();
    on_connect_refuses();
    on_response_may_edit();
    on_response_may_replace(SL_VERDICT_REPLY, 418);
    on_response_may_replace(SL_VERDICT_ERROR, 502);
    routes_answer_by_themselves();
    credentials();
    access_lists();
    a_route_has_a_number_of_exchanges();
    no_websocket_here();
    no_route_at_all();
    headers_of_the_route();
    return sl_check_done();
}
