#include "http/test_ws.h"

static struct sl_loop *loop;

static struct sl_ws_opts options(bool is_client)
{
    struct sl_ws_opts opts = sl_ws_opts_default;

    opts.is_client = is_client;
    return opts;
}

static void begin(struct ws_rig *r, bool is_client)
{
    struct sl_ws_opts opts = options(is_client);

    ws_rig_begin(r, loop, &opts);
}

/* Compares what was heard, and forgets it. */
#define check_heard(r, text)                                                                       \
    do {                                                                                           \
        sl_check_str(sl_buf_str(&(r)->heard), SL_STR(text));                                       \
        sl_buf_reset(&(r)->heard);                                                                 \
    } while (0)

/* Compares the frame that an unmasked end wrote, and forgets it. */
static void check_out(struct ws_rig *r, uint8_t first, struct sl_str payload)
{
    struct sl_buf want = {0};

    ws_rig_put(&want, first, false, payload);
    sl_check_str(sl_buf_str(&r->out), sl_buf_str(&want));
    sl_buf_reset(&r->out);
    sl_buf_clear(&want);
}

/* --- messages --- */

static void messages_arrive(bool is_client)
{
    struct ws_rig r;

    begin(&r, is_client);
    ws_rig_frame(&r, 0x81, SL_STR("hello"));
    ws_rig_frame(&r, 0x82, SL_STR("\0\xff"));
    ws_rig_frame(&r, 0x81, SL_STR(""));
    check_heard(&r, "text:hello|binary:\0\xff|text:|");
    sl_check(r.is_reading && sl_ws_is_open(r.ws));
    ws_rig_end(&r);
}

static void every_length_arrives(void)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 4096, 65535, 65536, 300000};
    static char bytes[300000];
    struct ws_rig r;

    memset(bytes, 'x', sizeof(bytes));
    begin(&r, false);
    for (size_t i = 0; i < SL_COUNT(lengths); i++) {
        ws_rig_frame(&r, 0x82, sl_str(bytes, lengths[i]));
        sl_check(sl_buf_len(&r.heard) == lengths[i] + strlen("binary:|"));
        sl_buf_reset(&r.heard);
    }
    ws_rig_end(&r);
}

static void a_byte_at_a_time_is_the_same(void)
{
    struct sl_buf b = {0};
    struct ws_rig r;

    ws_rig_put(&b, 0x01, true, SL_STR("gr\xc3"));
    ws_rig_put(&b, 0x89, true, SL_STR("are you there"));
    ws_rig_put(&b, 0x00, true, SL_STR(""));
    ws_rig_put(&b, 0x80, true, SL_STR("\xbc\xc3\x9f dich"));
    ws_rig_put(&b, 0x88, true, SL_STR("\x03\xe8 bye"));
    begin(&r, false);
    for (size_t i = 0; i < sl_buf_len(&b); i++)
        ws_rig_input(&r, sl_buf_at(&b) + i, 1);
    check_heard(&r, "text:gr\xc3\xbc\xc3\x9f dich|closed:1000: bye|");
    ws_rig_end(&r);
    sl_buf_clear(&b);
}

static void fragments_are_joined(void)
{
    struct ws_rig r;

    begin(&r, false);
    ws_rig_frame(&r, 0x02, SL_STR("a"));
    ws_rig_frame(&r, 0x8a, SL_STR("a pong that nobody asked for"));
    ws_rig_frame(&r, 0x00, SL_STR(""));
    check_heard(&r, "");
    ws_rig_frame(&r, 0x80, SL_STR("b"));
    check_heard(&r, "binary:ab|");
    ws_rig_end(&r);
}

