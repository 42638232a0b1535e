/* An edge and hubs that are written by hand: the original, and such as say nothing, too much, or
   what no hub may say. */
#include "codec/tunnel_greeting.h"
#include "tls/stream.h"
#include "tunnel/test_ends.h"

static struct raw_hub {
    struct sl_listener *listener;
    struct sl_stream *stream; /* the newest connection */
    struct sl_buf in;
    struct sl_str answer; /* to a greeting; empty: none */
    int n_accepted, n_ready;
    bool got_fin, is_mute; /* mute: not even TLS */
} raw;

static void raw_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&raw.in, bytes, len);
    if (memchr(bytes, '\n', len) == NULL)
        return;
    (void)sl_stream_write1(s, raw.answer.p, raw.answer.len, false);
    raw.answer = SL_STR_NONE;
}

static void raw_on_fin(struct sl_stream *s)
{
    (void)s;
    raw.got_fin = true;
}

static void raw_on_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
    raw.got_fin = true;
}

static void raw_on_ready(struct sl_stream *s)
{
    raw.n_ready++;
    sl_stream_read(s, true);
}

static const struct sl_stream_handler raw_handler = {raw_on_data, raw_on_fin, on_written,
                                                     raw_on_error, raw_on_ready};

static int raw_on_hello(void *user, struct sl_stream *s, const struct sl_tls_hello *hello,
                        struct sl_cert **out)
{
    (void)user;
    (void)s;
    sl_check(hello->alpn_len == 14 && memcmp(hello->alpn, SL_HUB_ALPN, 14) == 0);
    *out = sl_cert_ref(cert);
    return 0;
}

static void raw_on_accept(void *user, int fd, const struct sl_addr *remote)
{
    struct sl_stream *tcp = sl_tcp_new(loop, fd);

    (void)user;
    (void)remote;
    sl_stream_free(&raw.stream, SL_CLOSE_ABORT);
    sl_buf_reset(&raw.in);
    raw.got_fin = false;
    raw.n_accepted++;
    if (!raw.is_mute)
        tcp = sl_tls_accept(&tcp, tls, &(struct sl_tls_accept){raw_on_hello, NULL}, &raw_handler,
                            NULL, NULL, 0);
    else
        sl_stream_set_handler(tcp, &raw_handler, NULL);
    raw.stream = tcp;
}

static void set_up(struct sl_str answer)
{
    struct sl_edge_opts opts = {.handler = &edge_handler, .user = &edges[0], .dead_ms = 6000};

    world_begin();
    raw = (struct raw_hub){.answer = answer};
    raw.listener = sl_listener_new(loop, listen_on_loopback(&hub_at), raw_on_accept, NULL);
    opts.loop = loop;
    opts.dns = dns;
    edges[0] = (struct test_edge){.edge = sl_edge_new(&opts), .id = "e0", .secret = "a secret"};
}

static void hang_up(void)
{
    sl_stream_free(&raw.stream, SL_CLOSE_ABORT);
}

static void tear_down(void)
{
    hang_up();
    sl_listener_free(raw.listener);
    sl_buf_clear(&raw.in);
    world_end();
}

static void send_frame(uint32_t id, unsigned type, const char *payload)
{
    uint8_t frame[256];
    size_t len = strlen(payload);

    sl_frame_head(frame, id, (enum sl_frame_type)type, (uint32_t)len);
    memcpy(frame + SL_FRAME_HEAD, payload, len);
    (void)sl_stream_write1(raw.stream, frame, SL_FRAME_HEAD + len, false);
}

/* Has this frame come? */
static bool has_frame(uint32_t id, unsigned type, const char *payload)
{
    struct sl_frame_reader reader = {0};
    const uint8_t *at = sl_buf_at(&raw.in);
    size_t len = sl_buf_len(&raw.in);
    struct sl_frame f;
    bool is_there = false;

    while (!is_there && sl_frame_next(&reader, &at, &len, &f) > 0)
        is_there = f.stream == id && f.type == type && f.len == strlen(payload) &&
                   (f.len == 0 || memcmp(f.bytes, payload, f.len) == 0);
    sl_frame_reader_clear(&reader);
    return is_there;
}

static void connect_up(void)
{
    int n = edges[0].n_up;

    world_connect(&edges[0], SL_EDGE_TLS);
    run_until(loop, edges[0].n_up == n + 1);
    sl_check_str(sl_str((const char *)sl_buf_at(&raw.in), 17), SL_STR("EDGE e0 a secret\n"));
    sl_buf_consume(&raw.in, 17);
}

#define OPENING "PROXY TCP4 192.0.2.1 198.51.100.2 5555 443\r\n"

static void the_original_is_understood(void)
{
    struct holder *h;

    set_up(SL_STR("{\"listenPorts\":[443]}\r\n"));
    connect_up();
    sl_check_str(sl_buf_str(&edges[0].answer), SL_STR("{\"listenPorts\":[443]}"));
    sl_check(!edges[0].resumed);
    h = visit(&edges[0]);
    say(h, "hello", false);
    run_until(loop, has_frame(1, SL_FRAME_DATA, "hello"));
    send_frame(0, SL_FRAME_PING, "any payload");
    run_until(loop, has_frame(0, SL_FRAME_PONG, "any payload"));
    send_frame(5, 0x42, "of a later version");
    send_frame(1, SL_FRAME_DATA_BACK, "answer");
    send_frame(0, SL_FRAME_CONFIG, "{}");
    run_until(loop, has(h, "answer") && edges[0].n_configs == 1);
    hang_up();
    run_until(loop, edges[0].n_down == 1 && h->code == SL_E_RESET);
    let_go(&h);
    tear_down();
}

