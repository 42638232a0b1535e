/*
 * How exchanges and their connections end: the client goes, the handler gives up, time runs out,
 * the server is told to stop. And the raw channels that upgrades become.
 */
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

/* --- the client goes --- */

static const struct {
    const char *sent;
    int n_handled;
    bool is_reset; /* else an orderly end */
} leavings[] = {
    {"", 0, false},        {"GET / HT", 0, false}, {"GET / HTTP/1.1\r\nHost", 0, false},
    {POST5 "he", 1, true}, {EXPECT, 1, true},
};

static void it_closes_its_side(size_t i)
{
    begin_holding();
    rig_say(&r, leavings[i].sent);
    sl_check(r.n_requests == leavings[i].n_handled);
    if (r.ex != NULL)
        sl_exchange_read(r.ex, true);
    rig_settle(&r);
    rig_fin(&r);
    sl_check(r.n_closed == 1 && !rig_got(&r, "HTTP/1.1 4"));
    sl_check(r.n_error == leavings[i].is_reset && r.n_fin == !leavings[i].is_reset);
    sl_check(r.n_abort == leavings[i].n_handled && r.n_body_fin == 0);
    end();
}

static void it_is_reset(size_t i)
{
    begin_holding();
    rig_say(&r, leavings[i].sent);
    if (r.ex != NULL)
        sl_exchange_read(r.ex, true);
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    rig_settle(&r);
    sl_check(r.n_closed == 1 && r.n_abort == leavings[i].n_handled);
    sl_check(r.n_abort == 0 || r.abort_code == SL_E_RESET);
    end();
}

static void a_half_closed_client_gets_its_answer(void)
{
    begin_holding();
    rig_say(&r, GET);
    rig_fin(&r);
    sl_check(r.ex != NULL && r.n_abort == 0);
    rig_answer(&r);
    rig_settle(&r);
    sl_check_str(rig_last_body(&r), SL_STR("ok"));
    sl_check(r.n_done == 1 && r.n_fin == 1 && r.n_error == 0);
    end();
}

static void a_half_closed_client_gets_all_its_answers(void)
{
    begin();
    sl_check(sl_stream_write1(r.wire, GET GET, strlen(GET GET), true) == 0);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    sl_check(r.n_fin == 1 && r.n_error == 0);
    end();
}

static void a_client_that_stops_sending_keeps_its_early_answer(void)
{
    begin_holding();
    rig_say(&r, POST5 "he");
    rig_answer(&r);
    rig_settle(&r);
    rig_fin(&r);
    sl_check_str(rig_last_body(&r), SL_STR("ok"));
    sl_check(r.n_done == 1 && r.n_error == 0 && r.n_fin == 1);
    end();
}

static void it_goes_while_the_answer_is_written(void)
{
    begin_holding();
    rig_say(&r, GET);
    rig_respond(&r, 200, 10);
    sl_check(rig_write(&r, "01234", false) == 0);
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    rig_settle(&r);
    sl_check(r.n_abort == 1 && r.abort_code == SL_E_RESET && r.n_done == 0);
    end();
}

/* --- the handler gives up --- */

static void give_up(struct rig *rig)
{
    sl_exchange_abort(rig->ex);
    rig->ex = NULL;
    rig->n_abort++;
}

static void check_given_up(void)
{
    sl_check(r.n_requests == 1 && r.n_done == 0 && r.n_abort == 1 && r.n_closed == 1);
    sl_check(r.n_error == 1 && sl_buf_len(&r.got) == 0);
    end();
}

static void the_handler_gives_up(void)
{
    begin();
    r.on_request = give_up;
    rig_say(&r, POST5 "hello" GET);
    check_given_up();
    begin();
    r.on_body_end = give_up;
    rig_say(&r, POST5 "hello" GET);
    check_given_up();
    begin_holding();
    rig_say(&r, GET GET);
    rig_respond(&r, 200, 5); /* a staged head is forgotten */
    give_up(&r);
    rig_settle(&r);
    check_given_up();
}

/* --- raw channels --- */

static void begin_raw(void)
{
    begin_holding();
    r.on_body_end = NULL;
    rig_say(&r, UPGRADE "early ");
    sl_check_str(r.ex->req.upgrade, SL_STR("websocket"));
    rig_respond(&r, 101, SL_LENGTH_UNKNOWN);
    sl_check(rig_write(&r, "", false) == 0);
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("101"));
    sl_check(rig_got(&r, "Connection: upgrade\r\n") && !rig_got(&r, "Content-Length"));
    sl_check_str(sl_buf_str(&r.body), SL_STR("early "));
}