static void a_paused_end_keeps_what_has_arrived(void)
{
    struct sl_buf b = {0};
    struct ws_rig r;

    for (int i = 0; i < 3; i++)
        ws_rig_put(&b, 0x81, true, SL_STR("x"));
    begin(&r, false);
    r.pauses = true;
    ws_rig_input(&r, sl_buf_at(&b), sl_buf_len(&b));
    check_heard(&r, "text:x|");
    sl_check(!r.is_reading);
    ws_rig_input(&r, sl_buf_at(&b), sl_buf_len(&b)); /* the rest of a batch */
    sl_ws_input_end(r.ws);
    ws_rig_settle(&r);
    check_heard(&r, "");
    for (int i = 0; i < 5; i++) {
        sl_ws_read(r.ws, true);
        ws_rig_settle(&r);
        check_heard(&r, "text:x|");
    }
    sl_ws_read(r.ws, true);
    ws_rig_settle(&r);
    check_heard(&r, "closed:1006:closed|over|");
    ws_rig_end(&r);
    sl_buf_clear(&b);
}

/* --- sending --- */

static void a_server_does_not_mask(void)
{
    struct ws_rig r;

    begin(&r, false);
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("hello")) == 0);
    check_out(&r, 0x81, SL_STR("hello"));
    sl_check(sl_ws_send(r.ws, SL_WS_BINARY, SL_STR("")) == 0);
    check_out(&r, 0x82, SL_STR(""));
    ws_rig_end(&r);
}

static void a_client_masks_anew_each_time(void)
{
    static char bytes[70000];
    struct ws_rig client, server;
    uint8_t first[4];

    begin(&client, true);
    begin(&server, false);
    memset(bytes, 'x', sizeof(bytes));
    sl_check(sl_ws_send(client.ws, SL_WS_BINARY, sl_str(bytes, sizeof(bytes))) == 0);
    sl_check(sl_buf_len(&client.out) == sizeof(bytes) + 14);
    memcpy(first, sl_buf_at(&client.out) + 10, 4);
    sl_check(sl_ws_send(client.ws, SL_WS_BINARY, sl_str(bytes, sizeof(bytes))) == 0);
    sl_check(memcmp(first, sl_buf_at(&client.out) + sizeof(bytes) + 14 + 10, 4) != 0);
    ws_rig_input(&server, sl_buf_at(&client.out), sl_buf_len(&client.out));
    sl_check(sl_buf_len(&server.heard) == 2 * (sizeof(bytes) + strlen("binary:|")));
    ws_rig_end(&server);
    ws_rig_end(&client);
}

static void a_slow_channel_holds_the_sender(void)
{
    struct ws_rig r;

    begin(&r, false);
    r.is_stuck = true;
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("one")) == SL_E_AGAIN);
    check_out(&r, 0x81, SL_STR("one"));
    check_heard(&r, "");
    ws_rig_drain(&r);
    check_heard(&r, "sent|");
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("two")) == 0);
    check_out(&r, 0x81, SL_STR("two"));
    ws_rig_end(&r);
}

static void a_message_waits_behind_a_pong(void)
{
    struct ws_rig r;

    begin(&r, false);
    r.is_stuck = true;
    ws_rig_frame(&r, 0x89, SL_STR("?"));
    check_out(&r, 0x8a, SL_STR("?"));
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("one")) == SL_E_AGAIN);
    sl_check(sl_buf_len(&r.out) == 0);
    ws_rig_drain(&r);
    check_out(&r, 0x81, SL_STR("one"));
    check_heard(&r, "sent|");
    ws_rig_end(&r);
}

/* --- pings --- */

static void of_many_pings_the_last_is_answered(void)
{
    struct ws_rig r;

    begin(&r, false);
    r.is_stuck = true;
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("one")) == SL_E_AGAIN);
    sl_buf_reset(&r.out);
    for (int i = 0; i < 100000; i++)
        ws_rig_frame(&r, 0x89, SL_STR("not the last"));
    ws_rig_frame(&r, 0x89, SL_STR("the last"));
    sl_check(sl_buf_len(&r.out) == 0);
    ws_rig_drain(&r);
    check_out(&r, 0x8a, SL_STR("the last"));
    ws_rig_end(&r);
}

