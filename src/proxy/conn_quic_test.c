/* QUIC connections in the proxy: who may come in, and what becomes of them. What they carry is
 * tested in http/ and quic/. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>
#include "net/udp.h"
#include "proxy/internal.h"
#include "proxy/named.h"
#include "proxy/test_world.h"
#include "quic/internal.h"
#include "quic/test_app.h"

enum { REFUSED = 0x2 /* RFC 9000, 20.1 */, MAX_REBINDS = 64 };

/* GET https://a.example/ as a HEADERS frame, with the static table of QPACK. */
static const char get[] = "\x01\x10\0\0\xd1\xd7\xc1\x50\x09"
                          "a.example";

static struct world w;
static struct origin o;
static struct sl_quic_tls *server_tls, *client_tls;
static struct sl_quic_endpoint *ours;
static struct test_peer c;
static int n_closed_ports;
static struct sl_addr seen; /* the visitor of the last request */

/* --- the rig --- */

static void on_port_closed(void *user, uint16_t port)
{
    (void)user;
    sl_check(port == w.ports[0]);
    n_closed_ports++;
}

static int bind_udp(void)
{
    struct sl_addr at;
    int fd;

    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), w.ports[0]) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &at, true, NULL) == 0);
    return fd;
}

static void add_route(void)
{
    struct sl_cert *cert = NULL;

    sl_assert(sl_cert_self_signed(&cert, SL_STR("a.example"), NULL) == 0);
    world_add(&w, 0,
              &(struct sl_route_spec){.tls = SL_TLS_TERMINATE,
                                      .transport = SL_TRANSPORT_ALL,
                                      .tls_data = cert,
                                      .release_tls = world_release_cert},
              &o, "a.example");
}

static void keep_visitor(struct world *world, struct sl_exchange *ex)
{
    (void)world;
    seen = ex->peer->remote;
}