static void bytes_go_both_ways(void)
{
    begin_raw();
    rig_say(&r, "GET / HTTP/1.1\r\n\r\n"); /* means nothing any more */
    sl_check(rig_write(&r, "HTTP?", false) == 0);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.body), SL_STR("early GET / HTTP/1.1\r\n\r\n"));
    sl_check_str(rig_last_body(&r), SL_STR("HTTP?"));
    sl_check(!r.ex->request_ended && r.n_requests == 1);
    end();
}

static void the_client_ends_first(void)
{
    begin_raw();
    rig_say(&r, "bye");
    rig_fin(&r);
    sl_check(r.n_body_fin == 1 && r.ex != NULL && r.ex->request_ended && r.n_closed == 0);
    sl_check(rig_write(&r, "more", false) == 0);
    rig_settle(&r);
    sl_check_str(rig_last_body(&r), SL_STR("more"));
    sl_check(rig_write(&r, "", true) == 0);
    rig_settle(&r);
    sl_check(r.n_done == 1 && r.n_fin == 1 && r.n_error == 0 && r.n_closed == 1);
    end();
}

static void the_client_ended_before_the_upgrade(const char *early)
{
    begin_holding();
    r.on_body_end = NULL;
    rig_say(&r, UPGRADE);
    rig_say(&r, early);
    rig_fin(&r);
    sl_check(r.n_closed == 0);
    rig_respond(&r, 101, SL_LENGTH_UNKNOWN);
    sl_check(rig_write(&r, "", false) == 0);
    rig_settle(&r);
    sl_check(r.n_body_fin == 0); /* nobody reads */
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.body), sl_str_c(early));
    sl_check(r.n_body_fin == 1 && r.ex != NULL && r.ex->request_ended);
    sl_check(rig_write(&r, "", true) == 0);
    rig_settle(&r);
    sl_check(r.n_done == 1 && r.n_fin == 1 && r.n_error == 0 && r.n_closed == 1);
    end();
}

static void the_handler_ends_first(void)
{
    begin_raw();
    sl_check(rig_write(&r, "bye", true) == 0);
    rig_settle(&r);
    sl_check(r.n_fin == 1 && r.n_done == 0 && r.ex != NULL);
    rig_say(&r, "more");
    sl_check_str(sl_buf_str(&r.body), SL_STR("early more"));
    rig_fin(&r);
    sl_check(r.n_done == 1 && r.n_error == 0 && r.n_closed == 1);
    end();
}

static void a_paused_raw_channel_hears_nothing(void)
{
    begin_raw();
    sl_exchange_read(r.ex, false);
    rig_say(&r, "one ");
    rig_say(&r, "two");
    sl_check_str(sl_buf_str(&r.body), SL_STR("early "));
    sl_exchange_read(r.ex, true);
    rig_settle(&r);
    sl_check_str(sl_buf_str(&r.body), SL_STR("early one two"));
    end();
}

static void a_raw_channel_is_reset(void)
{
    begin_raw();
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    rig_settle(&r);
    sl_check(r.n_abort == 1 && r.n_closed == 1);
    end();
    begin_raw();
    give_up(&r);
    rig_settle(&r);
    sl_check(r.n_error == 1);
    end();
}

static void a_refused_upgrade_is_a_request(void)
{
    begin_holding();
    rig_say(&r, UPGRADE GET);
    rig_answer(&r);
    rig_settle(&r);
    sl_check(r.n_requests == 2);
    rig_answer(&r);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    end();
}

/* --- deadlines --- */

static void expect_408(int n_handled)
{
    sl_check_str(rig_statuses(&r), SL_STR("408"));
    sl_check(r.n_fin == 1 && r.n_closed == 1 && r.n_requests == n_handled);
    sl_check(r.n_abort == n_handled && (n_handled == 0 || r.abort_code == SL_E_TIMEOUT));
    end();
}

static void a_head_has_a_deadline(void)
{
    begin(); /* nothing at all */
    rig_pass(&r, 9900);
    sl_check(!rig_is_closed(&r));
    rig_pass(&r, 500);
    expect_408(0);
    begin(); /* LM-04: a byte now and then */
    for (const char *p = "GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyy"; *p != '\0';
         p++) {
        rig_send(&r, sl_str(p, 1));
        rig_pass(&r, 500);
    }
    expect_408(0);
}

