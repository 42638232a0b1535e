/* Requests and responses on one connection, as the client sees them and as the handler does. */
#include "http/test_server.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST5 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
#define EXPECT "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
#define UPGRADE "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

static struct sl_loop *loop;
static struct rig r;

static void begin(void)
{
    rig_begin(&r, loop);
}

static void end(void)
{
    rig_end(&r);
}

static void begin_holding(void)
{
    begin();
    r.on_request = rig_leave_it;
}

/* --- which connections go on --- */

static const struct {
    const char *head;
    bool is_kept;
    const char *header; /* in the response, or NULL: no Connection at all */
} persistence[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, NULL},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true, NULL},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, "Connection: close\r\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y, CLOSE\r\n\r\n", false,
     "Connection: close\r\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n", false,
     "Connection: close\r\n"},
    {"GET / HTTP/1.0\r\n\r\n", false, "Connection: close\r\n"},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "Connection: keep-alive\r\n"},
};

static void connections_go_on_as_asked(void)
{
    for (size_t i = 0; i < SL_COUNT(persistence); i++) {
        begin();
        rig_say(&r, persistence[i].head);
        sl_check_str(rig_statuses(&r), SL_STR("200"));
        sl_check(rig_is_closed(&r) == !persistence[i].is_kept && r.n_error == 0);
        sl_check(rig_got(&r, "\r\nConnection: ") == (persistence[i].header != NULL));
        sl_check(persistence[i].header == NULL || rig_got(&r, persistence[i].header));
        if (persistence[i].is_kept) {
            sl_check(sl_http_conn_is_idle(r.conn));
            rig_say(&r, GET);
            sl_check_str(rig_statuses(&r), SL_STR("200 200"));
        }
        end();
    }
}

static void a_connection_has_a_number_of_requests(void)
{
    begin();
    r.service.limits.max_requests = 2;
    rig_say(&r, GET GET GET);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    sl_check(rig_is_closed(&r) && rig_got(&r, "Connection: close\r\n"));
    end();
}

/* --- pipelining --- */

static void answer_with_what_was_seen(struct rig *rig)
{
    sl_exchange_reply(rig->ex, 200, SL_STR_NONE,
                      sl_arena_printf(&rig->ex->arena, "<%.*s:%.*s>", SL_STR_FMT(rig->seen),
                                      (int)sl_buf_len(&rig->body), sl_buf_at(&rig->body)),
                      NULL);
}

static void read_then_answer(struct rig *rig)
{
    if (rig->ex->request_ended)
        answer_with_what_was_seen(rig);
    else
        sl_exchange_read(rig->ex, true);
}

static void check_pipelined(bool slowly)
{
    static const char requests[] = "GET /1?q HTTP/1.1\r\nHost: A.example:80\r\n\r\n"
                                   "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                                   "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                                   "chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
                                   "POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                                   "\r\nGET /5 HTTP/1.1\r\nHost: a\r\n\r\n";

    begin();
    r.on_request = read_then_answer;
    r.on_body_end = answer_with_what_was_seen;
    if (slowly)
        rig_send_slowly(&r, sl_str_c(requests));
    else
        rig_say(&r, requests);
    sl_check_str(rig_statuses(&r), SL_STR("200 200 200 200 200"));
    sl_check(rig_got(&r, "<GET a.example /1?q:>") && rig_got(&r, "<POST a /2:hello>"));
    sl_check(rig_got(&r, "<POST a /3:hello>") && rig_got(&r, "<POST a /4:>"));
    sl_check(rig_got(&r, "<GET a /5:>") && r.n_done == 5 && !rig_is_closed(&r));
    end();
}

static void the_next_request_waits_for_the_answer(void)
{
    begin_holding();
    rig_say(&r, GET GET);
    sl_check(r.n_requests == 1);
    rig_say(&r, GET); /* not even read: there is something at hand */
    sl_check(r.n_requests == 1 && !sl_http_conn_is_idle(r.conn));
    rig_answer(&r);
    rig_settle(&r);
    sl_check(r.n_requests == 2 && r.n_done == 1);
    rig_answer(&r);
    rig_settle(&r);
    rig_answer(&r);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("200 200 200"));
    end();
}