static void begin_with(void (*forward)(void *, unsigned, uint16_t, const struct sl_udp_packet *))
{
    struct sl_addr any;

    sl_assert(sl_quic_tls_server_new(&server_tls, "\x02h3", false, NULL) == 0);
    sl_assert(sl_quic_tls_client_new(&client_tls, &(struct sl_tls_client_opts){.alpn = "\x02h3"},
                                     NULL) == 0);
    world_begin_with(&w, &(struct sl_proxy_quic){
                             .tls = server_tls, .forward = forward, .on_closed = on_port_closed});
    w.settings.quic = sl_quic_settings_default;
    world_settings_changed(&w);
    w.on_request_hook = keep_visitor;
    origin_begin(&o, w.loop);
    o.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    n_closed_ports = 0;
    add_route();
    sl_proxy_listen_quic(w.proxy, bind_udp(), w.ports[0]);
    sl_assert(sl_addr_parse(&any, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(sl_quic_endpoint_new_client(
                  &ours, &any, &(struct sl_quic_endpoint_opts){.loop = w.loop}, NULL) == 0);
}

static void begin(unsigned hooks)
{
    begin_with(NULL);
    world_publish(&w);
    world_hooks_on(&w, hooks);
}

static void end(void)
{
    sl_quic_endpoint_free(ours);
    origin_end(&o);
    world_end(&w);
    sl_quic_tls_free(server_tls);
    sl_quic_tls_free(client_tls);
    test_peer_clear(&c);
}

static void dial(struct test_peer *p)
{
    struct sl_addr to;

    test_peer_init(p);
    sl_assert(sl_addr_parse(&to, SL_STR("127.0.0.1"), w.ports[0]) == 0);
    sl_assert(sl_quic_connect(&p->conn, ours, &to, client_tls, SL_STR("a.example"), &test_app, p) ==
              0);
}

static void open_conn(void)
{
    dial(&c);
    run_until(w.loop, c.n_done + c.n_closed > 0);
    sl_check(c.n_done == 1 && c.n_closed == 0);
}

/* A request and its answer. */
static void ask(void)
{
    struct test_stream *s = test_peer_open(&c, false);

    test_peer_send(&c, s, get, sizeof(get) - 1, true);
    run_until(w.loop, s->got_fin || s->got_reset || c.n_closed > 0);
    sl_check(s->got_fin && sl_str_ends(sl_buf_str(&s->in), SL_STR("ok")));
}

static void expect_refusal(struct test_peer *p)
{
    run_until(w.loop, p->n_closed > 0);
    sl_check(p->n_done == 0 && p->end.error == REFUSED);
}

/* --- the cases --- */

static void a_request_goes_through(void)
{
    const struct sl_proxy_stats *stats;

    begin(SL_HOOK_CONNECT | SL_HOOK_HELLO | SL_HOOK_REQUEST | SL_HOOK_DONE);
    open_conn();
    ask();
    ask();
    stats = sl_proxy_stats(w.proxy);
    sl_check(w.connect.n_calls == 1 && w.hello.n_calls == 1 && w.request.n_calls == 2);
    run_until(w.loop, w.n_done == 2);
    sl_check(w.done_status == 200 && strcmp(w.done_route, "app") == 0);
    sl_check(stats->requests == 2 && stats->http3_requests == 2 && stats->quic_handshakes == 1);
    sl_check(world_active(&w) == 1);
    sl_quic_close(c.conn, 0x100, "");
    run_until(w.loop, world_active(&w) == 0);
    end();
}

static void the_policy_refuses(void)
{
    static const struct sl_str blocked = {"127.0.0.0/8", 11};

    begin_with(NULL);
    w.policy = (struct sl_policy_spec){.block = &blocked, .n_block = 1};
    world_publish(&w);
    dial(&c);
    expect_refusal(&c);
    sl_check(world_active(&w) == 0);
    end();
}

static void the_hook_refuses(void)
{
    begin(SL_HOOK_CONNECT);
    w.connect.verdict.kind = SL_VERDICT_DENY;
    dial(&c);
    expect_refusal(&c);
    run_until(w.loop, world_active(&w) == 0);
    sl_check(w.n_forgotten == 1);
    end();
}

/* A protocol for TLS over TCP is none that HTTP/3 could follow. */
static void a_certificate_for_one_protocol_is_refused(bool waits)
{
    struct sl_verdict v = {.kind = SL_VERDICT_CERT, .text = SL_STR("acme-tls/1")};

    begin(SL_HOOK_HELLO);
    sl_assert(sl_cert_self_signed(&v.cert, SL_STR("a.example"), NULL) == 0);
    w.hello.verdict = v;
    w.hello.rc = waits ? SL_E_AGAIN : 0;
    dial(&c);
    run_until(w.loop, w.hello.n_calls == 1);
    if (waits)
        sl_hook_resume(w.hello.slot, &v);
    run_until(w.loop, c.n_closed > 0);
    sl_check(c.n_done == 0);
    end();
}

static void a_hello_waits(bool is_welcome)
{
    struct sl_verdict v = {.kind = is_welcome ? SL_VERDICT_NONE : SL_VERDICT_DENY};

    begin(SL_HOOK_HELLO);
    w.hello.rc = SL_E_AGAIN;
    dial(&c);
    run_until(w.loop, w.hello.n_calls == 1);
    run_quiet(w.loop);
    sl_check(c.n_done == 0 && c.n_closed == 0);
    sl_hook_resume(w.hello.slot, &v);
    run_until(w.loop, c.n_done + c.n_closed > 0);
    sl_check(is_welcome == (c.n_closed == 0));
    if (is_welcome)
        ask();
    end();
}

/* A script that is asked about names must see true addresses; one that is not asked costs no Retry.
 */
static void a_hello_hook_costs_a_retry(bool is_asked)
{
    begin(SL_HOOK_HELLO);
    w.settings.no_hello_hook = !is_asked;
    world_settings_changed(&w);
    open_conn();
    sl_check(w.hello.n_calls == (is_asked ? 1 : 0));
    sl_check((w.proxy->quic_settings.retry_above == 0) == is_asked);
    end();
}

static void visitors_are_counted(void)
{
    struct test_peer second;

    begin_with(NULL);
    w.policy.max_connections_per_ip = 1;
    world_publish(&w);
    open_conn();
    dial(&second);
    expect_refusal(&second);
    test_peer_clear(&second);
    sl_quic_close(c.conn, 0x100, "");
    run_until(w.loop, world_active(&w) == 0);
    dial(&second);
    run_until(w.loop, second.n_done + second.n_closed > 0);
    sl_check(second.n_done == 1);
    end();
    test_peer_clear(&second);
}

static void a_new_policy_ends_connections(void)
{
    static const struct sl_str blocked = {"127.0.0.1", 9};

    begin(0);
    open_conn();
    ask();
    add_route();
    w.policy = (struct sl_policy_spec){.block = &blocked, .n_block = 1};
    world_publish(&w);
    sl_proxy_apply_policy(w.proxy);
    sl_check(world_active(&w) == 0);
    run_until(w.loop, c.n_closed == 1);
    end();
}

static void on_drained(void *user)
{
    ((struct world *)user)->n_drained++;
}

static void draining_ends_what_is_idle(void)
{
    struct test_peer late;

    begin(0);
    open_conn();
    ask();
    sl_proxy_drain(w.proxy, 0, on_drained, &w);
    run_until(w.loop, w.n_drained == 1);
    run_until(w.loop, c.n_closed == 1);
    sl_check(c.end.is_remote && c.end.is_app && c.end.error == 0x100);
    dial(&late);
    run_quiet(w.loop);
    sl_check(world_active(&w) == 0);
    end();
    test_peer_clear(&late);
}

/* The socket stays for whoever uses it, and is used again when the port comes back before that. */
static void a_port_goes_and_comes(void)
{
    struct test_peer late;
    int fd;

    begin(0);
    open_conn();
    sl_proxy_unlisten_quic(w.proxy, w.ports[0]);
    ask();
    dial(&late);
    expect_refusal(&late);
    test_peer_clear(&late);
    sl_check(n_closed_ports == 0);
    fd = dup(0);
    sl_proxy_listen_quic(w.proxy, fd, w.ports[0]);
    sl_check(n_closed_ports == 1 && fcntl(fd, F_GETFD) == -1);
    dial(&late);
    run_until(w.loop, late.n_done + late.n_closed > 0);
    sl_check(late.n_done == 1);
    sl_proxy_unlisten_quic(w.proxy, w.ports[0]);
    sl_quic_close(c.conn, 0x100, "");
    sl_quic_close(late.conn, 0x100, "");
    run_until(w.loop, n_closed_ports == 2);
    end();
    test_peer_clear(&late);
}

/* --- two workers --- */

static struct sl_proxy *other;
static int n_forwarded;

static void forward(void *user, unsigned worker, uint16_t port, const struct sl_udp_packet *packet)
{
    (void)user;
    n_forwarded++;
    sl_proxy_receive(worker == 0 ? w.proxy : other, port, packet);
}

static void begin_other(void)
{
    struct sl_proxy_opts opts = {.loop = w.loop,
                                 .dns = w.dns,
                                 .pool = w.pool,
                                 .tls = w.tls,
                                 .settings = &w.settings,
                                 .release_snapshot = world_release_snapshot,
                                 .quic = {.tls = server_tls, .worker = 1, .forward = forward},
                                 .user = &w};

    sl_proxy_new(&other, &opts);
    sl_proxy_set_snapshot(other, w.proxy->live->snapshot);
    sl_proxy_set_hooks(other, &w.hooks);
    sl_proxy_listen_quic(other, bind_udp(), w.ports[0]);
}

/* Nothing steers here: from another port the packets reach either socket. */
static void a_client_moves_between_workers(void)
{
    uint16_t before;

    begin_with(forward);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_REQUEST);
    begin_other();
    open_conn();
    ask();
    n_forwarded = 0;
    for (int i = 0; i < MAX_REBINDS && n_forwarded == 0; i++) {
        before = sl_addr_port(&seen);
        sl_assert(sl_quic_rebind(c.conn) == 0);
        ask();
        for (int k = 0; k < MAX_REBINDS && sl_addr_port(&seen) == before; k++)
            ask(); /* until the new path is validated: rules see the old address */
        sl_check(sl_addr_port(&seen) != before);
    }
    sl_check(n_forwarded > 0 && c.n_closed == 0);
    sl_check(sl_proxy_stats(w.proxy)->quic_handshakes + sl_proxy_stats(other)->quic_handshakes ==
             1);
    sl_proxy_free(other);
    end();
}

/* --- behind a proxy that names its visitors --- */

static const struct sl_str loopback = {"127.0.0.0/8", 11};

static void begin_behind_proxy(const struct sl_str *trusted)
{
    begin_with(NULL);
    w.settings.accept_proxy = true;
    sl_assert(sl_ip_set_init(&w.settings.trusted, trusted, 1, "trusted", NULL) == 0);
    world_settings_changed(&w);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_REQUEST);
}

