/*
 * The HTTP/3 server between a peer that says frames and a handler: requests, responses, and the end
 * of streams and connections. What breaks the rules is in h3_attack_test.c.
 */
#include "http/test_h3.h"

static struct sl_loop *loop;
static struct rig rig;
static struct rig *const r = &rig;

static void check_one(const char *status, const char *body)
{
    struct rig_seen seen = rig_seen(r, 0);

    sl_check_str(seen.status, sl_str_c(status));
    sl_check_str(seen.body, sl_str_c(body));
    sl_check(seen.fin);
}

/* Nothing of what the client was allowed to send is lost for it. */
static void check_credit(void)
{
    sl_check(r->quic.n_consumed == r->quic.n_said);
}

static void test_get(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, RIG_GET("/a?b=c"), "");
    sl_check_str(r->reqs[0].seen, SL_STR("GET a /a?b=c"));
    check_one("200", "ok");
    sl_check(rig_has_field(r, 0, "content-length=2|") && rig_has_field(r, 0, "date="));
    sl_check(r->reqs[0].n_done == 1 && sl_http_conn_is_idle(r->conn));
    check_credit();
    rig_end(r);
}

/* Our control stream says what we allow: extended CONNECT (8 = 1) among it. */
static void test_settings(void)
{
    struct sl_str in, payload = SL_STR_NONE;
    uint64_t type, id = 0, value = 0;
    bool has_connect = false;

    rig_begin(r, loop);
    in = sl_buf_str(&rig_stream(r, 3)->got);
    sl_check(take_varint(&in, &type) && type == 0);
    sl_check(take_frame(&in, &type, &payload) && type == RIG_SETTINGS);
    while (take_varint(&payload, &id) && take_varint(&payload, &value))
        has_connect |= id == 8 && value == 1;
    sl_check(has_connect);
    sl_check_str(sl_buf_str(&rig_stream(r, 7)->got), SL_STR("\x02"));
    sl_check_str(sl_buf_str(&rig_stream(r, 11)->got), SL_STR("\x03"));
    rig_end(r);
}

static void test_post(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, RIG_POST("/") "|content-length: 5", "hello");
    sl_check_str(sl_buf_str(&r->reqs[0].body), SL_STR("hello"));
    check_one("200", "ok");
    check_credit();
    rig_end(r);
}

static void test_byte_by_byte(void)
{
    struct sl_buf b = {0};

    rig_begin(r, loop);
    put_head(&b, RIG_POST("/slow") "|cookie: a=1|cookie: b=2");
    put_frame(&b, RIG_DATA, SL_STR("one"));
    put_frame(&b, 0x21, SL_STR("grease"));
    put_frame(&b, RIG_DATA, SL_STR("two"));
    put_head(&b, "x-sum: 6|content-length: 9");
    for (size_t i = 0; i < sl_buf_len(&b); i++)
        rig_say(r, 0, sl_str((char *)sl_buf_at(&b) + i, 1), i + 1 == sl_buf_len(&b));
    sl_buf_clear(&b);
    sl_check_str(sl_buf_str(&r->reqs[0].body), SL_STR("onetwo"));
    sl_check_str(r->reqs[0].trailers, SL_STR("x-sum=6|"));
    check_one("200", "ok");
    check_credit();
    rig_end(r);
}

static void test_fin_alone(void)
{
    rig_begin(r, loop);
    rig_head(r, 0, RIG_GET("/"), false);
    sl_check(r->n_requests == 1 && !rig_seen(r, 0).fin);
    rig_say(r, 0, SL_STR(""), true);
    check_one("200", "ok");
    rig_end(r);
}

/* The host is the same however it is written (T-02). */
static void test_host(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, ":method: GET|:scheme: https|:path: /|:authority: A.eXample.COM.:8443", "");
    rig_ask(r, 4, ":method: GET|:scheme: https|:path: /|host: A.eXample.COM", "");
    sl_check_str(r->reqs[0].seen, SL_STR("GET a.example.com /"));
    sl_check_str(r->reqs[1].seen, SL_STR("GET a.example.com /"));
    rig_end(r);
}

