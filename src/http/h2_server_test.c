#include "http/test_h2.h"

static struct sl_loop *loop;
static struct h2_rig r;

static void a_get_is_answered(void)
{
    h2_begin(&r, loop);
    h2_get(&r, 1, "/a?b");
    sl_check_str(r.seen, SL_STR("GET a /a?b"));
    h2_check(&r, "1:200 1:d2.");
    sl_check(h2_last_head_has(&r, "content-type=text/plain|content-length=2|date="));
    sl_check_str(sl_buf_str(&r.body), SL_STR("ok"));
    h2_get(&r, 3, "/");
    h2_check(&r, "3:200 3:d2.");
    sl_check(r.n_done == 2 && r.n_requests == 2 && sl_http_conn_is_idle(r.conn));
    h2_end(&r);
}

static void bytes_may_come_one_by_one(void)
{
    struct sl_buf fields = {0}, all = {0};

    h2_begin_quiet(&r, loop, H2_PIPE);
    h2_put_request(&fields, "POST", "/");
    sl_buf_append(&all, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    h2_put(&all, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_put(&all, NGHTTP2_HEADERS, END_HEADERS, 1, sl_buf_at(&fields), sl_buf_len(&fields));
    h2_put(&all, NGHTTP2_DATA, 0, 1, "hel", 3);
    h2_put(&all, NGHTTP2_DATA, FIN, 1, "lo", 2);
    for (size_t i = 0; i < sl_buf_len(&all); i++)
        h2_send(&r, sl_buf_at(&all) + i, 1);
    h2_check(&r, "SETTINGS 0:+983041 ACK 1:200 1:d2.");
    sl_check_str(sl_buf_str(&r.taken), SL_STR("hello"));
    sl_check(r.max_streams == 128);
    sl_buf_clear(&fields);
    sl_buf_clear(&all);
    h2_end(&r);
}

static void streams_interleave(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_get(&r, 3, "/");
    h2_get(&r, 5, "/");
    h2_answer(&r, r.ex[2]);
    h2_answer(&r, r.ex[0]);
    sl_check(sl_buf_len(&r.got) == 0); /* one write at the end of the turn */
    h2_settle(&r);
    h2_check(&r, "5:200 1:200 1:d2. 5:d2.");
    h2_answer(&r, r.ex[1]);
    h2_settle(&r);
    h2_check(&r, "3:200 3:d2.");
    sl_check(r.n_done == 3);
    h2_end(&r);
}

static void answers_without_a_body_are_one_frame(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_request(&r, 1, "HEAD", "/", FIN);
    h2_respond(r.ex[0], 200, 1000);
    sl_check(h2_write(r.ex[0], NULL, 0, true) == 0);
    h2_get(&r, 3, "/");
    h2_respond(r.ex[1], 204, 0);
    sl_check(h2_write(r.ex[1], NULL, 0, true) == 0);
    h2_get(&r, 5, "/");
    h2_respond(r.ex[2], 304, 77);
    sl_check(h2_write(r.ex[2], "not this", 8, true) == 0);
    h2_settle(&r);
    h2_check(&r, "1:200. 3:204. 5:304.");
    sl_check(h2_last_head_has(&r, "content-length=77|"));
    h2_end(&r);
}

static void large_bodies_obey_the_windows(void)
{
    static char big[200000];
    size_t want = 65535;

    memset(big, 'b', sizeof(big));
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_respond(r.ex[0], 200, sizeof(big));
    sl_check(h2_write(r.ex[0], big, sizeof(big), true) == SL_E_AGAIN);
    h2_settle(&r);
    h2_check(&r, "1:200 1:d16384 1:d16384 1:d16384 1:d16383");
    sl_check(sl_buf_len(&r.body) == want && r.n_written == 0);
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 1, 1000000);
    h2_check(&r, ""); /* the connection's window is still closed */
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, 100000);
    (void)h2_seen(&r);
    sl_check(sl_buf_len(&r.body) == want + 100000);
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, 100000);
    (void)h2_seen(&r);
    sl_check(sl_buf_len(&r.body) == sizeof(big) && r.n_done == 1);
    sl_check(memcmp(sl_buf_at(&r.body), big, sizeof(big)) == 0);
    h2_end(&r);
}