static void end_behind_proxy(void)
{
    end();
    sl_ip_set_clear(&w.settings.trusted);
}

static size_t make_header(uint8_t *out, const char *visitor, bool is_datagram)
{
    struct sl_proxy_header header = {.has_addresses = true,
                                     .is_datagram = is_datagram,
                                     .from = {[10] = 0xff, 0xff},
                                     .to = {[10] = 0xff, 0xff, 10, 0, 0, 1},
                                     .from_port = 4711,
                                     .to_port = 443};

    sl_assert(inet_pton(AF_INET, visitor, header.from + 12) == 1);
    return sl_proxy_header_write(out, 2, &header);
}

/* From where the packets of our connections come. */
static void send_from_client(const uint8_t *bytes, size_t len)
{
    struct sl_addr to;
    struct sl_udp_send msg = {.remote = &to, .bytes = bytes, .len = len, .segment = len};

    sl_assert(sl_addr_parse(&to, SL_STR("127.0.0.1"), w.ports[0]) == 0);
    sl_check(ours->wire->ops->send(ours->wire, &msg, 1) == 1);
}

static void name_visitor(const char *visitor)
{
    uint8_t bytes[SL_PROXY_HEADER_WRITE_MAX];

    send_from_client(bytes, make_header(bytes, visitor, true));
}

