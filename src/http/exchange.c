#include "http/exchange.h"

#include <stdatomic.h>
#include "base/clock.h"

const struct sl_http_limits sl_http_limits_default = SL_HTTP_LIMITS_DEFAULT;

void sl_exchange_begin(struct sl_exchange *ex)
{
    static _Atomic uint64_t next_id;
    static __thread uint64_t id, id_end;

    if (id == id_end) { /* threads take numbers by the thousand, so that they share no cache line */
        id = atomic_fetch_add(&next_id, 1024);
        id_end = id + 1024;
    }
    ex->id = ++id;
    ex->started_ns = sl_clock_ns();
}

void sl_exchange_reply(struct sl_exchange *ex, int status, struct sl_str content_type,
                       struct sl_str body, const struct sl_headers *extra)
{
    struct sl_response res = {.version = SL_HTTP_11, .status = status, .content_length = body.len};
    struct iovec iov = {(void *)body.p, body.len};

    if (content_type.len > 0)
        sl_headers_add_id(&res.headers, &ex->arena, SL_H_CONTENT_TYPE, SL_STR("Content-Type"),
                          content_type);
    for (unsigned i = 0; extra != NULL && i < extra->n; i++)
        sl_headers_add_id(&res.headers, &ex->arena, extra->at[i].id, extra->at[i].name,
                          extra->at[i].value);
    sl_exchange_respond(ex, &res);
    (void)sl_exchange_write(ex, &iov, body.len > 0 ? 1 : 0, true);
}

/* Browsers and people get text, programs that ask for JSON or for anything get JSON. */
static bool wants_text(const struct sl_exchange *ex)
{
    struct sl_str accept = sl_headers_get(&ex->req.headers, SL_STR("accept"));
    struct sl_str item;

    while (accept.p != NULL && sl_str_next(&accept, ',', &item)) {
        if (sl_str_starts(item, SL_STR("text/")))
            return true;
        if (sl_str_starts(item, SL_STR("application/json")))
            return false;
    }
    return false;
}

struct sl_str sl_exchange_error_body(struct sl_exchange *ex, int status, struct sl_str *type)
{
    const char *text = sl_status_text(status);

    if (wants_text(ex)) {
        *type = SL_STR("text/plain");
        return sl_arena_printf(&ex->arena, "%d %s\n", status, text);
    }
    *type = SL_STR("application/json");
    return sl_arena_printf(&ex->arena, "{\"error\":\"%s\",\"status\":%d}\n", text, status);
}

void sl_exchange_fail(struct sl_exchange *ex, int status)
{
    struct sl_str type;
    struct sl_str body = sl_exchange_error_body(ex, status, &type);

    sl_exchange_reply(ex, status, type, body, NULL);
}