static void bytes_that_were_read_before(void)
{
    struct sl_stream *ends[2];

    begin();
    sl_http_conn_kill(r.conn);
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    rig_settle(&r);
    r.n_closed = r.n_error = 0;
    sl_pair_new(ends, loop, RIG_PIPE);
    r.wire = ends[0];
    sl_stream_set_handler(r.wire,
                          &(const struct sl_stream_handler){rig_wire_data, rig_wire_fin,
                                                            rig_wire_written, rig_wire_error, NULL},
                          &r);
    sl_stream_read(r.wire, true);
    r.conn =
        sl_h1_serve(&ends[1], &r.service, &r.peer, (const uint8_t *)POST5 "hel", strlen(POST5) + 3);
    sl_check(r.n_requests == 0); /* never inside the call */
    rig_say(&r, "lo" GET);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    end();
}

/* --- the form of responses --- */

static const struct {
    const char *method, *version;
    int status;
    uint64_t length;
    const char *want, *want_body; /* a header that must be there, or with "!" must not */
    bool is_kept;
} forms[] = {
    {"GET", "1.1", 200, 5, "Content-Length: 5\r\n", "hello", true},
    {"GET", "1.1", 200, SL_LENGTH_UNKNOWN, "Transfer-Encoding: chunked\r\n",
     "5\r\nhello\r\n0\r\n\r\n", true},
    {"GET", "1.0", 200, SL_LENGTH_UNKNOWN, "!Transfer-Encoding", "hello", false},
    {"GET", "1.0", 200, 5, "Content-Length: 5\r\n", "hello", false},
    {"HEAD", "1.1", 200, 5, "Content-Length: 5\r\n", "", true},
    {"HEAD", "1.1", 200, SL_LENGTH_UNKNOWN, "!Content-Length", "", true},
    {"HEAD", "1.1", 200, SL_LENGTH_UNKNOWN, "!Transfer-Encoding", "", true},
    {"GET", "1.1", 204, 5, "!Content-Length", "", true},
    {"GET", "1.1", 204, SL_LENGTH_UNKNOWN, "!Transfer-Encoding", "", true},
    {"GET", "1.1", 304, 5, "Content-Length: 5\r\n", "", true},
    {"GET", "1.1", 304, 0, "!Content-Length", "", true},
    {"GET", "1.1", 404, 5, "HTTP/1.1 404 Not Found\r\n", "hello", true},
    {"GET", "1.1", 299, 5, "HTTP/1.1 299 \r\n", "hello", true},
};

static void check_form(size_t i)
{
    int n_before = sl_check_failures;

    begin_holding();
    rig_send(&r, sl_arena_printf(&r.arena, "%s / HTTP/%s\r\nHost: a\r\n%s\r\n", forms[i].method,
                                 forms[i].version, ""));
    rig_respond(&r, forms[i].status, forms[i].length);
    sl_check(sl_buf_len(&r.got) == 0); /* the head goes out with the first bytes */
    sl_check(rig_write(&r, "hello", true) == 0);
    rig_settle(&r);
    if (forms[i].want[0] == '!')
        sl_check(!rig_got(&r, forms[i].want + 1));
    else
        sl_check(rig_got(&r, forms[i].want));
    sl_check(sl_str_ends(sl_buf_str(&r.got), sl_str_c(forms[i].want_body)));
    if (forms[i].want_body[0] == '\0')
        sl_check_str(rig_last_body(&r), SL_STR(""));
    sl_check(rig_is_closed(&r) == !forms[i].is_kept && r.n_done == 1);
    if (forms[i].is_kept) { /* the next one is understood */
        r.on_request = rig_default_request;
        rig_say(&r, GET);
        sl_check_str(rig_last_body(&r), SL_STR("ok"));
    }
    if (sl_check_failures != n_before)
        fprintf(stderr, "in form %zu\n", i);
    end();
}

static void a_body_in_parts_with_trailers(void)
{
    struct sl_headers trailers = {0};
    struct iovec iov[3] = {{(void *)"a", 1}, {NULL, 0}, {(void *)"bc", 2}};

    begin_holding();
    rig_say(&r, GET);
    rig_respond(&r, 200, SL_LENGTH_UNKNOWN);
    sl_check(sl_exchange_write(r.ex, iov, 3, false) == 0);
    sl_check(rig_write(&r, "", false) == 0); /* no empty chunk: that would be the end */
    sl_check(rig_write(&r, "0123456789", false) == 0);
    sl_headers_add(&trailers, &r.ex->arena, SL_STR("X-Sum"), SL_STR("1"));
    sl_headers_add(&trailers, &r.ex->arena, SL_STR("Content-Length"), SL_STR("9"));
    r.ex->res_trailers = &trailers;
    sl_check(rig_write(&r, "", true) == 0 && r.ex->bytes_out == 13);
    rig_settle(&r);
    sl_check(rig_got(&r, "\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"));
    end();
}