static void answer_without_body(struct rig *rg, struct rig_req *req)
{
    (void)rg;
    rig_respond(req, sl_str_eq(req->ex->req.path, SL_STR("/204")) ? 204 : 304, 0);
    (void)rig_write(req, SL_STR(""), true);
}

static void test_no_body(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, RIG_HEAD("HEAD", "/"), "");
    check_one("200", "");
    sl_check(rig_has_field(r, 0, "content-length=2|"));
    r->on_request = answer_without_body;
    rig_ask(r, 4, RIG_GET("/204"), "");
    rig_ask(r, 8, RIG_GET("/304"), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("204"));
    sl_check_str(rig_seen(r, 8).status, SL_STR("304"));
    sl_check(rig_seen(r, 4).fin && rig_seen(r, 8).fin);
    rig_end(r);
}

static void test_interim(void)
{
    struct sl_response hints = {.status = 103, .content_length = SL_LENGTH_UNKNOWN};

    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_headers_add(&hints.headers, &r->arena, SL_STR("Link"), SL_STR("</a.css>"));
    r->reqs[0].ex->ops->interim(r->reqs[0].ex, &hints);
    rig_settle(r);
    sl_check_str(rig_seen(r, 0).status, SL_STR("103"));
    rig_answer(r, &r->reqs[0]);
    rig_settle(r);
    check_one("103 200", "ok");
    sl_check(rig_has_field(r, 0, "link=</a.css>|;"));
    rig_end(r);
}

static void test_expect_continue(void)
{
    rig_begin(r, loop);
    rig_head(r, 0, RIG_POST("/") "|expect: 100-continue", false);
    sl_check_str(rig_seen(r, 0).status, SL_STR("100"));
    rig_data(r, 0, SL_STR("x"), true);
    check_one("100 200", "ok");
    rig_end(r);
}

static void answer_with_trailers(struct rig *rg, struct rig_req *req)
{
    struct sl_headers *trailers = sl_arena_alloc(&req->ex->arena, sizeof(*trailers));

    *trailers = (struct sl_headers){0};
    sl_headers_add(trailers, &req->ex->arena, SL_STR("X-Sum"), SL_STR("7"));
    req->ex->res_trailers = trailers;
    rig_respond(req, 200, SL_LENGTH_UNKNOWN);
    (void)rig_write(req, sl_str_eq(req->ex->req.path, SL_STR("/")) ? SL_STR("body") : SL_STR(""),
                    true);
    (void)rg;
}

static void test_response_trailers(void)
{
    rig_begin(r, loop);
    r->on_request = answer_with_trailers;
    rig_ask(r, 0, RIG_GET("/"), "");
    rig_ask(r, 4, RIG_GET("/empty"), "");
    check_one("200", "body");
    sl_check(rig_has_field(r, 0, ";x-sum=7|;"));
    sl_check(rig_seen(r, 4).fin && rig_has_field(r, 4, ";x-sum=7|;"));
    rig_end(r);
}

/* --- bodies that wait --- */

static struct sl_str big(size_t len)
{
    char *p = sl_arena_alloc(&r->arena, len);

    for (size_t i = 0; i < len; i++)
        p[i] = (char)('a' + i % 23);
    return sl_str(p, len);
}

/* A body larger than every buffer, to a client that takes it in small steps and says late what has
 * arrived. */