/* The writer is told to wait when a window closes, and to go on when it opens. */
static void a_slow_client_slows_the_handler(void)
{
    static char piece[50000];
    int n = 0;

    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_respond(r.ex[0], 200, SL_LENGTH_UNKNOWN);
    while (n < 100 && h2_write(r.ex[0], piece, sizeof(piece), false) == 0)
        n++;
    sl_check(n >= 2 && n < 4 && r.n_written == 0);
    h2_settle(&r);
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, 1 << 20);
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 1, 1 << 20);
    sl_check(r.n_written == 1);
    sl_check(h2_write(r.ex[0], "end", 3, true) == 0);
    h2_settle(&r);
    (void)h2_seen(&r);
    sl_check(sl_buf_len(&r.body) == (size_t)(n + 1) * sizeof(piece) + 3 && r.n_done == 1);
    h2_end(&r);
}

/* The same when it is the connection below that takes no more. */
static void a_full_connection_slows_the_handler(void)
{
    static char piece[50000];
    int n = 0;

    r.on_request = h2_leave_it;
    h2_begin_quiet(&r, loop, 1000);
    h2_greet(&r);
    h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, 1 << 24);
    h2_setting(&r, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 24);
    h2_get(&r, 1, "/");
    (void)h2_seen(&r);
    sl_stream_read(r.wire, false);
    h2_respond(r.ex[0], 200, SL_LENGTH_UNKNOWN);
    while (n < 100 && h2_write(r.ex[0], piece, sizeof(piece), false) == 0)
        n++;
    sl_check(n >= 2 && n < 5);
    h2_settle(&r);
    sl_check(r.n_written == 0);
    sl_stream_read(r.wire, true);
    h2_settle(&r);
    sl_check(r.n_written == 1);
    sl_check(h2_write(r.ex[0], NULL, 0, true) == 0);
    h2_settle(&r);
    (void)h2_seen(&r);
    sl_check(sl_buf_len(&r.body) == (size_t)(n + 1) * sizeof(piece) && r.n_done == 1);
    h2_end(&r);
}

/* Credit comes back for what the handler took and nothing else. */
static void uploads_are_paced_by_the_handler(void)
{
    static char piece[16384];
    struct sl_buf all = {0};

    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_request(&r, 1, "POST", "/", 0);
    for (int i = 0; i < 16; i++)
        h2_put(&all, NGHTTP2_DATA, 0, 1, piece, sizeof(piece));
    h2_send_buf(&r, &all);
    h2_check(&r, "");
    sl_check(sl_buf_len(&r.taken) == 0);
    sl_exchange_read(r.ex[0], true);
    h2_settle(&r);
    h2_check(&r, "1:+262144");
    sl_check(sl_buf_len(&r.taken) == 16 * sizeof(piece));
    sl_exchange_read(r.ex[0], false);
    for (int i = 0; i < 17; i++) /* one more than the window */
        h2_put(&all, NGHTTP2_DATA, 0, 1, piece, sizeof(piece));
    h2_send_buf(&r, &all);
    h2_check(&r, "1:RST(FLOW_CONTROL_ERROR) 0:+540672");
    sl_check(r.n_abort == 1);
    h2_get(&r, 3, "/");
    sl_check(r.n_requests == 2);
    h2_end(&r);
}