static void headers_of_one_connection_stay_there(void)
{
    static const char *const names[] = {"Connection", "Keep-Alive",      "Transfer-Encoding",
                                        "Upgrade",    "Content-Length",  "TE",
                                        "Trailer",    "Proxy-Connection"};
    struct sl_response res = {.status = 200, .content_length = 0};

    begin_holding();
    rig_say(&r, GET);
    for (size_t i = 0; i < SL_COUNT(names); i++)
        sl_headers_add(&res.headers, &r.ex->arena, sl_str_c(names[i]), SL_STR("secret"));
    sl_headers_add(&res.headers, &r.ex->arena, SL_STR("Date"), SL_STR("today"));
    sl_headers_add(&res.headers, &r.ex->arena, SL_STR("X-A"), SL_STR("1"));
    sl_exchange_respond(r.ex, &res);
    sl_check(rig_write(&r, "", true) == 0);
    rig_settle(&r);
    sl_check(!rig_got(&r, "secret") && rig_got(&r, "Date: today\r\nX-A: 1\r\n"));
    sl_check(rig_got(&r, "Content-Length: 0\r\n"));
    end();
}

/* RFC 9110, 15.5.22: it says what is demanded. */
static void upgrade_required(void)
{
    struct sl_response res = {.status = 426, .content_length = 2};

    begin_holding();
    rig_say(&r, GET);
    sl_headers_add_id(&res.headers, &r.ex->arena, SL_H_UPGRADE, SL_STR("Upgrade"),
                      SL_STR("websocket"));
    sl_exchange_respond(r.ex, &res);
    sl_check(rig_write(&r, "no", true) == 0);
    rig_settle(&r);
    sl_check(rig_got(&r, "Upgrade: websocket\r\n") && rig_got(&r, "Connection: upgrade\r\n"));
    sl_check(rig_got(&r, "Content-Length: 2\r\n") && rig_got(&r, "\r\n\r\nno"));
    sl_check(!rig_is_closed(&r));
    end();
}

/* A body that is not as long as announced must not look whole: the write fails, and what the
 * handler can do is to abort. */
static void check_wrong_length(const char *good, const char *bad, bool fin)
{
    begin_holding();
    rig_say(&r, GET GET);
    rig_respond(&r, 200, 5);
    sl_check(rig_write(&r, good, false) == 0);
    sl_check(rig_write(&r, bad, fin) == SL_E_PROTOCOL);
    sl_exchange_abort(r.ex);
    r.ex = NULL;
    r.n_abort++; /* it knows */
    rig_settle(&r);
    sl_check(r.n_error == 1 && r.n_fin == 0 && r.n_closed == 1 && r.n_requests == 1);
    end();
}

static void errors_are_told_in_the_clients_language(void)
{
    static const struct {
        const char *accept, *type, *body;
    } rows[] = {
        {"*/*", "application/json", "{\"error\":\"Not Found\",\"status\":404}\n"},
        {"application/json, text/html", "application/json",
         "{\"error\":\"Not Found\",\"status\":404}\n"},
        {"text/html,*/*;q=0.8", "text/plain", "404 Not Found\n"},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        begin_holding();
        rig_send(&r, sl_arena_printf(&r.arena, "GET / HTTP/1.1\r\nHost: a\r\nAccept: %s\r\n\r\n",
                                     rows[i].accept));
        sl_exchange_fail(r.ex, 404);
        rig_settle(&r);
        sl_check(rig_got(&r, rows[i].type));
        sl_check_str(rig_last_body(&r), sl_str_c(rows[i].body));
        end();
    }
}

/* --- interim responses --- */

static void continue_is_said_when_the_body_is_wanted(void)
{
    begin_holding();
    rig_say(&r, EXPECT);
    sl_check(r.n_requests == 1 && sl_buf_len(&r.got) == 0);
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.got), SL_STR("HTTP/1.1 100 Continue\r\n\r\n"));
    sl_exchange_read(r.ex, false);
    sl_exchange_read(r.ex, true);
    rig_say(&r, "hello");
    sl_check_str(rig_statuses(&r), SL_STR("100 200"));
    sl_check(!rig_is_closed(&r) && !rig_got(&r, "Connection: close"));
    end();
}

/* Whether the body of such a request follows, nobody knows. */
static void who_was_not_told_to_continue_is_cut(void)
{
    begin_holding();
    rig_say(&r, EXPECT);
    sl_exchange_fail(r.ex, 403);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("403"));
    sl_check(rig_got(&r, "Connection: close\r\n") && rig_is_closed(&r));
    sl_check(r.n_error == 0 && r.n_done == 1);
    rig_say(&r, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    sl_check(r.n_requests == 1);
    end();
}