static bool saw(const char *visitor)
{
    char ip[SL_ADDR_TEXT_LEN];

    return strcmp(sl_addr_ip(&seen, ip), visitor) == 0;
}

static void a_header_names_the_visitor(void)
{
    begin_behind_proxy(&loopback);
    name_visitor("203.0.113.9");
    open_conn();
    ask();
    sl_check(saw("203.0.113.9") && sl_addr_port(&seen) == 4711);
    sl_check(origin_got(&o, 0, "X-Forwarded-For: 203.0.113.9\r\n"));
    name_visitor("203.0.113.9"); /* some say it each time */
    ask();
    sl_check(sl_proxy_stats(w.proxy)->proxy_repeated == 1 && c.n_closed == 0);
    end_behind_proxy();
}

/* One header is for every connection from there, also when the address has to be proven. */
static void a_header_outlives_a_connection(void)
{
    struct test_peer second;

    begin_behind_proxy(&loopback);
    w.settings.quic.retry_above = 0;
    world_settings_changed(&w);
    name_visitor("203.0.113.9");
    open_conn();
    ask();
    sl_quic_close(c.conn, 0x100, "");
    run_until(w.loop, world_active(&w) == 0);
    sl_loop_skip(w.loop, SL_NAMED_IDLE_MS - 1000);
    dial(&second);
    run_until(w.loop, second.n_done + second.n_closed > 0);
    sl_check(second.n_done == 1 && sl_proxy_stats(w.proxy)->proxy_missing == 0);
    end_behind_proxy();
    test_peer_clear(&second);
}