static void a_silent_peer_is_asked_then_left(void)
{
    struct sl_ws_opts opts = options(false);
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    sl_loop_skip(loop, opts.ping_interval + 200);
    check_out(&r, 0x89, SL_STR(""));
    ws_rig_frame(&r, 0x8a, SL_STR(""));
    sl_loop_skip(loop, opts.ping_timeout + 200);
    check_heard(&r, "");
    sl_loop_skip(loop, 2 * opts.ping_interval);
    check_out(&r, 0x89, SL_STR(""));
    sl_loop_skip(loop, opts.ping_timeout + 200);
    check_heard(&r, "closed:1006:the peer did not answer a ping|over|");
    ws_rig_end(&r);
}

static void a_talking_peer_is_not_asked(void)
{
    struct sl_ws_opts opts = options(false);
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    for (int i = 0; i < 5; i++) {
        ws_rig_frame(&r, 0x82, SL_STR(""));
        sl_loop_skip(loop, opts.ping_interval - 1000);
    }
    sl_check(sl_buf_len(&r.out) == 0);
    ws_rig_end(&r);
}

/* While nobody takes messages the answer to a ping would lie unread. */
static void a_paused_end_does_not_judge(void)
{
    struct sl_ws_opts opts = options(false);
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    sl_loop_skip(loop, opts.ping_interval + 200);
    check_out(&r, 0x89, SL_STR(""));
    sl_ws_read(r.ws, false);
    for (int i = 0; i < 5; i++)
        sl_loop_skip(loop, opts.ping_interval + opts.ping_timeout);
    check_heard(&r, "");
    ws_rig_end(&r);
}

static void a_peer_that_does_not_read_is_left(void)
{
    struct sl_ws_opts opts = options(false);
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    r.is_stuck = true;
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("one")) == SL_E_AGAIN);
    sl_loop_skip(loop, opts.ping_interval + opts.ping_timeout + 200);
    check_heard(&r, ""); /* a long message may take its time */
    sl_loop_skip(loop, opts.write_timeout);
    check_heard(&r, "closed:1006:the peer does not read|over|");
    ws_rig_end(&r);
}

/* --- the end --- */

static void the_peer_closes(bool is_client)
{
    struct ws_rig r;

    begin(&r, is_client);
    ws_rig_frame(&r, 0x88, SL_STR("\x0f\xa0so long"));
    check_heard(&r, "closed:4000:so long|");
    sl_check(r.got_fin == !is_client); /* the server closes first */
    if (!is_client)
        check_out(&r, 0x88, SL_STR("\x0f\xa0"));
    ws_rig_frame(&r, 0x81, SL_STR("too late"));
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("too late")) == SL_E_CLOSED);
    sl_ws_input_end(r.ws);
    check_heard(&r, "over|");
    ws_rig_end(&r);
}

static void the_peer_closes_without_a_word(void)
{
    struct ws_rig r;

    begin(&r, false);
    ws_rig_frame(&r, 0x88, SL_STR(""));
    check_heard(&r, "closed:1005:|");
    check_out(&r, 0x88, SL_STR(""));
    ws_rig_end(&r);
}

static void we_close(void)
{
    struct ws_rig r;

    begin(&r, false);
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("first")) == 0);
    check_out(&r, 0x81, SL_STR("first"));
    sl_ws_close(r.ws, 1000, SL_STR("enough"));
    sl_ws_close(r.ws, 1001, SL_STR("again"));
    check_out(&r, 0x88,
              SL_STR("\x03\xe8"
                     "enough"));
    ws_rig_frame(&r, 0x81, SL_STR("a message that crossed it"));
    check_heard(&r, "");
    ws_rig_frame(&r, 0x88, SL_STR("\x03\xe8"));
    check_heard(&r, "closed:1000:|");
    sl_check(r.got_fin);
    sl_ws_input_end(r.ws);
    check_heard(&r, "over|");
    ws_rig_end(&r);
}