static void test_big_response(void)
{
    struct sl_str body;
    size_t said = 0;
    int rc = 0;

    rig_begin_with(r, loop);
    r->quic.window = 1000;
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    body = big(600000);
    rig_respond(&r->reqs[0], 200, body.len);
    r->quic.holds_acks = true;
    while (r->reqs[0].ex != NULL) {
        while (rc == 0 && said < body.len) {
            size_t n = SL_MIN(body.len - said, (size_t)50000);

            rc = rig_write(&r->reqs[0], sl_str(body.p + said, n), said + n == body.len);
            sl_check(rc == 0 || rc == SL_E_AGAIN);
            said += n;
        }
        r->reqs[0].n_written = 0;
        fake_grow(&r->quic, 0, 7000);
        rig_settle(r);
        if (r->reqs[0].n_written > 0)
            rc = 0;
    }
    sl_check_str(rig_seen(r, 0).body, body);
    sl_check(rig_seen(r, 0).fin && r->reqs[0].n_done == 1 && !sl_http_conn_is_idle(r->conn));
    r->quic.holds_acks = false;
    sl_quic_wake(&r->quic.conn);
    rig_settle(r);
    sl_check(sl_http_conn_is_idle(r->conn));
    rig_end(r);
}

/* A body that the handler does not want yet is not credited, and flows on when it does. */
static void test_request_backpressure(void)
{
    size_t before;

    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_head(r, 0, RIG_POST("/"), false);
    before = rig_stream(r, 0)->n_consumed;
    rig_data(r, 0, big(5000), false);
    sl_check(rig_stream(r, 0)->n_consumed < before + 100);
    sl_exchange_read(r->reqs[0].ex, true);
    rig_settle(r);
    sl_check(sl_buf_len(&r->reqs[0].body) == 5000);
    check_credit();
    rig_data(r, 0, SL_STR("end"), true);
    check_one("200", "ok");
    sl_check(sl_buf_len(&r->reqs[0].body) == 5003);
    check_credit();
    rig_end(r);
}

/* Who is answered before he has said everything is told to stop. */
static void test_early_answer(void)
{
    rig_begin(r, loop);
    r->on_request = rig_answer;
    rig_head(r, 0, RIG_POST("/"), false);
    check_one("200", "ok");
    sl_check(rig_stream(r, 0)->was_stopped && rig_stream(r, 0)->stop_error == 0x100);
    sl_check(!rig_stream(r, 0)->was_reset && r->reqs[0].n_done == 1);
    fake_reset(&r->quic, 0, 0x100);
    rig_settle(r);
    sl_check(sl_http_conn_is_idle(r->conn) && !r->quic.is_closing);
    rig_end(r);
}

/* --- ends of streams --- */

static void test_client_cancels(void)
{
    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    fake_stop(&r->quic, 0, 0x10c);
    rig_settle(r);
    sl_check(r->reqs[0].n_abort == 1 && r->reqs[0].abort_code == SL_E_RESET);
    rig_head(r, 4, RIG_POST("/"), false);
    rig_data(r, 4, big(3000), false);
    fake_reset(&r->quic, 4, 0x10c);
    rig_settle(r);
    sl_check(r->reqs[1].n_abort == 1);
    sl_check(rig_stream(r, 4)->was_reset && rig_stream(r, 4)->reset_error == 0x10c);
    sl_check(sl_http_conn_is_idle(r->conn) && !r->quic.is_closing);
    check_credit();
    rig_end(r);
}

static void test_handler_aborts(void)
{
    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_head(r, 0, RIG_POST("/"), false);
    rig_data(r, 0, SL_STR("some"), false);
    sl_exchange_abort(r->reqs[0].ex);
    r->reqs[0].ex = NULL;
    r->reqs[0].n_abort = 1;
    rig_settle(r);
    sl_check(rig_stream(r, 0)->was_reset && rig_stream(r, 0)->reset_error == 0x102);
    sl_check(rig_stream(r, 0)->was_stopped);
    rig_data(r, 0, SL_STR("more"), true);
    sl_check(sl_http_conn_is_idle(r->conn));
    check_credit();
    rig_end(r);
}

/* What belongs to a stream that the handler has given up in its own callback. */
static void abort_at_once(struct rig *rg, struct rig_req *req)
{
    (void)rg;
    sl_exchange_abort(req->ex);
    req->ex = NULL;
    req->n_abort = 1;
}