static void a_body_has_a_deadline(void)
{
    begin(); /* LM-05 */
    rig_say(&r, POST5);
    rig_pass(&r, 29000);
    sl_check(!rig_is_closed(&r));
    rig_pass(&r, 2000);
    expect_408(1);
    begin(); /* each byte moves it */
    r.service.limits.min_body_rate = 0;
    rig_say(&r, POST5);
    for (int i = 0; i < 5; i++) {
        rig_pass(&r, 25000);
        rig_say(&r, "x");
    }
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    end();
    begin_holding(); /* nobody wants it: no deadline */
    rig_say(&r, POST5);
    rig_pass(&r, 100000);
    sl_check(r.ex != NULL && !rig_is_closed(&r));
    end();
}

static void post_of(int length)
{
    char head[100];

    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
             length);
    rig_say(&r, head);
}

/* One byte now and then holds the connection no longer than silence does. */
static void a_body_has_a_pace(void)
{
    int n = 0;

    begin();
    post_of(1000);
    for (; n < 20 && r.n_refused == 0; n++) {
        rig_pass(&r, 4000);
        rig_say(&r, "x");
    }
    sl_check(n >= 7 && n <= 9);
    expect_408(1);
    begin(); /* what comes first buys no more time than body_timeout */
    post_of(100000);
    for (int i = 0; i < 50; i++)
        rig_say(&r, "0123456789012345678901234567890123456789012345678901234567890123456789"
                    "012345678901234567890123456789");
    rig_pass(&r, 29000);
    sl_check(!rig_is_closed(&r));
    rig_say(&r, "x");
    rig_pass(&r, 2000);
    expect_408(1);
}

/* As fast as it has to be, for ever. */
static void a_steady_body(void)
{
    begin();
    post_of(60 * 1000);
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < 100; k++)
            rig_say(&r, "0123456789");
        rig_pass(&r, 4000);
    }
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    end();
}

/* A handler that is slow is no fault of the client's. */
static void time_that_nobody_waits_is_free(void)
{
    begin_holding();
    post_of(1000);
    sl_exchange_read(r.ex, true);
    for (int i = 0; i < 20; i++) {
        rig_say(&r, "0123456789");
        sl_exchange_read(r.ex, false);
        rig_pass(&r, 20000);
        sl_exchange_read(r.ex, true);
        rig_pass(&r, 30);
    }
    sl_check(r.ex != NULL && !rig_is_closed(&r));
    end();
}

static void the_handler_has_all_the_time(void)
{
    begin_holding();
    rig_say(&r, GET);
    rig_pass(&r, 1000000);
    sl_check(r.ex != NULL);
    rig_answer(&r);
    rig_settle(&r);
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    end();
}

static void an_idle_connection_ends_without_a_word(void)
{
    begin();
    rig_say(&r, GET);
    rig_pass(&r, 59000);
    sl_check(!rig_is_closed(&r));
    rig_say(&r, GET);
    rig_pass(&r, 59000);
    rig_say(&r, "\r\n\r\n"); /* empty lines are no request */
    rig_pass(&r, 2000);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    sl_check(r.n_fin == 1 && r.n_closed == 1 && r.n_refused == 0);
    end();
}

/* The time for a head begins with it, not when the connection became idle. */
static void the_second_head_has_its_own_deadline(void)
{
    begin();
    rig_say(&r, GET);
    rig_pass(&r, 55000);
    rig_say(&r, "GET");
    rig_pass(&r, 8000);
    rig_say(&r, " / HTTP/1.1\r\nHost: a\r\n\r\n");
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    rig_say(&r, "GET / HT");
    rig_pass(&r, 11000);
    sl_check_str(rig_statuses(&r), SL_STR("200 200 408"));
    end();
}