static void a_close_goes_behind_what_was_sent(void)
{
    struct ws_rig r;

    begin(&r, false);
    r.is_stuck = true;
    ws_rig_frame(&r, 0x89, SL_STR("?"));
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("one")) == SL_E_AGAIN);
    sl_ws_close(r.ws, 1000, SL_STR_NONE);
    sl_buf_reset(&r.out);
    ws_rig_drain(&r);
    sl_check_str(sl_buf_str(&r.out), SL_STR("\x81\x03one\x88\x02\x03\xe8"));
    ws_rig_end(&r);
}

static void nobody_waits_for_ever_for_a_goodbye(void)
{
    struct sl_ws_opts opts = options(true);
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    sl_ws_close(r.ws, 1000, SL_STR_NONE);
    sl_loop_skip(loop, opts.close_timeout + 200);
    check_heard(&r, "closed:1006:timed out|over|");
    ws_rig_end(&r);

    ws_rig_begin(&r, loop, &opts);
    ws_rig_frame(&r, 0x88, SL_STR("\x03\xe8"));
    check_heard(&r, "closed:1000:|"); /* said goodbye, and does not end the connection */
    sl_loop_skip(loop, opts.close_timeout + 200);
    check_heard(&r, "over|");
    ws_rig_end(&r);
}

static void a_connection_that_breaks_is_told(void)
{
    struct ws_rig r;

    begin(&r, true);
    ws_rig_frame(&r, 0x01, SL_STR("half"));
    sl_ws_input_end(r.ws);
    ws_rig_settle(&r);
    check_heard(&r, "closed:1006:closed|over|");
    ws_rig_end(&r);

    begin(&r, true);
    sl_ws_broken(r.ws, SL_E_RESET);
    check_heard(&r, "closed:1006:reset by the peer|over|");
    ws_rig_end(&r);

    begin(&r, true);
    r.is_dead = true;
    sl_check(sl_ws_send(r.ws, SL_WS_TEXT, SL_STR("x")) == SL_E_RESET);
    check_heard(&r, ""); /* the channel says so itself */
    sl_check(!sl_ws_is_open(r.ws));
    ws_rig_end(&r);
}

static void it_may_be_freed_anywhere(void)
{
    struct sl_buf b = {0};
    struct ws_rig r;

    for (int i = 0; i < 3; i++)
        ws_rig_put(&b, 0x81, true, SL_STR("x"));
    ws_rig_put(&b, 0x83, true, SL_STR("x"));
    begin(&r, false);
    r.frees_on_message = true;
    ws_rig_input(&r, sl_buf_at(&b), sl_buf_len(&b));
    check_heard(&r, "text:x|");
    ws_rig_end(&r);

    begin(&r, false);
    r.frees_on_closed = true;
    ws_rig_input(&r, sl_buf_at(&b), sl_buf_len(&b));
    check_heard(&r, "text:x|text:x|text:x|closed:1002:a reserved bit, opcode or mask|");
    ws_rig_end(&r);
    sl_buf_clear(&b);
}

/* --- peers that break the rules --- */

/* The connection must fail with this code, which the peer is told, and take nothing more. */
static void check_failed(struct ws_rig *r, int code)
{
    char want[32];
    int n = snprintf(want, sizeof(want), "closed:%d:", code);

    sl_check(sl_str_starts(sl_buf_str(&r->heard), sl_str(want, (size_t)n)));
    sl_check(r->got_fin && sl_buf_len(&r->out) >= 4 && sl_buf_at(&r->out)[0] == 0x88);
    if (!r->is_client)
        sl_check(sl_buf_at(&r->out)[2] == code >> 8 && sl_buf_at(&r->out)[3] == (code & 255));
    sl_buf_reset(&r->heard);
    ws_rig_frame(r, 0x81, SL_STR("more"));
    check_heard(r, "");
    sl_ws_input_end(r->ws);
    check_heard(r, "over|");
    ws_rig_end(r);
}