static void test_aborts_in_on_request(void)
{
    rig_begin(r, loop);
    r->on_request = abort_at_once;
    rig_ask(r, 0, RIG_POST("/"), "a body in the same packet");
    sl_check(rig_stream(r, 0)->was_reset && sl_http_conn_is_idle(r->conn));
    r->on_request = rig_default_request;
    rig_ask(r, 4, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    check_credit();
    rig_end(r);
}

static void kill_at_once(struct rig *rg, struct rig_req *req)
{
    (void)req;
    sl_http_conn_kill(rg->conn);
}

static void test_killed_in_on_request(void)
{
    rig_begin(r, loop);
    r->on_request = kill_at_once;
    rig_ask(r, 0, RIG_POST("/"), "a body in the same packet");
    sl_check(r->n_closed == 1 && r->reqs[0].n_abort == 1);
    sl_check(r->quic.is_closed && r->quic.error == 0x100);
    rig_end(r);
}

static void test_connection_lost(void)
{
    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    rig_head(r, 4, RIG_POST("/"), false);
    fake_end(&r->quic, SL_E_TIMEOUT, true);
    sl_check(r->n_closed == 1 && r->reqs[0].abort_code == SL_E_TIMEOUT && r->reqs[1].n_abort == 1);
    rig_end(r);
}

/* --- extended CONNECT --- */

static void accept_upgrade(struct rig *rg, struct rig_req *req)
{
    (void)rg;
    sl_check_str(req->ex->req.upgrade, SL_STR("websocket"));
    rig_respond(req, 101, SL_LENGTH_UNKNOWN);
    (void)rig_write(req, SL_STR("hi"), false);
    sl_exchange_read(req->ex, true);
}

static void test_extended_connect(void)
{
    rig_begin(r, loop);
    r->on_request = accept_upgrade;
    r->on_body_end = NULL;
    rig_head(r, 0, RIG_HEAD("CONNECT", "/chat") "|:protocol: websocket|sec-websocket-version: 13",
             false);
    sl_check_str(r->reqs[0].seen, SL_STR("GET a /chat"));
    sl_check_str(rig_seen(r, 0).status, SL_STR("200"));
    sl_check_str(rig_seen(r, 0).body, SL_STR("hi"));
    rig_data(r, 0, SL_STR("ping"), false);
    sl_check_str(sl_buf_str(&r->reqs[0].body), SL_STR("ping"));
    rig_data(r, 0, SL_STR("bye"), true);
    sl_check(r->reqs[0].n_fin == 1 && r->reqs[0].ex != NULL && !rig_seen(r, 0).fin);
    (void)rig_write(&r->reqs[0], SL_STR("bye"), true);
    rig_settle(r);
    sl_check(rig_seen(r, 0).fin && r->reqs[0].n_done == 1);
    sl_check_str(rig_seen(r, 0).body, SL_STR("hibye"));
    rig_end(r);
}

/* --- QPACK with a dynamic table: what a real client does --- */

/* Encodes the head with the table; instructions for it go to `instructions`. */
static void put_indexed_head(nghttp3_qpack_encoder *encoder, int64_t id, struct sl_buf *head,
                             struct sl_buf *instructions)
{
    static const char *const fields[][2] = {{":method", "GET"},
                                            {":scheme", "https"},
                                            {":path", "/indexed"},
                                            {":authority", "a.example"},
                                            {"user-agent", "a client with a long name"}};
    nghttp3_nv nv[SL_COUNT(fields)] = {0};
    nghttp3_buf prefix, section, stream;
    struct sl_buf both = {0};

    for (size_t i = 0; i < SL_COUNT(fields); i++)
        nv[i] = (nghttp3_nv){.name = (const uint8_t *)fields[i][0],
                             .namelen = strlen(fields[i][0]),
                             .value = (const uint8_t *)fields[i][1],
                             .valuelen = strlen(fields[i][1]),
                             .flags = NGHTTP3_NV_FLAG_TRY_INDEX};
    nghttp3_buf_init(&prefix);
    nghttp3_buf_init(&section);
    nghttp3_buf_init(&stream);
    sl_assert(nghttp3_qpack_encoder_encode(encoder, &prefix, &section, &stream, id, nv,
                                           SL_COUNT(fields)) == 0);
    sl_buf_append(&both, prefix.pos, nghttp3_buf_len(&prefix));
    sl_buf_append(&both, section.pos, nghttp3_buf_len(&section));
    put_frame(head, RIG_HEADERS, sl_buf_str(&both));
    sl_buf_append(instructions, stream.pos, nghttp3_buf_len(&stream));
    sl_buf_clear(&both);
    nghttp3_buf_free(&prefix, nghttp3_mem_default());
    nghttp3_buf_free(&section, nghttp3_mem_default());
    nghttp3_buf_free(&stream, nghttp3_mem_default());
}

static nghttp3_qpack_encoder *new_encoder(void)
{
    nghttp3_qpack_encoder *encoder;

    sl_assert(nghttp3_qpack_encoder_new2(&encoder, 4096, 1, nghttp3_mem_default()) == 0);
    nghttp3_qpack_encoder_set_max_dtable_capacity(encoder, 4096);
    nghttp3_qpack_encoder_set_max_blocked_streams(encoder, 100);
    return encoder;
}

/* The instructions come first, as we allow no head to wait for them. */
static void test_qpack_table(void)
{
    nghttp3_qpack_encoder *encoder = new_encoder();
    struct sl_buf head = {0}, instructions = {0};

    rig_begin(r, loop);
    put_indexed_head(encoder, 0, &head, &instructions);
    sl_check(sl_buf_len(&instructions) > 0);
    rig_say_buf(r, 6, &instructions, false);
    rig_say_buf(r, 0, &head, true);
    sl_check(r->n_requests == 1);
    sl_check_str(r->reqs[0].seen, SL_STR("GET a.example /indexed"));
    check_one("200", "ok");
    check_credit();
    sl_check(sl_buf_len(&rig_stream(r, 11)->got) > 1); /* acknowledged on the decoder stream */
    nghttp3_qpack_encoder_del(encoder);
    rig_end(r);
}

/* --- leaving --- */

static int n_goaways(uint64_t *last)
{
    struct sl_str in = sl_buf_str(&rig_stream(r, 3)->got), payload;
    uint64_t type;
    int n = 0;

    (void)take_varint(&in, &type);
    while (take_frame(&in, &type, &payload)) {
        if (type == RIG_GOAWAY)
            n += take_varint(&payload, last);
    }
    return n;
}

static void test_drain_idle(void)
{
    uint64_t last = 0;

    rig_begin(r, loop);
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_http_conn_drain(r->conn);
    rig_settle(r);
    sl_check(n_goaways(&last) == 1 && last == 4 && !r->quic.is_closed);
    /* This one was on its way. It was not looked at, and the client knows. */
    rig_ask(r, 4, RIG_GET("/late"), "");
    sl_check(r->n_requests == 1 && rig_stream(r, 4)->reset_error == 0x10b);
    rig_pass(r, 1000);
    sl_check(r->quic.is_closed && r->quic.error == 0x100 && r->n_closed == 1);
    rig_end(r);
}

static void test_drain_idle_with_grace(void)
{
    uint64_t last = 0;

    rig_begin(r, loop);
    r->service.drain_grace = 3000;
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_http_conn_drain(r->conn);
    rig_settle(r);
    sl_check(n_goaways(&last) == 1 && last == ((uint64_t)1 << 62) - 4);
    rig_ask(r, 4, RIG_GET("/late"), "");
    sl_check(r->n_requests == 2);
    rig_pass(r, 2000);
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    sl_check(n_goaways(&last) == 2 && last == 8 && r->quic.is_closed);
    rig_end(r);
}

static void test_drain_busy(void)
{
    uint64_t last = 0;

    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_http_conn_drain(r->conn);
    rig_settle(r);
    sl_check(n_goaways(&last) == 1 && last == ((uint64_t)1 << 62) - 4);
    rig_ask(r, 4, RIG_GET("/on-its-way"), "");
    sl_check(r->n_requests == 2);
    rig_pass(r, 1000);
    sl_check(n_goaways(&last) == 2 && last == 8 && !r->quic.is_closed);
    rig_ask(r, 8, RIG_GET("/too-late"), "");
    sl_check(r->n_requests == 2 && rig_stream(r, 8)->reset_error == 0x10b);
    rig_answer(r, &r->reqs[0]);
    rig_answer(r, &r->reqs[1]);
    rig_settle(r);
    check_one("200", "ok");
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    rig_pass(r, 1000);
    sl_check(r->quic.is_closed && r->quic.error == 0x100);
    rig_end(r);
}

/* A client that is gone does not acknowledge what it was sent: nobody waits for it for long. */
static void test_drain_of_the_gone(void)
{
    rig_begin(r, loop);
    r->quic.holds_acks = true;
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_http_conn_drain(r->conn);
    rig_pass(r, 2000);
    sl_check(!r->quic.is_closed);
    rig_pass(r, 3000);
    sl_check(r->quic.is_closed && r->quic.error == 0x100 && r->n_closed == 1);
    rig_end(r);
}

static void test_max_requests(void)
{
    rig_begin_with(r, loop);
    r->service.limits.max_requests = 2;
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
    rig_ask(r, 0, RIG_GET("/"), "");
    rig_pass(r, 1000);
    sl_check(!r->quic.is_closed);
    rig_ask(r, 4, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    rig_pass(r, 2000);
    sl_check(r->quic.is_closed && r->quic.error == 0x100);
    rig_end(r);
}

/* --- 0-RTT --- */

static void test_early_data(void)
{
    rig_begin(r, loop);
    r->quic.is_early = true;
    rig_ask(r, 0, RIG_GET("/"), "");
    rig_ask(r, 4, RIG_POST("/"), "twice?");
    r->quic.is_early = false;
    rig_ask(r, 8, RIG_POST("/"), "once");
    check_one("200", "ok");
    sl_check(r->reqs[0].was_early && !r->reqs[1].was_early);
    sl_check_str(rig_seen(r, 4).status, SL_STR("425"));
    sl_check(r->n_requests == 2 && r->refused_status == 425);
    sl_check_str(rig_seen(r, 8).status, SL_STR("200"));
    rig_end(r);
}

/* A client that lets us open our streams late. */
static void test_late_streams(void)
{
    rig_begin_with(r, loop);
    r->quic.max_own = 1;
    rig_serve(r);
    sl_check(fake_find(&r->quic, 7) == NULL);
    r->quic.max_own = 2;
    r->quic.conn.app->on_more_streams(&r->quic.conn);
    rig_settle(r);
    sl_check(rig_stream(r, 11)->n_taken == 1);
    rig_ask(r, 0, RIG_GET("/"), "");
    check_one("200", "ok");
    rig_end(r);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    test_get();
    test_settings();
    test_post();
    test_byte_by_byte();
    test_fin_alone();
    test_host();
    test_no_body();
    test_interim();
    test_expect_continue();
    test_response_trailers();
    test_big_response();
    test_request_backpressure();
    test_early_answer();
    test_client_cancels();
    test_handler_aborts();
    test_aborts_in_on_request();
    test_killed_in_on_request();
    test_connection_lost();
    test_extended_connect();
    test_qpack_table();
    test_drain_idle();
    test_drain_idle_with_grace();
    test_drain_busy();
    test_drain_of_the_gone();
    test_max_requests();
    test_early_data();
    test_late_streams();
    sl_loop_free(loop);
    return sl_check_done();
}
