/* Raw UDP behind a proxy that names its visitors. */
#include <arpa/inet.h>
#include "proxy/test_udp.h"

static struct udp_world u;
static struct spot target, front, other;

static void begin(const char *trusted)
{
    const struct sl_str ips = sl_str_c(trusted);
    struct sl_target_spec to;

    udp_begin(&u);
    spot_open(&target, u.w.loop);
    spot_open(&front, u.w.loop);
    spot_open(&other, u.w.loop);
    u.w.settings.accept_proxy = true;
    sl_assert(sl_ip_set_init(&u.w.settings.trusted, &ips, 1, "trusted", NULL) == 0);
    world_settings_changed(&u.w);
    to = udp_target(&target);
    udp_add(&u, &(struct sl_route_spec){.send_proxy = 2}, &to);
    world_publish(&u.w);
}

static void end(void)
{
    spot_close(&target);
    spot_close(&front);
    spot_close(&other);
    udp_end(&u);
    sl_ip_set_clear(&u.w.settings.trusted);
}

/* A header about this visitor, and what is behind it in the same datagram. */
static void name(struct spot *from, const char *visitor, const char *rest)
{
    uint8_t bytes[SL_PROXY_HEADER_WRITE_MAX + 64];
    struct sl_proxy_header header = {.has_addresses = true,
                                     .is_datagram = true,
                                     .from = {[10] = 0xff, 0xff},
                                     .to = {[10] = 0xff, 0xff, 10, 0, 0, 1},
                                     .from_port = 4711,
                                     .to_port = 53};
    size_t len;

    sl_assert(inet_pton(AF_INET, visitor, header.from + 12) == 1);
    len = sl_proxy_header_write(bytes, 2, &header);
    memcpy(bytes + len, rest, strlen(rest));
    spot_send(from, &u.at, bytes, len + strlen(rest));
}

/* The target was told that it is this visitor, in its datagram `i`. */
static bool was_told(size_t i, const char *visitor)
{
    struct sl_proxy_header header;
    const char *why;
    uint8_t ip[4];

    sl_assert(inet_pton(AF_INET, visitor, ip) == 1);
    return sl_proxy_header_parse(sl_buf_at(&target.got[i]), sl_buf_len(&target.got[i]), &header,
                                 &why) > 0 &&
           memcmp(header.from + 12, ip, 4) == 0 && header.from_port == 4711;
}

static void a_header_names_the_visitor(void)
{
    begin("127.0.0.1");
    target.answer = "pong";
    name(&front, "203.0.113.9", "");
    udp_say(&u, &front, "ping");
    run_until(u.w.loop, target.n_got == 2 && front.n_got > 0);
    sl_check(was_told(0, "203.0.113.9"));
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("ping"));
    sl_check_str(sl_buf_str(&front.got[0]), SL_STR("pong")); /* to where it came from */
    end();
}

static void each_address_has_its_own(void)
{
    begin("127.0.0.1");
    name(&front, "203.0.113.9", "");
    name(&other, "203.0.113.10", "");
    udp_say(&u, &front, "9");
    run_until(u.w.loop, target.n_got == 2);
    udp_say(&u, &other, "10");
    run_until(u.w.loop, target.n_got == 4);
    sl_check(was_told(0, "203.0.113.9") && was_told(2, "203.0.113.10"));
    end();
}

/* Some put a header in front of each datagram. */
static void a_header_before_every_datagram(void)
{
    begin("127.0.0.1");
    for (int i = 0; i < 3; i++) {
        name(&front, "203.0.113.9", "hello");
        run_until(u.w.loop, target.n_got == (size_t)i + 2);
    }
    sl_check(was_told(0, "203.0.113.9"));
    sl_check_str(sl_buf_str(&target.got[3]), SL_STR("hello"));
    sl_check(udp_stats(&u)->proxy_repeated == 2 && udp_stats(&u)->udp_sessions_total == 1);
    end();
}

static void without_a_header_nothing_goes(void)
{
    begin("127.0.0.1");
    udp_say(&u, &front, "x");
    run_until(u.w.loop, udp_stats(&u)->proxy_missing == 1);
    sl_check(udp_sessions(&u) == 0 && udp_stats(&u)->udp_dropped == 1 && target.n_got == 0);
    end();
}

/* The address is used again, for another visitor: who is another session. */
static void another_visitor_from_the_same_address(void)
{
    begin("127.0.0.1");
    name(&front, "203.0.113.9", "1");
    run_until(u.w.loop, target.n_got == 2);
    name(&front, "203.0.113.10", "2");
    run_until(u.w.loop, target.n_got == 4);
    sl_check(was_told(0, "203.0.113.9") && was_told(2, "203.0.113.10"));
    sl_check(udp_sessions(&u) == 1 && udp_stats(&u)->udp_sessions_total == 2);
    end();
}

/* A session that was silent here, but not in front of us, needs no second header. */
static void a_name_outlives_its_session(void)
{
    begin("127.0.0.1");
    name(&front, "203.0.113.9", "1");
    run_until(u.w.loop, target.n_got == 2);
    sl_loop_skip(u.w.loop, 61000);
    run_until(u.w.loop, udp_sessions(&u) == 0);
    udp_say(&u, &front, "2");
    run_until(u.w.loop, target.n_got == 4);
    sl_check(was_told(2, "203.0.113.9"));
    sl_loop_skip(u.w.loop, 61000);
    run_until(u.w.loop, udp_sessions(&u) == 0);
    sl_loop_skip(u.w.loop, SL_NAMED_IDLE_MS + 1000);
    udp_say(&u, &front, "3");
    run_until(u.w.loop, udp_stats(&u)->proxy_missing == 1);
    end();
}

/* Of a stranger it is a datagram like any other, but not for a target that believes headers. */
static void strangers_name_nobody(void)
{
    begin("192.0.2.1");
    name(&front, "203.0.113.9", "");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    udp_say(&u, &front, "x");
    run_until(u.w.loop, target.n_got == 2);
    sl_check(!was_told(0, "203.0.113.9"));
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("x"));
    end();
}

static void wrong_headers_name_nobody(void)
{
    static const uint8_t cut[] = "\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01";
    static const uint8_t stream[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
                                    "\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02";

    begin("127.0.0.1");
    spot_send(&front, &u.at, cut, sizeof(cut) - 1);
    spot_send(&front, &u.at, stream, sizeof(stream) - 1);
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 2);
    udp_say(&u, &front, "x");
    run_until(u.w.loop, udp_stats(&u)->proxy_missing == 1);
    sl_check(udp_sessions(&u) == 0);
    end();
}

/* The proxy speaks for itself: it is the visitor. */
static void a_local_header_is_about_the_proxy(void)
{
    static const uint8_t local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    begin("127.0.0.1");
    spot_send(&front, &u.at, local, sizeof(local) - 1);
    udp_say(&u, &front, "x");
    run_until(u.w.loop, target.n_got == 2);
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("x"));
    end();
}

int main(void)
{
    a_header_names_the_visitor();
    each_address_has_its_own();
    a_header_before_every_datagram();
    without_a_header_nothing_goes();
    another_visitor_from_the_same_address();
    a_name_outlives_its_session();
    strangers_name_nobody();
    wrong_headers_name_nobody();
    a_local_header_is_about_the_proxy();
    return sl_check_done();
}