/* What an aborted or ignored request sent must not use up the connection. */
static void the_connection_gets_its_credit_back(void)
{
    static char piece[16384];
    struct sl_buf all = {0};

    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    for (uint32_t id = 1; id < 40; id += 2) {
        h2_request(&r, id, "POST", "/", 0);
        for (int i = 0; i < 15; i++)
            h2_put(&all, NGHTTP2_DATA, 0, id, piece, sizeof(piece));
        h2_send_buf(&r, &all);
        if (id % 4 == 1) {
            h2_number(&r, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
        } else {
            struct sl_exchange *ex = r.ex[id / 2];

            h2_answer(&r, ex);
            h2_settle(&r);
        }
    }
    sl_check(r.conn != NULL && r.n_done == 10 && r.n_abort == 10);
    h2_end(&r);
}

static void trailers_go_both_ways(void)
{
    struct sl_headers trailers = {0};
    struct sl_buf fields = {0};

    r.on_body_end = h2_leave_it;
    h2_begin(&r, loop);
    h2_request(&r, 1, "POST", "/", 0);
    h2_data(&r, 1, "abc", 0);
    h2_put_field(&fields, "x-sum", "7");
    h2_put_field(&fields, "authorization", "none");
    h2_head(&r, 1, FIN, &fields);
    sl_check(r.n_body_fin == 1 && r.ex[0]->req.trailers.n == 1);
    sl_check_str(sl_headers_get(&r.ex[0]->req.trailers, SL_STR("x-sum")), SL_STR("7"));
    h2_respond(r.ex[0], 200, SL_LENGTH_UNKNOWN);
    sl_headers_add(&trailers, &r.ex[0]->arena, SL_STR("Grpc-Status"), SL_STR("0"));
    r.ex[0]->res_trailers = &trailers;
    sl_check(h2_write(r.ex[0], "xyz", 3, true) == 0);
    h2_settle(&r);
    h2_check(&r, "1:200 1:d3 1:t.");
    sl_check_str(sl_buf_str(&r.last_head), SL_STR("grpc-status=0|"));
    sl_check(r.n_done == 1);
    h2_end(&r);
}

static void interim_responses_come_first(void)
{
    struct sl_response hints = {.status = 103, .content_length = SL_LENGTH_UNKNOWN};
    struct sl_buf fields = {0};

    h2_begin(&r, loop);
    h2_put_request(&fields, "POST", "/");
    h2_put_field(&fields, "expect", "100-continue");
    h2_head(&r, 1, 0, &fields);
    h2_check(&r, "1:100");
    r.ex[0]->ops->interim(r.ex[0], &hints);
    h2_data(&r, 1, "abc", FIN);
    h2_check(&r, "1:103 1:200 1:d2.");
    h2_end(&r);
}

static void an_early_answer_ends_the_request(void)
{
    r.on_request = h2_answer;
    h2_begin(&r, loop);
    h2_request(&r, 1, "POST", "/", 0);
    h2_check(&r, "1:200 1:d2. 1:RST(NO_ERROR)");
    sl_check(r.n_done == 1);
    h2_data(&r, 1, "late", FIN);
    h2_get(&r, 3, "/");
    h2_check(&r, "3:200 3:d2.");
    h2_end(&r);
}

static void a_client_may_cancel(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_respond(r.ex[0], 200, 10);
    sl_check(h2_write(r.ex[0], "12345", 5, false) == 0);
    h2_settle(&r);
    h2_check(&r, "1:200 1:d5");
    h2_number(&r, NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL);
    sl_check(r.n_abort == 1 && r.abort_code == SL_E_CANCELLED && r.n_done == 0);
    h2_get(&r, 3, "/");
    sl_exchange_abort(r.ex[1]);
    r.ex[1] = NULL;
    r.n_abort++;
    h2_settle(&r);
    h2_check(&r, "3:RST(INTERNAL_ERROR)");
    h2_end(&r);
}

static void extended_connect_is_a_raw_channel(void)
{
    struct sl_buf fields = {0};

    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_put_request(&fields, "CONNECT", "/chat");
    h2_put_field(&fields, ":protocol", "websocket");
    h2_put_field(&fields, "sec-websocket-version", "13");
    h2_head(&r, 1, 0, &fields);
    sl_check_str(r.seen, SL_STR("GET a /chat"));
    sl_check_str(r.ex[0]->req.upgrade, SL_STR("websocket"));
    h2_data(&r, 1, "hello", 0);
    h2_respond(r.ex[0], 101, SL_LENGTH_UNKNOWN);
    sl_check(h2_write(r.ex[0], NULL, 0, false) == 0);
    sl_exchange_read(r.ex[0], true);
    h2_settle(&r);
    sl_check_str(sl_buf_str(&r.taken), SL_STR("hello"));
    h2_check(&r, "1:200");
    sl_check(h2_write(r.ex[0], "hey", 3, false) == 0);
    h2_settle(&r);
    h2_check(&r, "1:d3");
    h2_data(&r, 1, "bye", FIN);
    sl_check(r.n_body_fin == 1 && r.n_done == 0);
    sl_check(h2_write(r.ex[0], NULL, 0, true) == 0);
    h2_settle(&r);
    h2_check(&r, "1:d0.");
    sl_check(r.n_done == 1);
    h2_end(&r);
}

static void draining_lets_streams_finish(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    sl_http_conn_drain(r.conn);
    h2_settle(&r);
    h2_check(&r, "GOAWAY(2147483647,NO_ERROR) PING");
    h2_get(&r, 3, "/"); /* was under way */
    sl_check(r.n_requests == 2);
    h2_frame(&r, NGHTTP2_PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    h2_check(&r, "GOAWAY(3,NO_ERROR)");
    h2_get(&r, 5, "/");
    sl_check(r.n_requests == 2);
    h2_answer(&r, r.ex[0]);
    h2_settle(&r);
    h2_check(&r, "1:200 1:d2.");
    sl_check(r.conn != NULL);
    h2_answer(&r, r.ex[1]);
    h2_settle(&r);
    h2_check(&r, "3:200 3:d2.");
    sl_check(h2_is_closed(&r) && r.n_done == 2);
    h2_end(&r);
}

static void draining_waits_for_no_ping(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    sl_http_conn_drain(r.conn);
    h2_pass(&r, 2000);
    h2_check(&r, "GOAWAY(2147483647,NO_ERROR) PING GOAWAY(1,NO_ERROR)");
    h2_answer(&r, r.ex[0]);
    h2_settle(&r);
    sl_check(h2_is_closed(&r));
    h2_end(&r);
    h2_begin(&r, loop);
    sl_http_conn_drain(r.conn); /* idle */
    h2_settle(&r);
    h2_check(&r, "GOAWAY(0,NO_ERROR)");
    sl_check(h2_is_closed(&r));
    h2_end(&r);
}

/* An idle connection on which a request may be under way, for all we know. */
static void a_grace_lasts_until_the_client_has_seen(bool answers)
{
    h2_begin(&r, loop);
    r.service.drain_grace = 3000;
    sl_http_conn_drain(r.conn);
    h2_settle(&r);
    h2_check(&r, "GOAWAY(2147483647,NO_ERROR) PING");
    h2_get(&r, 1, "/"); /* was under way */
    h2_check(&r, "1:200 1:d2.");
    if (answers)
        h2_frame(&r, NGHTTP2_PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    else
        h2_pass(&r, 2000);
    h2_check(&r, "GOAWAY(1,NO_ERROR)");
    sl_check(h2_is_closed(&r) && r.n_done == 1);
    h2_end(&r);
    r.service.drain_grace = 0;
}

static void a_connection_serves_so_many_requests(void)
{
    r.service.limits = sl_http_limits_default;
    r.service.limits.max_requests = 2;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_check(&r, "1:200 1:d2.");
    h2_get(&r, 3, "/");
    h2_check(&r, "3:200 GOAWAY(2147483647,NO_ERROR) PING 3:d2. GOAWAY(3,NO_ERROR)");
    sl_check(h2_is_closed(&r) && r.n_done == 2);
    h2_end(&r);
}

static void deadlines_end_what_does_not_move(void)
{
    const struct sl_http_limits *limits = &sl_http_limits_default;

    h2_begin_quiet(&r, loop, H2_PIPE); /* no preface */
    h2_send(&r, NGHTTP2_CLIENT_MAGIC, 10);
    h2_pass(&r, limits->head_timeout + 200);
    h2_check(&r, "SETTINGS 0:+983041 GOAWAY(0,PROTOCOL_ERROR)");
    sl_check(h2_is_closed(&r) && r.refused_status == 408);
    h2_end(&r);

    h2_begin(&r, loop); /* no request: PING keeps nobody here */
    h2_pass(&r, limits->idle_timeout - 1000);
    h2_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
    h2_pass(&r, 1200);
    h2_check(&r, "PONG GOAWAY(0,NO_ERROR)");
    sl_check(h2_is_closed(&r));
    h2_end(&r);

    h2_begin(&r, loop); /* half a head */
    h2_get(&r, 1, "/");
    h2_frame(&r, NGHTTP2_HEADERS, FIN, 3, "\x82", 1);
    h2_pass(&r, limits->head_timeout + 200);
    h2_check(&r, "1:200 1:d2. GOAWAY(3,PROTOCOL_ERROR)");
    sl_check(h2_is_closed(&r) && r.refused_status == 408);
    h2_end(&r);

    h2_begin(&r, loop); /* no body */
    h2_request(&r, 1, "POST", "/", 0);
    h2_pass(&r, limits->body_timeout + 200);
    h2_check(&r, "1:408 1:d41. 1:RST(NO_ERROR)");
    sl_check(r.n_abort == 1 && r.abort_code == SL_E_TIMEOUT);
    h2_get(&r, 3, "/");
    h2_check(&r, "3:200 3:d2.");
    h2_end(&r);
}

static void a_client_that_reads_nothing_is_cut_off(void)
{
    static char big[20000];

    r.on_request = h2_leave_it;
    h2_begin_quiet(&r, loop, 1000);
    h2_greet(&r);
    h2_get(&r, 1, "/");
    sl_stream_read(r.wire, false);
    h2_respond(r.ex[0], 200, sizeof(big));
    (void)h2_write(r.ex[0], big, sizeof(big), true);
    h2_pass(&r, sl_http_limits_default.write_timeout + 200);
    sl_check(r.n_closed == 1);
    h2_end(&r);
}

static void a_slow_target_is_not_the_clients_fault(void)
{
    static char big[20000];

    r.on_request = h2_leave_it;
    h2_begin_quiet(&r, loop, 1000); /* so small that the write has to wait */
    h2_greet(&r);
    h2_get(&r, 1, "/");
    h2_respond(r.ex[0], 200, sizeof(big) + 2);
    sl_check(h2_write(r.ex[0], big, sizeof(big), false) >= 0);
    h2_settle(&r);
    h2_pass(&r, sl_http_limits_default.write_timeout + 200);
    sl_check(r.n_closed == 0 && r.n_abort == 0);
    sl_check(h2_write(r.ex[0], "ok", 2, true) >= 0);
    h2_settle(&r);
    sl_check(r.n_done == 1);
    h2_end(&r);
}

static void the_client_may_leave_at_any_time(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    (void)sl_stream_write(r.wire, NULL, 0, true);
    h2_settle(&r);
    sl_check(h2_is_closed(&r) && r.n_abort == 1);
    h2_end(&r);
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    h2_settle(&r);
    sl_check(r.n_closed == 1 && r.n_abort == 1);
    h2_end(&r);
}

static void kill_from_request(struct h2_rig *rig, struct sl_exchange *ex)
{
    (void)ex;
    sl_http_conn_kill(rig->conn);
}

static void a_handler_may_kill_its_connection(void)
{
    struct sl_buf all = {0}, fields = {0};

    r.on_request = kill_from_request;
    h2_begin(&r, loop);
    h2_put_request(&fields, "GET", "/");
    for (uint32_t id = 1; id < 8; id += 2)
        h2_put(&all, NGHTTP2_HEADERS, END_HEADERS | FIN, id, sl_buf_at(&fields),
               sl_buf_len(&fields));
    h2_send_buf(&r, &all);
    sl_check(r.n_requests == 1 && r.n_abort == 1 && r.n_closed == 1);
    sl_buf_clear(&fields);
    h2_end(&r);
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    a_get_is_answered();
    bytes_may_come_one_by_one();
    streams_interleave();
    answers_without_a_body_are_one_frame();
    large_bodies_obey_the_windows();
    a_slow_client_slows_the_handler();
    a_full_connection_slows_the_handler();
    uploads_are_paced_by_the_handler();
    the_connection_gets_its_credit_back();
    trailers_go_both_ways();
    interim_responses_come_first();
    an_early_answer_ends_the_request();
    a_client_may_cancel();
    extended_connect_is_a_raw_channel();
    draining_lets_streams_finish();
    draining_waits_for_no_ping();
    a_grace_lasts_until_the_client_has_seen(true);
    a_grace_lasts_until_the_client_has_seen(false);
    a_connection_serves_so_many_requests();
    deadlines_end_what_does_not_move();
    a_client_that_reads_nothing_is_cut_off();
    a_slow_target_is_not_the_clients_fault();
    the_client_may_leave_at_any_time();
    a_handler_may_kill_its_connection();
    sl_loop_free(loop);
    return sl_check_done();
}
