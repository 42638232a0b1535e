/* Certificates that on_hello gives for one protocol alone, as tls-alpn-01 needs them (RFC 8737). */
#include "proxy/test_world.h"

#define GET "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct world w;
static struct origin o;

static void begin(void)
{
    world_begin(&w);
    origin_begin(&o, w.loop);
    o.answer = OK;
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_HELLO);
}

static void end(void)
{
    run_until(w.loop, world_active(&w) == 0);
    origin_end(&o);
    world_end(&w);
}

static struct sl_verdict challenge(const char *alpn)
{
    struct sl_verdict v = {.kind = SL_VERDICT_CERT, .text = sl_str_c(alpn)};

    sl_assert(sl_cert_self_signed(&v.cert, SL_STR("challenge.example"), NULL) == 0);
    return v;
}

static void open_with(struct tls_client *t, const char *alpn)
{
    struct sl_stream *tcp;

    client_open(&t->c, &w, 0);
    tcp = t->c.stream;
    t->c.n_ready = 0;
    sl_assert(sl_tls_client_new(&t->context, &(struct sl_tls_client_opts){.alpn = alpn}, NULL) ==
              0);
    t->c.stream = sl_tls_connect(&tcp, t->context, SL_STR("a.example"), &client_handler, &t->c);
}

/* The verdict's strings are gone before the handshake goes on. */
static void answer(struct tls_client *t, const char *offer, bool waits)
{
    char text[] = "acme-tls/1";
    struct sl_verdict v = challenge(text);

    w.hello.verdict = v;
    w.hello.rc = waits ? SL_E_AGAIN : 0;
    open_with(t, offer);
    run_until(w.loop, w.hello.n_calls == 1);
    if (waits)
        sl_hook_resume(w.hello.slot, &v);
    memset(text, 'x', sizeof(text));
    run_until(w.loop, client_is_closed(&t->c));
}

static void the_protocol_is_agreed_on_and_that_is_all(bool waits)
{
    struct tls_client t;

    begin();
    answer(&t,
           "\x0a"
           "acme-tls/1",
           waits);
    sl_check(t.c.n_ready == 1 && t.c.n_fin == 1 && t.c.n_error == 0);
    sl_check_str(sl_tls_alpn(t.c.stream), SL_STR("acme-tls/1"));
    sl_check(!sl_tls_is_truncated(t.c.stream));
    sl_check(sl_buf_len(&t.c.got) == 0 && o.n_conns == 0);
    tls_close(&t);
    end();
}

/* Among others that the client speaks, too. */
static void other_protocols_are_passed_over(void)
{
    struct tls_client t;

    begin();
    answer(&t,
           "\x02"
           "h2\x08http/1.1\x0a"
           "acme-tls/1",
           false);
    sl_check_str(sl_tls_alpn(t.c.stream), SL_STR("acme-tls/1"));
    tls_close(&t);
    end();
}

static void a_client_that_does_not_speak_it_gets_the_alert(bool waits)
{
    struct tls_client t;

    begin();
    answer(&t, "\x08http/1.1", waits);
    sl_check(t.c.n_ready == 0 && t.c.n_error == 1);
    sl_check(strstr(sl_tls_reason(t.c.stream), "no application protocol") != NULL);
    tls_close(&t);
    end();
}

static void a_client_without_protocols_gets_no_http(void)
{
    struct tls_client t;

    begin();
    answer(&t, NULL, false);
    sl_check(t.c.n_ready == 1 && t.c.n_fin == 1);
    sl_check(sl_buf_len(&t.c.got) == 0 && o.n_conns == 0);
    tls_close(&t);
    end();
}

/* Whatever follows the handshake in the same packet is no request. */
static void what_a_client_says_is_not_read(void)
{
    struct tls_client t;
    struct sl_verdict v = challenge("acme-tls/1");

    begin();
    w.hello.verdict = v;
    open_with(&t, "\x0a"
                  "acme-tls/1");
    run_until(w.loop, t.c.n_ready == 1 || client_is_closed(&t.c));
    client_say(&t.c, GET);
    run_until(w.loop, client_is_closed(&t.c));
    sl_check(sl_buf_len(&t.c.got) == 0 && o.n_conns == 0);
    tls_close(&t);
    end();
}

static void the_next_connection_is_an_ordinary_one(void)
{
    struct tls_client t;

    begin();
    answer(&t,
           "\x0a"
           "acme-tls/1",
           false);
    tls_close(&t);
    w.hello.verdict = (struct sl_verdict){0};
    open_with(&t, "\x08http/1.1");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, GET);
    run_until(w.loop, client_got_tail(&t.c, "ok"));
    tls_close(&t);
    end();
}

int main(void)
{
    the_protocol_is_agreed_on_and_that_is_all(false);
    the_protocol_is_agreed_on_and_that_is_all(true);
    other_protocols_are_passed_over();
    a_client_that_does_not_speak_it_gets_the_alert(false);
    a_client_that_does_not_speak_it_gets_the_alert(true);
    a_client_without_protocols_gets_no_http();
    what_a_client_says_is_not_read();
    the_next_connection_is_an_ordinary_one();
    return sl_check_done();
}