static void fails(bool is_client, uint8_t first, bool is_masked, struct sl_str payload, int code)
{
    struct sl_buf b = {0};
    struct ws_rig r;

    begin(&r, is_client);
    ws_rig_put(&b, first, is_masked, payload);
    ws_rig_input(&r, sl_buf_at(&b), sl_buf_len(&b));
    check_failed(&r, code);
    sl_buf_clear(&b);
}

/* W-07 */
static void frames_that_break_the_rules(void)
{
    static char long_ping[126];

    fails(false, 0x81, false, SL_STR("unmasked"), 1002);
    fails(true, 0x81, true, SL_STR("masked"), 1002);
    for (int rsv = 0x10; rsv <= 0x70; rsv += 0x10)
        fails(false, (uint8_t)(0x81 | rsv), true, SL_STR("x"), 1002);
    fails(false, 0x83, true, SL_STR("x"), 1002); /* opcodes that nobody has defined */
    fails(false, 0x87, true, SL_STR(""), 1002);
    fails(false, 0x8b, true, SL_STR(""), 1002);
    fails(false, 0x8f, true, SL_STR("x"), 1002);
    fails(false, 0x89, true, sl_str(long_ping, sizeof(long_ping)), 1002);
    fails(false, 0x09, true, SL_STR("a fragment of a ping"), 1002);
    fails(false, 0x08, true, SL_STR(""), 1002);
    fails(false, 0x80, true, SL_STR("a continuation of nothing"), 1002);
}

static void a_message_inside_a_message(void)
{
    struct ws_rig r;

    begin(&r, false);
    ws_rig_frame(&r, 0x01, SL_STR("one"));
    ws_rig_frame(&r, 0x81, SL_STR("two"));
    check_failed(&r, 1002);
}