static void who_sends_the_body_anyway_goes_on(void)
{
    begin();
    rig_say(&r, EXPECT "hello" GET);
    sl_check(sl_str_ends(rig_statuses(&r), SL_STR("200 200")) && r.n_done == 2);
    end();
}

static void old_clients_get_no_interim_response(void)
{
    struct sl_response hints = {.status = 103};

    begin_holding();
    rig_say(&r, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    sl_exchange_read(r.ex, true);
    r.ex->ops->interim(r.ex, &hints);
    rig_say(&r, "hello");
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    end();
}

static void a_handler_may_relay_interim_responses(void)
{
    struct sl_response go_on = {.status = 100}, hints = {.status = 103};

    begin_holding();
    rig_say(&r, EXPECT);
    r.ex->forwards_continue = true;
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check(sl_buf_len(&r.got) == 0);
    sl_headers_add(&hints.headers, &r.ex->arena, SL_STR("Link"), SL_STR("</s>"));
    r.ex->ops->interim(r.ex, &hints);
    r.ex->ops->interim(r.ex, &go_on);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.got), SL_STR("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"
                                            "HTTP/1.1 100 Continue\r\n\r\n"));
    rig_say(&r, "hello");
    sl_check(!rig_is_closed(&r) && r.n_done == 1);
    end();
}

/* The client does not read, so that the interim response does not leave: the handler, who knows
 * nothing of it, answers behind it. */
static void an_answer_waits_behind_an_interim_response(void)
{
    rig_begin_with(&r, loop, 1);
    r.on_request = rig_leave_it;
    sl_stream_read(r.wire, false);
    rig_say(&r, EXPECT "hello");
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check(r.n_body_fin == 1 && r.n_done == 0);
    sl_stream_read(r.wire, true);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("100 200"));
    sl_check_str(rig_last_body(&r), SL_STR("ok"));
    sl_check(r.n_done == 1 && r.n_written == 0);
    end();
}

static void a_long_answer_waits_behind_an_interim_response(void)
{
    rig_begin_with(&r, loop, 1);
    r.on_request = rig_leave_it;
    r.on_body_end = NULL;
    sl_stream_read(r.wire, false);
    rig_say(&r, EXPECT);
    sl_exchange_read(r.ex, true);
    rig_respond(&r, 200, 10);
    sl_check(rig_write(&r, "01234", false) == SL_E_AGAIN && r.n_written == 0);
    rig_settle(&r);
    sl_check(r.n_written == 0);
    sl_stream_read(r.wire, true);
    rig_settle(&r);
    sl_check(r.n_written == 1);
    sl_check(rig_write(&r, "56789", true) == 0 || r.n_done == 0);
    rig_say(&r, "hello");
    sl_check_str(rig_statuses(&r), SL_STR("100 200"));
    sl_check_str(rig_last_body(&r), SL_STR("0123456789"));
    end();
}

static void an_upgrade_waits_behind_an_interim_response(void)
{
    struct sl_response hints = {.status = 103};

    rig_begin_with(&r, loop, 1);
    r.on_request = rig_leave_it;
    sl_stream_read(r.wire, false);
    rig_say(&r, UPGRADE);
    r.ex->ops->interim(r.ex, &hints);
    rig_respond(&r, 101, SL_LENGTH_UNKNOWN);
    sl_check(rig_write(&r, "raw", false) == SL_E_AGAIN);
    sl_check(rig_write(&r, "", true) == SL_E_AGAIN);
    sl_stream_read(r.wire, true);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("103 101"));
    sl_check_str(rig_last_body(&r), SL_STR("raw"));
    sl_check(r.n_fin == 1 && r.n_done == 0);
    sl_exchange_read(r.ex, true);
    rig_fin(&r);
    sl_check(r.n_done == 1);
    end();
}

/* --- request bodies --- */

static void a_body_waits_until_it_is_wanted(void)
{
    begin_holding();
    rig_say(&r, POST5 "he");
    rig_say(&r, "l");
    sl_check(r.n_body_calls == 0);
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.body), SL_STR("hel"));
    sl_exchange_read(r.ex, false);
    rig_say(&r, "lo");
    sl_check_str(sl_buf_str(&r.body), SL_STR("hel"));
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.body), SL_STR("hello"));
    sl_check(r.n_body_fin == 1 && r.n_done == 1 && r.ex == NULL);
    end();
}

