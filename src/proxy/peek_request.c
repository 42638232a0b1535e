/*
 * On a port with routes for requests and others for any bytes, the first request says who gets the
 * connection: what no route for requests wants is passed on as it is. Reads just enough to ask the
 * routes; whoever gets the bytes then reads them for himself, and properly.
 */
#include "codec/request_line.h"
#include "proxy/internal.h"

enum { MAX_HEAD = 8 * 1024 }; /* what is longer is a request */

/* `head`: the lines behind the first one. */
static struct sl_str header_of(const void *head, struct sl_str name)
{
    struct sl_str rest = *(const struct sl_str *)head, line;

    while (sl_str_next(&rest, '\n', &line)) {
        struct sl_str field;

        if (sl_str_ends(line, SL_STR("\r")))
            line.len--;
        if (sl_str_next(&line, ':', &field) && sl_str_ieq(field, name))
            return sl_str_trim(line);
    }
    return SL_STR_NONE;
}

static struct sl_route *find(struct sl_conn *c, const struct sl_request_line *line,
                             struct sl_str head)
{
    struct sl_str authority =
        line->authority.len > 0 ? line->authority : header_of(&head, SL_STR("host"));
    struct sl_route_query q = sl_conn_query(c, SL_STR(""));
    struct sl_arena arena = {0};
    struct sl_route *r;
    uint16_t port;

    if (authority.len > 0 && sl_authority_split(authority, &arena, &q.host, &port) < 0)
        q.host = SL_STR("");
    q.path = line->path;
    q.header = header_of;
    q.message = &head;
    r = sl_snapshot_find(c->proxy->live->snapshot, &q);
    sl_arena_clear(&arena);
    return r;
}

/* No method is so long, and none has such bytes in it. */
static bool may_be_request(struct sl_str text)
{
    struct sl_str method;

    return text.len == 0 || (sl_str_next(&text, ' ', &method) && method.len <= SL_METHOD_MAX &&
                             sl_method_ok(method));
}

int sl_peek_request(struct sl_conn *c, struct sl_route **route)
{
    struct sl_str text = sl_buf_str(&c->first);
    const char *end = text.len > 0 ? memmem(text.p, text.len, "\r\n\r\n", 4) : NULL;
    struct sl_request_line line;
    long n = sl_request_line_find_end((const uint8_t *)text.p, text.len, 0);

    if (!may_be_request(text) || n == SL_E_PROTOCOL ||
        (n >= 0 && sl_request_line_parse(&line, sl_str(text.p, (size_t)n)) != 0))
        return 0;
    if (end == NULL && text.len <= MAX_HEAD)
        return SL_E_PARTIAL;
    *route =
        end != NULL ? find(c, &line, sl_str(text.p + n, (size_t)(end - text.p) - (size_t)n)) : NULL;
    return 0;
}