static void lengths_that_are_not_the_shortest(void)
{
    static const uint8_t heads[][10] = {
        {0x82, 0xfe, 0, 125},
        {0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
        {0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0},
    };
    struct ws_rig r;

    for (size_t i = 0; i < SL_COUNT(heads); i++) {
        begin(&r, false);
        ws_rig_input(&r, heads[i], sizeof(heads[i]));
        check_failed(&r, 1002);
    }
}

static void close_frames_that_break_the_rules(void)
{
    static const uint8_t codes[][2] = {{0, 0},       {0x03, 0xe7}, {0x03, 0xec},
                                       {0x03, 0xed}, {0x03, 0xee}, {0x03, 0xf7},
                                       {0x0b, 0xb7}, {0x13, 0x88}, {0xff, 0xff}};

    for (size_t i = 0; i < SL_COUNT(codes); i++)
        fails(false, 0x88, true, sl_str((const char *)codes[i], 2), 1002);
    fails(false, 0x88, true, SL_STR("\x03"), 1002);
    fails(false, 0x88, true, SL_STR("\x03\xe8\xff"), 1007);
    fails(false, 0x88, true, SL_STR("\x03\xe8\xe2\x82"), 1007);
}

static void text_that_is_not_utf8(void)
{
    struct ws_rig r;

    fails(false, 0x81, true, SL_STR("\xff"), 1007);
    fails(false, 0x81, true, SL_STR("cut \xe2\x82"), 1007);
    fails(false, 0x01, true, SL_STR("long, and wrong \xed\xa0\x80 before its end"), 1007);
    begin(&r, false);
    ws_rig_frame(&r, 0x01, SL_STR("\xe2"));
    ws_rig_frame(&r, 0x80, SL_STR("\x28\xa1"));
    check_failed(&r, 1007);
}

static struct sl_ws_opts small_messages(void)
{
    struct sl_ws_opts opts = options(false);

    opts.max_message = 1000;
    return opts;
}

/* W-08 */
static void messages_that_are_too_long(void)
{
    struct sl_ws_opts opts = small_messages();
    static const uint8_t gigabyte[] = {0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, 5};
    static char bytes[1001];
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    ws_rig_frame(&r, 0x82, sl_str(bytes, 1000));
    sl_check(sl_ws_is_open(r.ws));
    sl_buf_reset(&r.heard);
    ws_rig_frame(&r, 0x82, sl_str(bytes, 1001));
    check_failed(&r, 1009);

    ws_rig_begin(&r, loop, &opts);
    ws_rig_input(&r, gigabyte, sizeof(gigabyte));
    check_failed(&r, 1009);

    ws_rig_begin(&r, loop, &opts);
    ws_rig_frame(&r, 0x02, SL_STR("x"));
    for (int i = 0; i < 999; i++)
        ws_rig_frame(&r, 0x00, SL_STR("x"));
    check_heard(&r, "");
    ws_rig_frame(&r, 0x00, SL_STR("x"));
    check_failed(&r, 1009);
}

static void a_peer_that_never_ends_a_close(void)
{
    struct sl_ws_opts opts = small_messages();
    static char bytes[1000];
    struct ws_rig r;

    ws_rig_begin(&r, loop, &opts);
    sl_ws_close(r.ws, 1000, SL_STR_NONE);
    for (int i = 0; i < 10000; i++) /* swallowed: nothing of it is kept */
        ws_rig_frame(&r, i == 0 ? 0x02 : 0x00, sl_str(bytes, sizeof(bytes)));
    sl_loop_skip(loop, opts.close_timeout + 200);
    check_heard(&r, "closed:1006:timed out|over|");
    ws_rig_end(&r);
}

static void a_peer_that_talks_on_after_the_end(void)
{
    static char bytes[60000];
    struct ws_rig r;

    begin(&r, false);
    ws_rig_frame(&r, 0x83, SL_STR("x"));
    check_heard(&r, "closed:1002:a reserved bit, opcode or mask|");
    for (int i = 0; i < 60; i++)
        ws_rig_input(&r, bytes, sizeof(bytes));
    check_heard(&r, ""); /* it may not have heard yet */
    for (int i = 0; i < 60; i++)
        ws_rig_input(&r, bytes, sizeof(bytes));
    check_heard(&r, "over|");
    ws_rig_end(&r);
}

static void codes_for_the_wire(void)
{
    static const int good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                               1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const int bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};

    for (size_t i = 0; i < SL_COUNT(good); i++)
        sl_check(sl_ws_code_ok(good[i]));
    for (size_t i = 0; i < SL_COUNT(bad); i++)
        sl_check(!sl_ws_code_ok(bad[i]));
}

static void messages(void)
{
    messages_arrive(false);
    messages_arrive(true);
    every_length_arrives();
    a_byte_at_a_time_is_the_same();
    fragments_are_joined();
    a_paused_end_keeps_what_has_arrived();
    a_server_does_not_mask();
    a_client_masks_anew_each_time();
    a_slow_channel_holds_the_sender();
    a_message_waits_behind_a_pong();
}

static void pings_and_ends(void)
{
    of_many_pings_the_last_is_answered();
    a_silent_peer_is_asked_then_left();
    a_talking_peer_is_not_asked();
    a_paused_end_does_not_judge();
    a_peer_that_does_not_read_is_left();
    the_peer_closes(false);
    the_peer_closes(true);
    the_peer_closes_without_a_word();
    we_close();
    a_close_goes_behind_what_was_sent();
    nobody_waits_for_ever_for_a_goodbye();
    a_connection_that_breaks_is_told();
    it_may_be_freed_anywhere();
}

static void attacks(void)
{
    frames_that_break_the_rules();
    a_message_inside_a_message();
    lengths_that_are_not_the_shortest();
    close_frames_that_break_the_rules();
    text_that_is_not_utf8();
    messages_that_are_too_long();
    a_peer_that_never_ends_a_close();
    a_peer_that_talks_on_after_the_end();
    codes_for_the_wire();
}

int main(void)
{
    int rc = sl_loop_new(&loop);

    sl_check(rc == 0);
    messages();
    pings_and_ends();
    attacks();
    sl_loop_free(loop);
    return sl_check_done();
}