static void pause_each_time(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    sl_exchange_read(ex, false);
    rig_on_body(ex, bytes, len, fin);
}

static void check_big_body(bool is_chunked)
{
    static const struct sl_exchange_handler pausing = {pause_each_time, rig_on_written, rig_on_done,
                                                       rig_on_abort};
    enum { PART = 50000, N_PARTS = 40 };
    static char part[PART];
    size_t max_step = 0;

    memset(part, 'p', sizeof(part));
    begin_holding();
    rig_send(
        &r, sl_arena_printf(&r.arena, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n",
                            is_chunked ? "Transfer-Encoding: chunked" : "Content-Length: 2000000"));
    r.ex->handler = &pausing;
    for (int i = 0; i < N_PARTS; i++) {
        if (is_chunked)
            rig_say(&r, "C350\r\n"); /* 50,000 */
        rig_send(&r, sl_str(part, sizeof(part)));
        if (is_chunked)
            rig_say(&r, "\r\n");
    }
    if (is_chunked)
        rig_say(&r, "0\r\n\r\n");
    sl_check(r.n_body_calls == 0);
    while (r.n_body_fin == 0) {
        size_t before = sl_buf_len(&r.body);
        int n_calls = r.n_body_calls;

        sl_exchange_read(r.ex, true);
        rig_settle(&r);
        sl_check(r.n_body_calls == n_calls + 1); /* a pause is a pause */
        max_step = SL_MAX(max_step, sl_buf_len(&r.body) - before);
    }
    sl_check(sl_buf_len(&r.body) == PART * N_PARTS && max_step <= SL_SCRATCH_LEN);
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    end();
}

/* --- answers that come early --- */

static void an_unread_body_is_swallowed(void)
{
    begin_holding();
    rig_say(&r, POST5 "he");
    rig_answer(&r);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(r.n_done == 0); /* the request has not ended */
    rig_say(&r, "llo");
    sl_check(r.n_done == 1 && r.n_body_calls == 0 && !rig_is_closed(&r));
    rig_say(&r, GET);
    sl_check(r.n_requests == 2);
    rig_answer(&r);
    rig_settle(&r);
    end();
}

static void a_large_unread_body_is_not(void)
{
    static char junk[3000];

    begin_holding();
    r.service.limits.max_discard = 2000;
    rig_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    rig_answer(&r);
    rig_settle(&r);
    rig_send(&r, sl_str(junk, 1500));
    sl_check(!rig_is_closed(&r));
    rig_send(&r, sl_str(junk, 1500));
    sl_check(rig_is_closed(&r) && r.n_fin == 1 && r.n_done == 1 && r.n_abort == 0);
    end();
}

/* Without keep-alive nobody waits for the rest of the request. */
static void an_answer_to_a_request_that_closes(void)
{
    begin_holding();
    rig_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 99\r\n\r\n");
    rig_answer(&r);
    rig_settle(&r);
    sl_check(r.n_done == 1 && r.n_fin == 1 && r.n_error == 0);
    end();
}

static void a_swallowed_body_may_be_bad(void)
{
    begin_holding();
    rig_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    rig_answer(&r);
    rig_settle(&r);
    rig_say(&r, "0x5\r\n");
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(r.n_abort == 1 && r.n_closed == 1);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    connections_go_on_as_asked();
    a_connection_has_a_number_of_requests();
    check_pipelined(false);
    check_pipelined(true);
    the_next_request_waits_for_the_answer();
    bytes_that_were_read_before();
    for (size_t i = 0; i < SL_COUNT(forms); i++)
        check_form(i);
    a_body_in_parts_with_trailers();
    headers_of_one_connection_stay_there();
    upgrade_required();
    check_wrong_length("", "hello!", false);
    check_wrong_length("hell", "oo", true);
    check_wrong_length("hell", "", true);
    errors_are_told_in_the_clients_language();
    continue_is_said_when_the_body_is_wanted();
    who_was_not_told_to_continue_is_cut();
    who_sends_the_body_anyway_goes_on();
    old_clients_get_no_interim_response();
    a_handler_may_relay_interim_responses();
    an_answer_waits_behind_an_interim_response();
    a_long_answer_waits_behind_an_interim_response();
    an_upgrade_waits_behind_an_interim_response();
    a_body_waits_until_it_is_wanted();
    check_big_body(false);
    check_big_body(true);
    an_unread_body_is_swallowed();
    a_large_unread_body_is_not();
    an_answer_to_a_request_that_closes();
    a_swallowed_body_may_be_bad();
    sl_loop_free(loop);
    return sl_check_done();
}
