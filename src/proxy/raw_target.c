#include "proxy/raw_target.h"

#include <stdio.h>
#include "route/target.h"

struct sl_str sl_raw_target_text(const struct sl_target *t, uint16_t port,
                                 char out[SL_RAW_TARGET_LEN])
{
    bool is_ipv6 = t != NULL && t->host.len > 0 && memchr(t->host.p, ':', t->host.len) != NULL;

    out[0] = '\0';
    if (t != NULL && t->tunnel.len > 0)
        snprintf(out, SL_RAW_TARGET_LEN, "tunnel:%.*s", SL_STR_FMT(t->tunnel));
    else if (t != NULL && t->unix_path.len > 0)
        snprintf(out, SL_RAW_TARGET_LEN, "unix:%.*s", SL_STR_FMT(t->unix_path));
    else if (t != NULL)
        snprintf(out, SL_RAW_TARGET_LEN, is_ipv6 ? "[%.*s]:%u" : "%.*s:%u", SL_STR_FMT(t->host),
                 t->port != 0 ? t->port : port);
    return sl_str_c(out);
}

void sl_raw_target_failed(struct sl_proxy *p, const struct sl_raw_failure *failure)
{
    char text[SL_RAW_TARGET_LEN];
    unsigned n_suppressed;

    if (sl_log_may(&p->failures, &n_suppressed))
        sl_log_warn("target failed",
                    sl_f_strn("target", sl_raw_target_text(failure->target, failure->port, text)),
                    sl_f_strn("route", failure->route != NULL ? failure->route->name : SL_STR_NONE),
                    sl_f_str("while", failure->doing), sl_f_str("error", failure->error),
                    sl_f_str("detail", failure->detail != NULL ? failure->detail : ""),
                    sl_f_int("suppressed", n_suppressed));
    sl_target_failed(failure->target, sl_loop_now_ms(p->loop));
}

struct sl_target *sl_raw_target_new(struct sl_str host, uint16_t port)
{
    struct sl_target *t = sl_zalloc(sizeof(*t));

    t->host = sl_str(sl_strndup(host.p, host.len), host.len);
    t->port = port;
    t->state = sl_target_state_get(t);
    return t;
}

void sl_raw_target_free(struct sl_target *t)
{
    if (t == NULL)
        return;
    sl_target_state_put(t->state);
    sl_free((char *)t->host.p);
    sl_free(t);
}

struct sl_proxy_header sl_raw_header(const struct sl_peer *peer, uint16_t port)
{
    struct sl_proxy_header header = {.has_addresses = true};

    memcpy(header.from, peer->ip16, 16);
    sl_addr_to_ip16(&peer->local, header.to);
    header.from_port = sl_addr_port(&peer->remote);
    header.to_port = port;
    return header;
}
