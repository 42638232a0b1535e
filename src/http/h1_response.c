#include "http/h1.h"

static char *put(char *out, struct sl_str s)
{
    memcpy(out, s.p, s.len);
    return out + s.len;
}

static char *put_number(char *out, uint64_t n)
{
    char digits[20];
    int len = 0;

    do {
        digits[len++] = (char)('0' + n % 10);
    } while ((n /= 10) > 0);
    while (len > 0)
        *out++ = digits[--len];
    return out;
}

size_t sl_h1_headers_room(const struct sl_headers *h)
{
    size_t room = 0;

    for (unsigned i = 0; i < h->n; i++)
        room += h->at[i].name.len + h->at[i].value.len + 4;
    return room;
}

char *sl_h1_put_headers(char *out, const struct sl_headers *h, bool keep_upgrade)
{
    for (unsigned i = 0; i < h->n; i++) {
        const struct sl_header *header = &h->at[i];

        if (sl_header_is_framing(header->id) && !(keep_upgrade && header->id == SL_H_UPGRADE))
            continue;
        out = put(out, header->name);
        out = put(out, SL_STR(": "));
        out = put(out, header->value);
        out = put(out, SL_STR("\r\n"));
    }
    return out;
}

static char *put_status_line(char *out, int status)
{
    out = put(out, SL_STR("HTTP/1.1 "));
    out = put_number(out, (uint64_t)status);
    *out++ = ' ';
    out = put(out, sl_str_c(sl_status_text(status)));
    return put(out, SL_STR("\r\n"));
}

/* RFC 9112, 6.3: which responses have no body, and how the others tell their end to this client. */
static void choose_framing(struct sl_h1_conn *c, const struct sl_response *res)
{
    bool knows_length = res->content_length != SL_LENGTH_UNKNOWN;

    c->is_raw = res->status == 101;
    c->no_body = c->is_head_request || res->status == 204 || res->status == 304;
    c->is_chunked = !c->is_raw && !c->no_body && !knows_length && c->ex.req.version == SL_HTTP_11;
    c->body_left = knows_length ? res->content_length : SL_LENGTH_UNKNOWN;
    if (!c->is_raw && !c->no_body && !knows_length && !c->is_chunked)
        c->keep_alive = false; /* an HTTP/1.0 client learns the end from the close */
    if (c->ex.req.expects_continue && !c->ex.request_ended)
        c->keep_alive = false; /* nobody knows whether the body follows: we never asked for it */
    if (c->is_draining || c->got_fin ||
        (c->service->limits.max_requests > 0 && c->n_requests >= c->service->limits.max_requests))
        c->keep_alive = false;
}

/* RFC 9110, 15.5.22: 426 names the protocol that it demands; 7.8: and Connection names the field.
 */
static bool tells_upgrade(const struct sl_response *res)
{
    return res->status == 101 ||
           (res->status == 426 && sl_headers_find_id(&res->headers, SL_H_UPGRADE) != NULL);
}

static char *put_framing(struct sl_h1_conn *c, char *out, const struct sl_response *res)
{
    if (tells_upgrade(res))
        out = put(out, SL_STR("Connection: upgrade\r\n"));
    if (c->is_raw)
        return out;
    if (sl_response_has_length(res)) {
        out = put(out, SL_STR("Content-Length: "));
        out = put_number(out, res->content_length);
        out = put(out, SL_STR("\r\n"));
    } else if (c->is_chunked) {
        out = put(out, SL_STR("Transfer-Encoding: chunked\r\n"));
    }
    if (!c->keep_alive)
        return put(out, SL_STR("Connection: close\r\n"));
    if (c->ex.req.version == SL_HTTP_10)
        return put(out, SL_STR("Connection: keep-alive\r\n"));
    return out;
}

void sl_h1_stage_head(struct sl_h1_conn *c, const struct sl_response *res)
{
    enum { OWN_ROOM = 256 }; /* status line, framing, date */
    char *head = sl_arena_alloc(&c->ex.arena, sl_h1_headers_room(&res->headers) + OWN_ROOM);
    char *out = put_status_line(head, res->status);

    choose_framing(c, res);
    out = sl_h1_put_headers(out, &res->headers, tells_upgrade(res));
    if (sl_headers_find_id(&res->headers, SL_H_DATE) == NULL && !c->is_raw) {
        out = put(out, SL_STR("Date: "));
        out = put(out, sl_http_date());
        out = put(out, SL_STR("\r\n"));
    }
    out = put_framing(c, out, res);
    out = put(out, SL_STR("\r\n"));
    c->staged = sl_str(head, (size_t)(out - head));
}

struct sl_str sl_h1_interim_head(struct sl_arena *a, const struct sl_response *res)
{
    char *head = sl_arena_alloc(a, sl_h1_headers_room(&res->headers) + 64);
    char *out = put_status_line(head, res->status);

    out = sl_h1_put_headers(out, &res->headers, false);
    out = put(out, SL_STR("\r\n"));
    return sl_str(head, (size_t)(out - head));
}

struct sl_str sl_h1_last_chunk(struct sl_arena *a, const struct sl_headers *trailers)
{
    char *text, *out;

    if (trailers == NULL || trailers->n == 0)
        return SL_STR("0\r\n\r\n");
    text = sl_arena_alloc(a, sl_h1_headers_room(trailers) + 8);
    out = put(text, SL_STR("0\r\n"));
    out = sl_h1_put_headers(out, trailers, false);
    out = put(out, SL_STR("\r\n"));
    return sl_str(text, (size_t)(out - text));
}
