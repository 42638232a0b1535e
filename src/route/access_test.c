#include "route/access.h"

#include <arpa/inet.h>
#include "base/check.h"

static const uint8_t *ip(const char *text)
{
    static uint8_t bytes[16];
    char mapped[64];

    snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') != NULL ? "" : "::ffff:", text);
    sl_check(inet_pton(AF_INET6, mapped, bytes) == 1);
    return bytes;
}

static bool is(const uint8_t got[16], const char *want)
{
    return memcmp(got, ip(want), 16) == 0;
}

static void ranges_are_parsed(void)
{
    static const struct {
        const char *text, *from, *to;
    } rows[] = {
        {"10.0.0.1", "10.0.0.1", "10.0.0.1"},
        {" 10.0.0.1\t", "10.0.0.1", "10.0.0.1"},
        {"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
        {"10.1.2.3/8", "10.0.0.0", "10.255.255.255"},
        {"10.0.0.0/9", "10.0.0.0", "10.127.255.255"},
        {"192.0.2.77/31", "192.0.2.76", "192.0.2.77"},
        {"192.0.2.77/32", "192.0.2.77", "192.0.2.77"},
        {"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"2001:db8::1", "2001:db8::1", "2001:db8::1"},
        {"2001:db8::1/128", "2001:db8::1", "2001:db8::1"},
        {"fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"},
        {"::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255"},
        {"10.0.0.1-10.0.0.9", "10.0.0.1", "10.0.0.9"},
        {"10.0.0.1 - 10.0.0.9", "10.0.0.1", "10.0.0.9"},
        {"10.0.0.1-10.0.0.1", "10.0.0.1", "10.0.0.1"},
        {"2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff"},
        {"::ffff:10.0.0.1-10.0.0.2", "10.0.0.1", "10.0.0.2"},
        {"192.168.*.*", "192.168.0.0", "192.168.255.255"},
        {"192.168.1.*", "192.168.1.0", "192.168.1.255"},
        {"10.*", "10.0.0.0", "10.255.255.255"},
        {"*", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_ip_range r;

        sl_check(sl_ip_range_parse(sl_str_c(rows[i].text), &r, NULL) == 0);
        sl_check(is(r.from, rows[i].from) && is(r.to, rows[i].to));
    }
}

static void nonsense_is_refused(void)
{
    static const struct sl_str rows[] = {
        SL_STR(""),
        SL_STR(" "),
        SL_STR("example.com"),
        SL_STR("10.0.0"),
        SL_STR("10.0.0.0.1"),
        SL_STR("10.0.0.256"),
        SL_STR("010.0.0.1"),
        SL_STR("10.0.0.1/33"),
        SL_STR("10.0.0.1/"),
        SL_STR("10.0.0.1/-1"),
        SL_STR("10.0.0.1/8/8"),
        SL_STR("/8"),
        SL_STR("2001:db8::/129"),
        SL_STR("2001:db8:::1"),
        SL_STR("fe80::1%eth0"),
        SL_STR("[::1]"),
        SL_STR("10.0.0.9-10.0.0.1"),
        SL_STR("10.0.0.1-"),
        SL_STR("-10.0.0.1"),
        SL_STR("10.0.0.1-2001:db8::1"),
        SL_STR("::-10.0.0.1"),
        SL_STR("10.0.0.1-10.0.0.2-10.0.0.3"),
        SL_STR("10.*.0.*"),
        SL_STR("*.0.0.1"),
        SL_STR("10.0.0.0.*"),
        SL_STR("10.0.0.*.*"),
        SL_STR("10.0.0.1*"),
        SL_STR("10..*"),
        SL_STR("*.*"),
        SL_STR("**"),
        SL_STR("2001:db8::*"),
        SL_STR("10.0.0.1\0"),
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_ip_range r;
        struct sl_err err = {0};

        sl_check(sl_ip_range_parse(rows[i], &r, &err) == SL_E_CONFIG);
        sl_check(err.code == SL_E_CONFIG && err.text[0] == '"');
    }
}

static void errors_name_the_entry(void)
{
    const struct sl_str texts[] = {SL_STR("10.0.0.1"), SL_STR("nope")};
    struct sl_ip_set set;
    struct sl_err err;

    sl_check(sl_ip_set_init(&set, texts, 2, "security.ipAllowList", &err) == SL_E_CONFIG);
    sl_check_str(sl_str_c(err.text),
                 SL_STR("security.ipAllowList[1]: \"nope\" is not an address; write 10.0.0.1, "
                        "10.0.0.0/8, 10.0.0.1-10.0.0.9, 10.0.*.*, 2001:db8::/32 or *"));
    sl_check(set.ranges == NULL && set.n == 0);
}

enum { MAX_TEXTS = 8 };

/* A set of texts separated by blanks. */
static struct sl_ip_set make(const char *list)
{
    struct sl_str rest = sl_str_c(list), texts[MAX_TEXTS], item;
    struct sl_ip_set set;
    size_t n = 0;

    while (sl_str_next(&rest, ' ', &item)) {
        sl_assert(n < MAX_TEXTS);
        if (item.len > 0)
            texts[n++] = item;
    }
    sl_check(sl_ip_set_init(&set, texts, n, "list", NULL) == 0);
    return set;
}

static void sets_hold_what_they_should(void)
{
    static const struct {
        const char *list, *ip;
        bool has;
    } rows[] = {
        {"", "10.0.0.1", false},
        {"*", "10.0.0.1", true},
        {"*", "2001:db8::1", true},
        {"10.0.0.0/8 *", "192.0.2.1", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.0/8", "::10.0.0.1", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1 10.0.0.3 10.0.0.5", "10.0.0.3", true},
        {"10.0.0.1 10.0.0.3 10.0.0.5", "10.0.0.4", false},
        {"10.0.0.5 10.0.0.3 10.0.0.1", "10.0.0.5", true},
        {"10.0.0.5 10.0.0.3 10.0.0.1", "10.0.0.6", false},
        {"10.0.0.5 10.0.0.3 10.0.0.1", "10.0.0.0", false},
        /* an entry inside another, and what comes behind it */
        {"10.0.0.0/8 10.1.0.0/16 10.200.0.0-12.0.0.0", "10.3.0.0", true},
        {"10.0.0.0/8 10.1.0.0/16 10.200.0.0-12.0.0.0", "12.0.0.0", true},
        {"10.0.0.0/8 10.1.0.0/16 10.200.0.0-12.0.0.0", "12.0.0.1", false},
        /* IPv6 ranges mean IPv6 */
        {"::/0", "2001:db8::1", true},
        {"::/0", "::1", true},
        {"::/0", "::fffe:ffff:ffff", true},
        {"::/0", "::1:0:0:0", true},
        {"::/0", "10.0.0.1", false},
        {"::/0", "0.0.0.0", false},
        {"::/0", "255.255.255.255", false},
        {"::/1", "10.0.0.1", false},
        {"::1-ffff::", "10.0.0.1", false},
        {"::1-ffff::", "::2", true},
        {"::1-ffff::", "::", false},
        {"0.0.0.0/0", "10.0.0.1", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0 0.0.0.0/0", "10.0.0.1", true},
        {"::/0 0.0.0.0/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_ip_set set = make(rows[i].list);

        if (sl_ip_set_has(&set, ip(rows[i].ip)) != rows[i].has)
            fprintf(stderr, "row %zu: %s in \"%s\"\n", i, rows[i].ip, rows[i].list);
        sl_check(sl_ip_set_has(&set, ip(rows[i].ip)) == rows[i].has);
        sl_ip_set_clear(&set);
    }
}

static void block_wins_over_allow(void)
{
    static const struct {
        const char *allow, *block, *ip;
        bool allowed;
    } rows[] = {
        {"", "", "10.0.0.1", true},
        {"10.0.0.0/8", "", "10.0.0.1", true},
        {"10.0.0.0/8", "", "192.0.2.1", false},
        {"", "10.0.0.0/8", "10.0.0.1", false},
        {"", "10.0.0.0/8", "192.0.2.1", true},
        {"10.0.0.0/8", "10.0.0.1", "10.0.0.1", false},
        {"10.0.0.0/8", "10.0.0.1", "10.0.0.2", true},
        {"*", "*", "10.0.0.1", false},
        {"*", "", "2001:db8::1", true},
        {"10.0.0.1", "*", "10.0.0.1", false},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_access a = {make(rows[i].allow), make(rows[i].block)};

        sl_check(sl_access_allows(&a, ip(rows[i].ip)) == rows[i].allowed);
        sl_ip_set_clear(&a.allow);
        sl_ip_set_clear(&a.block);
    }
}

int main(void)
{
    ranges_are_parsed();
    nonsense_is_refused();
    errors_name_the_entry();
    sets_hold_what_they_should();
    block_wins_over_allow();
    return sl_check_done();
}