/* LM-07; what the client sends meanwhile buys no time. */
static void who_does_not_read_is_cut(void)
{
    static char big[4000];

    rig_begin_with(&r, loop, 1000);
    r.on_request = rig_leave_it;
    rig_say(&r, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    sl_stream_read(r.wire, false);
    sl_exchange_read(r.ex, true);
    rig_respond(&r, 200, 8000);
    memset(big, 'b', sizeof(big) - 1);
    sl_check(rig_write(&r, big, false) == SL_E_AGAIN);
    for (int i = 0; i < 59; i++) {
        rig_pass(&r, 1000);
        rig_say(&r, "x");
    }
    sl_check(r.n_abort == 0);
    rig_pass(&r, 2000);
    sl_check(r.n_abort == 1 && r.abort_code == SL_E_TIMEOUT && r.n_closed == 1);
    end();
}

static void who_reads_slowly_is_not(void)
{
    static char big[4000];

    rig_begin_with(&r, loop, 1000);
    r.on_request = rig_leave_it;
    rig_say(&r, GET);
    memset(big, 'b', sizeof(big) - 1);
    rig_respond(&r, 200, 10 * (sizeof(big) - 1));
    for (int i = 0; i < 10; i++) {
        sl_stream_read(r.wire, false);
        sl_check(rig_write(&r, big, i == 9) == SL_E_AGAIN);
        rig_pass(&r, 50000);
        sl_stream_read(r.wire, true);
        rig_settle(&r);
    }
    sl_check(r.n_done == 1 && r.n_abort == 0);
    end();
}

static void an_early_answer_is_not_spoilt_by_the_deadline(void)
{
    begin_holding();
    rig_say(&r, POST5);
    rig_answer(&r);
    rig_settle(&r);
    rig_pass(&r, 31000); /* the body never comes */
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(r.n_done == 1 && r.n_fin == 1 && r.n_error == 0 && r.n_refused == 0);
    end();
}

static void a_raw_channel_has_a_deadline(void)
{
    begin_raw();
    rig_pass(&r, 3599000);
    rig_say(&r, "x");
    rig_pass(&r, 3599000);
    sl_check(rig_write(&r, "y", false) == 0);
    rig_pass(&r, 3599000);
    sl_check(r.ex != NULL);
    rig_pass(&r, 2000);
    sl_check(r.n_abort == 1 && r.abort_code == SL_E_TIMEOUT);
    end();
    begin_raw();
    sl_check(rig_write(&r, "", true) == 0);
    rig_pass(&r, 61000); /* we have said all; the client does not end */
    sl_check(r.n_abort == 1 && r.n_closed == 1);
    end();
}

/* --- draining and killing --- */

static void drain(void)
{
    sl_http_conn_drain(r.conn);
    rig_settle(&r);
}

static void an_idle_connection_is_drained_at_once(void)
{
    begin();
    rig_say(&r, GET);
    drain();
    sl_check(r.n_closed == 1 && r.n_fin == 1 && r.n_error == 0);
    end();
}

static void a_busy_one_after_its_exchange(void)
{
    begin_holding();
    rig_say(&r, POST5 "he");
    drain();
    sl_check(r.n_closed == 0);
    sl_exchange_read(r.ex, true);
    rig_say(&r, "llo" GET);
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(rig_got(&r, "Connection: close\r\n") && r.n_closed == 1 && r.n_done == 1);
    sl_check(r.n_requests == 1 && r.n_error == 0);
    end();
    begin_holding(); /* the head is out already */
    rig_say(&r, GET);
    rig_respond(&r, 200, 5);
    sl_check(rig_write(&r, "he", false) == 0);
    drain();
    sl_check(rig_write(&r, "llo", true) == 0);
    rig_settle(&r);
    sl_check_str(rig_last_body(&r), SL_STR("hello"));
    sl_check(r.n_closed == 1 && r.n_fin == 1);
    end();
}

static void half_a_head_is_waited_for(void)
{
    begin();
    rig_say(&r, "GET / HTTP/1.1\r\n");
    drain();
    sl_check(r.n_closed == 0);
    rig_say(&r, "Host: a\r\n\r\n");
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(r.n_closed == 1 && rig_got(&r, "Connection: close\r\n"));
    end();
}

enum { GRACE = 3000 };

static void begin_with_grace(void)
{
    begin();
    r.service.drain_grace = GRACE;
}

/* The client may have sent a request before it could know. */
static void a_grace_is_for_one_request_more(const char *before)
{
    begin_with_grace();
    rig_say(&r, before);
    drain();
    rig_pass(&r, GRACE - 500);
    sl_check(r.n_closed == 0 && !rig_got(&r, "Connection: close\r\n"));
    sl_buf_reset(&r.got);
    rig_say(&r, GET GET);
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check(rig_got(&r, "Connection: close\r\n") && r.n_closed == 1 && r.n_error == 0);
    end();
}

static void a_grace_ends(const char *before)
{
    begin_with_grace();
    rig_say(&r, before);
    drain();
    sl_buf_reset(&r.got);
    rig_pass(&r, GRACE + 500);
    sl_check(r.n_closed == 1 && r.n_fin == 1 && sl_buf_len(&r.got) == 0);
    end();
}

/* The client was told that the connection stays, and may use it. */
static void a_grace_is_for_who_was_promised_more(void)
{
    begin_with_grace();
    r.on_request = rig_leave_it;
    rig_say(&r, GET);
    rig_respond(&r, 200, 5);
    sl_check(rig_write(&r, "he", false) == 0);
    drain();
    sl_check(rig_write(&r, "llo", true) == 0);
    rig_settle(&r);
    sl_check(r.n_closed == 0 && !rig_got(&r, "Connection: close\r\n"));
    r.on_request = rig_default_request;
    rig_say(&r, GET);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    sl_check(rig_got(&r, "Connection: close\r\n") && r.n_closed == 1);
    end();
}

static void killed_at_once(const char *sent)
{
    int n_handled;

    begin_holding();
    rig_say(&r, sent);
    n_handled = r.n_requests;
    sl_http_conn_kill(r.conn);
    sl_check(r.n_closed == 1 && r.conn == NULL && r.n_abort == n_handled);
    rig_settle(&r);
    sl_check(r.n_error == 1 && r.n_closed == 1);
    end();
}

static void kill_in_callback(struct rig *rig)
{
    sl_http_conn_kill(rig->conn);
}

static void killed_inside_a_callback(void)
{
    begin();
    r.on_request = kill_in_callback;
    rig_say(&r, GET GET);
    sl_check(r.n_requests == 1 && r.n_abort == 1);
    end();
    begin();
    r.on_body_end = kill_in_callback;
    rig_say(&r, POST5 "hello" GET);
    sl_check(r.n_requests == 1 && r.n_abort == 1);
    end();
    begin();
    r.on_done = kill_in_callback;
    r.on_request = rig_default_request;
    rig_say(&r, GET GET);
    sl_check(r.n_requests == 1 && r.n_done == 1 && r.n_abort == 0);
    end();
}

static void killed_while_closing(void)
{
    begin();
    rig_say(&r, GET);
    sl_http_conn_drain(r.conn); /* its end is told at the end of the turn */
    if (r.conn != NULL)
        sl_http_conn_kill(r.conn);
    sl_check(r.n_closed == 1);
    rig_settle(&r);
    sl_check(r.n_closed == 1);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    for (size_t i = 0; i < SL_COUNT(leavings); i++) {
        it_closes_its_side(i);
        it_is_reset(i);
    }
    a_half_closed_client_gets_its_answer();
    a_half_closed_client_gets_all_its_answers();
    a_client_that_stops_sending_keeps_its_early_answer();
    it_goes_while_the_answer_is_written();
    the_handler_gives_up();
    bytes_go_both_ways();
    the_client_ends_first();
    the_handler_ends_first();
    the_client_ended_before_the_upgrade("early ");
    the_client_ended_before_the_upgrade("");
    a_paused_raw_channel_hears_nothing();
    a_raw_channel_is_reset();
    a_refused_upgrade_is_a_request();
    a_head_has_a_deadline();
    a_body_has_a_deadline();
    a_body_has_a_pace();
    a_steady_body();
    time_that_nobody_waits_is_free();
    the_handler_has_all_the_time();
    an_idle_connection_ends_without_a_word();
    the_second_head_has_its_own_deadline();
    who_does_not_read_is_cut();
    who_reads_slowly_is_not();
    an_early_answer_is_not_spoilt_by_the_deadline();
    a_raw_channel_has_a_deadline();
    an_idle_connection_is_drained_at_once();
    a_busy_one_after_its_exchange();
    half_a_head_is_waited_for();
    a_grace_is_for_one_request_more("");
    a_grace_is_for_one_request_more(GET);
    a_grace_ends("");
    a_grace_ends(GET);
    a_grace_is_for_who_was_promised_more();
    killed_at_once("");
    killed_at_once("GET /");
    killed_at_once(GET);
    killed_at_once(POST5 "he");
    killed_inside_a_callback();
    killed_while_closing();
    sl_loop_free(loop);
    return sl_check_done();
}
