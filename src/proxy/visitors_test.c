#include "proxy/visitors.h"

#include "base/check.h"

enum { MINUTE = 60000 };

static void make_ip(uint8_t ip[16], uint32_t n)
{
    memset(ip, 0, 16);
    ip[0] = 0x20;
    memcpy(ip + 12, &n, sizeof(n));
}

static void connections_are_counted_per_address(void)
{
    const struct sl_policy policy = {.max_connections_per_ip = 2};
    uint8_t a[16], b[16];

    make_ip(a, 1);
    make_ip(b, 2);
    sl_check(sl_visitor_enter(a, &policy, 0) && sl_visitor_enter(a, &policy, 0));
    sl_check(!sl_visitor_enter(a, &policy, 0) && sl_visitor_enter(b, &policy, 0));
    sl_visitor_leave(a);
    sl_check(sl_visitor_enter(a, &policy, 0) && !sl_visitor_enter(a, &policy, 0));
    sl_visitor_leave(a);
    sl_visitor_leave(a);
    sl_visitor_leave(b);
}

static int enter_and_leave(const uint8_t ip[16], const struct sl_policy *policy, uint64_t now,
                           int n)
{
    int n_ok = 0;

    for (int i = 0; i < n; i++) {
        if (sl_visitor_enter(ip, policy, now)) {
            n_ok++;
            sl_visitor_leave(ip);
        }
    }
    return n_ok;
}

/* A sliding minute: half of it later, half of what was opened still counts. */
static void the_rate_slides(void)
{
    const struct sl_policy policy = {.connections_per_minute = 10};
    const uint64_t start = 100 * MINUTE;
    uint8_t ip[16];

    make_ip(ip, 3);
    sl_check(enter_and_leave(ip, &policy, start, 20) == 10);
    sl_check(enter_and_leave(ip, &policy, start + MINUTE - 1, 20) == 0);
    sl_check(enter_and_leave(ip, &policy, start + MINUTE + MINUTE / 2, 20) == 5);
    sl_check(enter_and_leave(ip, &policy, start + 5 * MINUTE, 20) == 10);
}

/* Who comes from many addresses neither fills the table nor makes it forget who is here. */
static void a_crowd_passes_through(void)
{
    const struct sl_policy policy = {.max_connections_per_ip = 1, .connections_per_minute = 5};
    uint8_t here[16], ip[16];

    make_ip(here, 4);
    sl_check(sl_visitor_enter(here, &policy, 200 * MINUTE));
    for (uint32_t minute = 200; minute < 206; minute++) {
        for (uint32_t i = 0; i < 100000; i++) {
            make_ip(ip, 1000 + minute * 100000 + i);
            sl_check(enter_and_leave(ip, &policy, (uint64_t)minute * MINUTE, 1) == 1);
        }
    }
    sl_check(!sl_visitor_enter(here, &policy, 206 * MINUTE));
    sl_visitor_leave(here);
    sl_check(sl_visitor_enter(here, &policy, 206 * MINUTE));
    sl_visitor_leave(here);
}

int main(void)
{
    connections_are_counted_per_address();
    the_rate_slides();
    a_crowd_passes_through();
    return sl_check_done();
}
