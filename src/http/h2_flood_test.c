/*
 * Frames that cost a server more than the client: each kind has its budget, an honest client never
 * overdraws one, and what waits is bounded.
 */
#include "http/test_h2.h"

static struct sl_loop *loop;
static struct h2_rig r;

static void begin_with(void (*on_request)(struct h2_rig *, struct sl_exchange *))
{
    r.on_request = on_request;
    r.service.limits = sl_http_limits_default;
    r.service.limits.max_resets = r.service.limits.max_pings = r.service.limits.max_settings =
        r.service.limits.max_priorities = r.service.limits.max_empty_data =
            r.service.limits.max_window_updates = 20;
    h2_begin(&r, loop);
}

static bool seen_ends_in(const char *tail)
{
    struct sl_str seen = h2_seen(&r);

    if (!sl_str_ends(seen, sl_str_c(tail)))
        fprintf(stderr, "got \"%.*s\", want it to end in \"%s\"\n", SL_STR_FMT(seen), tail);
    return sl_str_ends(seen, sl_str_c(tail));
}

/* The connection is gone, and the log says once why. */
static void check_calmed(uint32_t last, const char *why)
{
    char goaway[60];

    snprintf(goaway, sizeof(goaway), "GOAWAY(%u,ENHANCE_YOUR_CALM)", last);
    sl_check(seen_ends_in(goaway));
    sl_check(h2_is_closed(&r) && r.n_refused == 1 && r.refused_status == 429);
    sl_check_str(sl_buf_str(&r.why), sl_str_c(why));
    h2_end(&r);
}

