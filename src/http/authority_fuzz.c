/* Any Host: what is accepted has one spelling, which is accepted again as itself. */
#include "http/message.h"

static void check_again(struct sl_arena *a, struct sl_str host, uint16_t port)
{
    bool is_ipv6 = memchr(host.p, ':', host.len) != NULL;
    struct sl_str text = sl_arena_printf(a, is_ipv6 ? "[%.*s]:%u" : "%.*s:%u", SL_STR_FMT(host),
                                         port != 0 ? port : 80);
    struct sl_str again;
    uint16_t port_again;

    sl_assert(sl_authority_split(text, a, &again, &port_again) == 0);
    sl_assert(sl_str_eq(again, host) && port_again == (port != 0 ? port : 80));
}

static void check_host(struct sl_str host)
{
    sl_assert(host.p[host.len] == '\0' && host.len <= 255);
    sl_assert(host.p[host.len - 1] != '.' && host.p[0] != '.');
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.p[i];

        sl_assert(c > ' ' && c < 0x7f && c == sl_lower(c) && strchr("@/?#%\\,[]", c) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_arena arena = {0};
    struct sl_str host;
    uint16_t port;
    int rc = sl_authority_split(sl_str((const char *)bytes, len), &arena, &host, &port);

    sl_assert(rc == 0 || rc == SL_E_PROTOCOL);
    if (rc == 0 && len > 0) {
        check_host(host);
        check_again(&arena, host, port);
    }
    sl_arena_clear(&arena);
    return 0;
}