/* Its streams end with the link; a new one begins with none, and with those that waited. */
static void streams_end_with_the_link_of_an_original(void)
{
    struct holder *old, *waits;

    set_up(SL_STR("{}\n"));
    connect_up();
    old = visit(&edges[0]);
    run_until(loop, has_frame(1, SL_FRAME_OPEN, OPENING));
    hang_up();
    run_until(loop, edges[0].n_down == 1 && old->code == SL_E_RESET);
    waits = visit(&edges[0]);
    say(waits, "waited", false);
    raw.answer = SL_STR("{}\n");
    connect_up();
    run_until(loop, has_frame(2, SL_FRAME_OPEN, OPENING) && has_frame(2, SL_FRAME_DATA, "waited"));
    sl_check(waits->code == 0 && !edges[0].resumed);
    let_go(&old);
    let_go(&waits);
    tear_down();
}

static void frames_behind_the_answer_are_kept(void)
{
    set_up(SL_STR("{}\n\0\0\0\0\6\0\0\0\2{}"));
    connect_up();
    run_until(loop, edges[0].n_configs == 1);
    sl_check_str(sl_buf_str(&edges[0].config), SL_STR("{}"));
    tear_down();
}

/* --- hubs that do not do what they should --- */

static void fails_with(int code)
{
    world_connect(&edges[0], SL_EDGE_TLS);
    run_until(loop, edges[0].n_failed == 1);
    sl_check(edges[0].code == code && edges[0].n_answers == 0);
}

static void a_hub_may_say_why_not(void)
{
    set_up(SL_STR("ERROR come back tomorrow\n"));
    fails_with(SL_E_REFUSED);
    sl_check(strcmp(edges[0].why, "come back tomorrow") == 0);
    tear_down();
}

static void a_hub_that_says_too_much_is_left(void)
{
    char *answer = sl_alloc(SL_GREETING_ANSWER_MAX + 1);

    memset(answer, 'x', SL_GREETING_ANSWER_MAX + 1);
    set_up(sl_str(answer, SL_GREETING_ANSWER_MAX + 1));
    fails_with(SL_E_LIMIT);
    tear_down();
    sl_free(answer);
}

/* Whether it says nothing at all or nothing after TLS. */
static void a_hub_that_says_nothing_has_its_time(bool is_mute)
{
    struct sl_edge_attempt a;

    set_up(SL_STR_NONE);
    raw.is_mute = is_mute;
    a = world_attempt(&edges[0], SL_EDGE_TLS);
    a.timeout_ms = 3000;
    sl_edge_connect(edges[0].edge, &a);
    run_until(loop, is_mute ? raw.n_accepted == 1 : sl_buf_len(&raw.in) > 0);
    sl_check(edges[0].n_failed == 0);
    sl_loop_skip(loop, 3200);
    run_until(loop, edges[0].n_failed == 1);
    sl_check(edges[0].code == SL_E_TIMEOUT);
    tear_down();
}

static void a_hub_may_go_before_it_is_accepted(void)
{
    struct sl_edge_terms terms = {0};

    set_up(SL_STR("{}\n"));
    edges[0].decides = true;
    world_connect(&edges[0], SL_EDGE_TLS);
    run_until(loop, edges[0].n_answers == 1);
    hang_up();
    sl_edge_hang_up(edges[0].edge); /* nobody reads, so that nobody notices */
    sl_edge_accept(edges[0].edge, &terms);
    run_quiet(loop);
    sl_check(edges[0].n_up == 0 && edges[0].n_failed == 0 && edges[0].n_down == 0);
    tear_down();
}

/* Attack U-11: half-open, or stuck. */
static void silence_is_an_end(void)
{
    struct holder *h;

    set_up(SL_STR("{}\n"));
    connect_up();
    h = visit(&edges[0]);
    for (int i = 0; i < 5; i++) {
        sl_loop_skip(loop, 1900);
        sl_buf_reset(&raw.in);
        send_frame(0, SL_FRAME_PING, "");
        run_until(loop, has_frame(0, SL_FRAME_PONG, ""));
    }
    sl_check(edges[0].n_down == 0);
    for (int i = 0; i < 5; i++)
        sl_loop_skip(loop, 1900);
    run_until(loop, edges[0].n_down == 1);
    sl_check(edges[0].down_code == SL_E_TIMEOUT);
    sl_check(strcmp(edges[0].why, "not a byte for 6 s") == 0);
    run_until(loop, h->code == SL_E_RESET && raw.got_fin);
    let_go(&h);
    tear_down();
}

static void a_hub_says_nothing_that_edges_say(unsigned type)
{
    set_up(SL_STR("{}\n"));
    connect_up();
    send_frame(7, type, OPENING);
    run_until(loop, edges[0].n_down == 1);
    sl_check(edges[0].down_code == SL_E_PROTOCOL);
    tear_down();
}

int main(void)
{
    the_original_is_understood();
    streams_end_with_the_link_of_an_original();
    frames_behind_the_answer_are_kept();
    a_hub_may_say_why_not();
    a_hub_that_says_too_much_is_left();
    a_hub_that_says_nothing_has_its_time(true);
    a_hub_that_says_nothing_has_its_time(false);
    a_hub_may_go_before_it_is_accepted();
    silence_is_an_end();
    a_hub_says_nothing_that_edges_say(SL_FRAME_OPEN);
    a_hub_says_nothing_that_edges_say(SL_FRAME_UDP_OPEN);
    a_hub_says_nothing_that_edges_say(SL_FRAME_RESUME);
    return sl_check_done();
}
