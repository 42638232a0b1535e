/*
 * Some frames cost a server more than their sender. Each kind has a budget for a minute; a client
 * that overdraws one is told to calm down and loses the connection. Streams that were reset count
 * whoever reset them, as long as the client is the cause (CVE-2023-44487, CVE-2025-8671).
 */
#include "http/h2.h"

enum { MINUTE_MS = 60 * 1000, PRIORITY_UPDATE = 0x10 };

static const struct {
    size_t limit; /* offset in sl_http_limits */
    const char *why;
} budgets[SL_H2_N_BUDGETS] = {
#define BUDGET(field, why) {offsetof(struct sl_http_limits, field), why}
    [SL_H2_RESETS] = BUDGET(max_resets, "too many streams were reset"),
    [SL_H2_PINGS] = BUDGET(max_pings, "too many PING frames"),
    [SL_H2_SETTINGS] = BUDGET(max_settings, "too many SETTINGS frames"),
    [SL_H2_PRIORITIES] = BUDGET(max_priorities, "too many PRIORITY frames"),
    [SL_H2_EMPTY_DATA] = BUDGET(max_empty_data, "too many empty DATA frames"),
    [SL_H2_WINDOW_UPDATES] = BUDGET(max_window_updates, "too many WINDOW_UPDATE frames"),
#undef BUDGET
};

bool sl_h2_spend(struct sl_h2_conn *c, enum sl_h2_budget which)
{
    uint64_t now = sl_loop_now_ms(c->loop);
    const uint32_t *limit =
        (const void *)((const char *)&c->service->limits + budgets[which].limit);

    if (now - c->minute_ms >= MINUTE_MS) {
        memset(c->spent, 0, sizeof(c->spent));
        c->minute_ms = now;
    }
    if (++c->spent[which] <= *limit)
        return true;
    if (c->excess == NULL)
        c->excess = budgets[which].why;
    return false;
}

bool sl_h2_spend_frame(struct sl_h2_conn *c, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_RST_STREAM:
        return sl_h2_spend(c, SL_H2_RESETS);
    case NGHTTP2_PING:
        return (hd->flags & NGHTTP2_FLAG_ACK) != 0 || sl_h2_spend(c, SL_H2_PINGS);
    case NGHTTP2_SETTINGS:
        return sl_h2_spend(c, SL_H2_SETTINGS);
    case NGHTTP2_PRIORITY:
    case PRIORITY_UPDATE:
        return sl_h2_spend(c, SL_H2_PRIORITIES);
    case NGHTTP2_WINDOW_UPDATE:
        return sl_h2_spend(c, SL_H2_WINDOW_UPDATES);
    default: /* empty DATA counts when its padding has been read */
        return true;
    }
}

void sl_h2_earn(struct sl_h2_conn *c, size_t n_window_updates)
{
    uint32_t *spent = &c->spent[SL_H2_WINDOW_UPDATES];

    *spent -= (uint32_t)SL_MIN(n_window_updates, (size_t)*spent);
}