/* CVE-2023-44487: open and reset. */
static void a_rapid_reset(void)
{
    uint32_t id = 1;

    begin_with(h2_leave_it);
    for (int i = 0; i < 20; i++, id += 2) {
        h2_get(&r, id, "/");
        h2_number(&r, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
    }
    sl_check(r.conn != NULL && r.n_abort == 20);
    h2_get(&r, id, "/");
    h2_number(&r, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
    check_calmed(id, "too many streams were reset");
}

/* H2-22, CVE-2025-8671: make the server reset. Both kinds count together. */
static void a_reset_that_the_server_was_made_to_send(void)
{
    struct sl_buf fields = {0};
    uint32_t id = 1;

    begin_with(h2_leave_it);
    for (int i = 0; i < 7; i++, id += 6) {
        h2_get(&r, id, "/");
        h2_number(&r, NGHTTP2_WINDOW_UPDATE, id, 0x7fffffff); /* its window is above 2^31 then */
        h2_put_request(&fields, "GET", "/");
        h2_put_field(&fields, "te", "gzip");
        h2_head(&r, id + 2, FIN, &fields);
        h2_get(&r, id + 4, "/");
        sl_check(r.n_abort == (i < 6 || r.conn != NULL ? 2 * i + 1 : r.n_requests));
        h2_number(&r, NGHTTP2_RST_STREAM, id + 4, NGHTTP2_CANCEL);
    }
    check_calmed(id - 2, "too many streams were reset");
}

static void refused_streams_count_too(void)
{
    r.service.limits = sl_http_limits_default;
    begin_with(h2_leave_it);
    r.service.limits.max_streams = 1;
    for (uint32_t id = 1; id < 2 * 23; id += 2)
        h2_get(&r, id, "/");
    sl_check(r.n_requests == 1);
    check_calmed(43, "too many streams were reset");
}

/* H2-23, CVE-2024-28182. */
static void heads_without_end(void)
{
    static const char *const pieces[] = {"\x82", ""};

    for (size_t k = 0; k < SL_COUNT(pieces); k++) {
        struct sl_buf all = {0};

        begin_with(h2_leave_it);
        h2_put(&all, NGHTTP2_HEADERS, 0, 1, "\x82", 1);
        for (int i = 0; i < 10000; i++)
            h2_put(&all, NGHTTP2_CONTINUATION, 0, 1, pieces[k], strlen(pieces[k]));
        h2_send_buf(&r, &all);
        check_calmed(1, "Too many CONTINUATION frames following a HEADER frame");
    }
}

static void flood(int type, int flags, uint32_t id, const char *payload, size_t len, int n)
{
    for (int i = 0; i < n; i++)
        h2_frame(&r, type, flags, id, payload, len);
}

static void control_frames(void)
{
    begin_with(h2_leave_it);
    flood(NGHTTP2_PING, 0, 0, "12345678", 8, 20);
    sl_check(r.conn != NULL);
    flood(NGHTTP2_PING, 0, 0, "12345678", 8, 1);
    check_calmed(0, "too many PING frames");

    begin_with(h2_leave_it);
    flood(NGHTTP2_SETTINGS, 0, 0, NULL, 0, 18); /* two came with the preface */
    sl_check(r.conn != NULL);
    flood(NGHTTP2_SETTINGS, 0, 0, NULL, 0, 1);
    check_calmed(0, "too many SETTINGS frames");

    begin_with(h2_leave_it);
    flood(NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5, 10);
    flood(0x10, 0, 0, "\0\0\0\1u=1", 7, 10);
    sl_check(r.conn != NULL);
    flood(NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5, 1);
    check_calmed(0, "too many PRIORITY frames");
}

static void empty_data(void)
{
    begin_with(h2_read_then_answer);
    h2_request(&r, 1, "POST", "/", 0);
    flood(NGHTTP2_DATA, 0, 1, NULL, 0, 10);
    flood(NGHTTP2_DATA, PADDED, 1, "\3\0\0\0", 4, 10); /* nothing but padding */
    sl_check(r.conn != NULL);
    flood(NGHTTP2_DATA, 0, 1, NULL, 0, 1);
    check_calmed(1, "too many empty DATA frames");
}

static void window_updates(void)
{
    begin_with(h2_leave_it);
    flood(NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4, 20);
    sl_check(r.conn != NULL);
    flood(NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4, 1);
    check_calmed(0, "too many WINDOW_UPDATE frames");
}

static void large_settings(void)
{
    char entries[33 * 6];

    for (size_t i = 0; i < sizeof(entries); i++)
        entries[i] = i % 6 == 1 ? 0x77 : 0;
    begin_with(h2_leave_it);
    flood(NGHTTP2_SETTINGS, 0, 0, entries, 32 * 6, 1);
    sl_check(r.conn != NULL);
    flood(NGHTTP2_SETTINGS, 0, 0, entries, sizeof(entries), 1);
    sl_check(seen_ends_in("GOAWAY(0,ENHANCE_YOUR_CALM)") && h2_is_closed(&r));
    h2_end(&r);
}

/* Answers that the client does not read are not collected without end. */
static void unread_answers(void)
{
    r.service.limits = sl_http_limits_default;
    r.service.limits.max_pings = 1 << 20;
    r.service.limits.max_unread_acks = 50;
    h2_begin_quiet(&r, loop, 100);
    h2_greet(&r);
    sl_stream_read(r.wire, false);
    for (int i = 0; i < 100 && !r.wire->is_writing; i++)
        h2_frame(&r, NGHTTP2_PING, 0, 0, "12345678", 8);
    sl_stream_read(r.wire, true);
    h2_settle(&r);
    sl_check(seen_ends_in("GOAWAY(0,ENHANCE_YOUR_CALM)") && h2_is_closed(&r));
    h2_end(&r);
}

/* Budgets are for a minute. */
static void budgets_come_back(void)
{
    begin_with(h2_leave_it);
    for (int k = 0; k < 5; k++) {
        h2_get(&r, (uint32_t)(2 * k + 1), "/"); /* not idle */
        flood(NGHTTP2_PING, 0, 0, "12345678", 8, 20);
        h2_pass(&r, 61 * 1000);
    }
    sl_check(r.conn != NULL && r.n_refused == 0);
    h2_end(&r);
}

/* A client that updates both windows for every frame that it gets, small as it may be. */
static void an_honest_client_is_never_calmed(void)
{
    static char big[16384];

    begin_with(h2_read_then_answer);
    for (uint32_t id = 1; id < 2000; id += 2) {
        h2_get(&r, id, "/");
        h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, 2);
    }
    sl_check(r.conn != NULL && r.n_done == 1000);
    r.on_request = h2_leave_it;
    h2_get(&r, 2001, "/");
    h2_respond(r.ex[1000], 200, SL_LENGTH_UNKNOWN);
    for (int i = 0; i < 500; i++) {
        sl_check(h2_write(r.ex[1000], big, sizeof(big), false) == 0);
        h2_settle(&r);
        h2_number(&r, NGHTTP2_WINDOW_UPDATE, 2001, sizeof(big));
        h2_number(&r, NGHTTP2_WINDOW_UPDATE, 0, sizeof(big));
    }
    (void)h2_seen(&r);
    sl_check(r.conn != NULL && sl_buf_len(&r.body) == 2000 + 500 * sizeof(big));
    h2_end(&r);
}

/* H2-25: a hundred large answers into windows that open byte by byte. */
static void a_data_dribble(void)
{
    static char big[100 * 1024];
    uint64_t passed = 0;
    int n_full = 0;

    r.service.limits = sl_http_limits_default;
    r.service.limits.max_window_updates = UINT32_MAX;
    r.on_request = h2_leave_it;
    h2_begin_quiet(&r, loop, H2_PIPE);
    h2_greet(&r);
    h2_setting(&r, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1);
    for (uint32_t id = 1; id < 200; id += 2) {
        h2_get(&r, id, "/");
        h2_respond(r.ex[id / 2], 200, SL_LENGTH_UNKNOWN);
        n_full += h2_write(r.ex[id / 2], big, sizeof(big), false) == SL_E_AGAIN;
    }
    sl_check(n_full == 100); /* nobody may write more */
    for (; r.n_abort < 100 && passed < 100 * 1000; passed += 2000) {
        for (uint32_t id = 1; id < 200; id += 2)
            h2_number(&r, NGHTTP2_WINDOW_UPDATE, id, 1);
        h2_pass(&r, 2000);
    }
    sl_check(r.n_abort == 100 && r.abort_code == SL_E_TIMEOUT);
    sl_check(passed <= r.service.limits.write_timeout + 4000);
    sl_check(r.conn != NULL && r.n_written == 0);
    h2_end(&r);
}

/* The log says why even when no GOAWAY got through. */
static void a_flood_of_one_who_reads_nothing_and_leaves(void)
{
    static char big[20000];

    r.on_request = h2_leave_it;
    r.service.limits = sl_http_limits_default;
    r.service.limits.max_settings = 20;
    h2_begin_quiet(&r, loop, 1000);
    h2_greet(&r);
    h2_get(&r, 1, "/");
    sl_stream_read(r.wire, false);
    h2_respond(r.ex[0], 200, sizeof(big));
    (void)h2_write(r.ex[0], big, sizeof(big), true);
    for (int i = 0; i < 21; i++)
        h2_frame(&r, NGHTTP2_SETTINGS, 0, 0, "", 0);
    sl_stream_free(&r.wire, SL_CLOSE_ABORT);
    h2_settle(&r);
    sl_check(r.n_closed == 1 && r.n_refused == 1 && r.refused_status == 429);
    sl_check_str(sl_buf_str(&r.why), SL_STR("too many SETTINGS frames"));
    h2_end(&r);
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    a_rapid_reset();
    a_reset_that_the_server_was_made_to_send();
    refused_streams_count_too();
    heads_without_end();
    control_frames();
    empty_data();
    window_updates();
    large_settings();
    unread_answers();
    budgets_come_back();
    an_honest_client_is_never_calmed();
    a_data_dribble();
    a_flood_of_one_who_reads_nothing_and_leaves();
    sl_loop_free(loop);
    return sl_check_done();
}