static void without_a_header_nobody_comes_in(void)
{
    begin_behind_proxy(&loopback);
    dial(&c);
    run_until(w.loop, sl_proxy_stats(w.proxy)->proxy_missing > 0);
    sl_check(world_active(&w) == 0);
    name_visitor("203.0.113.9"); /* it had been late: the client tries again */
    run_until(w.loop, c.n_done + c.n_closed > 0);
    sl_check(c.n_done == 1);
    ask();
    sl_check(saw("203.0.113.9"));
    end_behind_proxy();
}

static void the_policy_is_about_the_visitor(void)
{
    static const struct sl_str blocked = {"203.0.113.9", 11};

    begin_behind_proxy(&loopback);
    add_route();
    w.policy = (struct sl_policy_spec){.block = &blocked, .n_block = 1};
    world_publish(&w);
    name_visitor("203.0.113.9");
    dial(&c);
    expect_refusal(&c);
    test_peer_clear(&c);
    name_visitor("203.0.113.10");
    open_conn();
    ask();
    end_behind_proxy();
}

static void strangers_name_nobody(void)
{
    static const struct sl_str elsewhere = {"192.0.2.1", 9};

    begin_behind_proxy(&elsewhere);
    name_visitor("203.0.113.9");
    open_conn();
    ask();
    sl_check(saw("127.0.0.1") && sl_proxy_stats(w.proxy)->udp_dropped == 1);
    end_behind_proxy();
}

/* Too short, about a stream, or no version of ours. */
static void wrong_headers_name_nobody(void)
{
    uint8_t bytes[SL_PROXY_HEADER_WRITE_MAX];
    size_t len;

    begin_behind_proxy(&loopback);
    len = make_header(bytes, "203.0.113.9", true);
    send_from_client(bytes, len - 1);
    bytes[12] = 0x31;
    send_from_client(bytes, len);
    send_from_client(bytes, make_header(bytes, "203.0.113.9", false));
    run_until(w.loop, sl_proxy_stats(w.proxy)->udp_dropped == 3);
    dial(&c);
    run_until(w.loop, sl_proxy_stats(w.proxy)->proxy_missing > 0);
    end_behind_proxy();
}

static void the_visitor_moves(void)
{
    begin_behind_proxy(&loopback);
    name_visitor("203.0.113.9");
    open_conn();
    ask();
    sl_assert(sl_quic_rebind(c.conn) == 0);
    for (int k = 0; k < MAX_REBINDS; k++) {
        ask();
        sl_check(saw("203.0.113.9")); /* nobody has said otherwise */
    }
    sl_assert(sl_quic_rebind(c.conn) == 0);
    name_visitor("203.0.113.77");
    for (int k = 0; k < MAX_REBINDS && !saw("203.0.113.77"); k++)
        ask();
    sl_check(saw("203.0.113.77"));
    end_behind_proxy();
}

int main(void)
{
    a_header_names_the_visitor();
    a_header_outlives_a_connection();
    without_a_header_nobody_comes_in();
    the_policy_is_about_the_visitor();
    strangers_name_nobody();
    wrong_headers_name_nobody();
    the_visitor_moves();
    a_request_goes_through();
    the_policy_refuses();
    the_hook_refuses();
    a_certificate_for_one_protocol_is_refused(false);
    a_certificate_for_one_protocol_is_refused(true);
    a_hello_waits(true);
    a_hello_waits(false);
    a_hello_hook_costs_a_retry(true);
    a_hello_hook_costs_a_retry(false);
    visitors_are_counted();
    a_new_policy_ends_connections();
    draining_ends_what_is_idle();
    a_port_goes_and_comes();
    a_client_moves_between_workers();
    return sl_check_done();
}
