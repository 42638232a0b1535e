#include "http/head.h"

#include "codec/request_line.h"

void sl_head_begin(struct sl_head *h, struct sl_request *req, struct sl_arena *arena,
                   const struct sl_http_limits *limits, enum sl_http_version version)
{
    *h = (struct sl_head){.req = req, .arena = arena, .limits = limits};
    req->version = version;
}

/* Keeps the first cause. */
static int refuse(struct sl_head *h, int status, const char *why)
{
    if (h->status == 0) {
        h->status = status;
        h->why = why;
    }
    return h->status;
}

/* False: one field too many, or too large. */
static bool count(struct sl_head *h, struct sl_str name, struct sl_str value)
{
    h->n_bytes += name.len + value.len;
    h->n_fields++;
    return h->n_bytes <= h->limits->max_head && h->n_fields <= h->limits->max_headers;
}

static void take_pseudo(struct sl_head *h, struct sl_str name, struct sl_str value)
{
    struct sl_str *into = NULL;

    if (sl_str_eq(name, SL_STR(":method")))
        into = &h->req->method;
    else if (sl_str_eq(name, SL_STR(":path")))
        into = &h->target;
    else if (sl_str_eq(name, SL_STR(":scheme")))
        into = &h->req->scheme;
    else if (sl_str_eq(name, SL_STR(":authority")))
        into = &h->req->authority;
    else if (sl_str_eq(name, SL_STR(":protocol")))
        into = &h->protocol;
    if (into == &h->target && value.len > h->limits->max_target)
        refuse(h, 414, "the target is too long");
    else if (into != NULL)
        *into = sl_arena_dup(h->arena, value);
}

void sl_head_field(struct sl_head *h, struct sl_str name, struct sl_str value)
{
    struct sl_headers *into = h->in_trailers ? &h->req->trailers : &h->req->headers;
    bool is_pseudo = name.len > 0 && name.p[0] == ':';
    enum sl_header_id id;

    if (!count(h, name, value)) {
        refuse(h, 431, h->in_trailers ? "too many trailers" : "the request head is too large");
        return;
    }
    if (is_pseudo) {
        if (!h->in_trailers)
            take_pseudo(h, name, value);
        return;
    }
    id = sl_header_id(name);
    if (h->in_trailers && !sl_header_may_trail(id))
        return;
    sl_headers_add_id(into, h->arena, id,
                      id != SL_H_OTHER ? sl_header_name(id) : sl_arena_dup(h->arena, name),
                      sl_arena_dup(h->arena, value));
}

struct facts {
    const struct sl_header *host;
    unsigned n_host, n_length, n_cookies;
    struct sl_str websocket_version;
};

static int collect(struct sl_head *h, struct facts *facts)
{
    struct sl_request *req = h->req;

    for (unsigned i = 0; i < req->headers.n; i++) {
        const struct sl_header *header = &req->headers.at[i];

        if (header->id == SL_H_HOST) {
            facts->n_host++;
            facts->host = header;
        } else if (header->id == SL_H_CONTENT_LENGTH) {
            if (facts->n_length++ > 0 ||
                sl_str_to_u64(header->value, INT64_MAX, &req->content_length) < 0)
                return refuse(h, 400, "bad Content-Length");
        } else if (header->id == SL_H_COOKIE) {
            facts->n_cookies++;
        } else if (header->id == SL_H_EXPECT) {
            req->expects_continue = sl_str_ieq(header->value, SL_STR("100-continue"));
        } else if (header->id == SL_H_OTHER && h->protocol.len > 0 &&
                   sl_str_eq(header->name, SL_STR("sec-websocket-version"))) {
            facts->websocket_version = header->value;
        }
    }
    return 0;
}

static int check_host(struct sl_head *h, const struct facts *facts)
{
    struct sl_request *req = h->req;
    uint16_t port;

    if (facts->n_host > 1)
        return refuse(h, 400, "more than one Host");
    if (facts->n_host == 1 && req->authority.p != NULL &&
        !sl_str_ieq(req->authority, facts->host->value))
        return refuse(h, 400, ":authority names another host than Host");
    if (req->authority.p == NULL && facts->n_host == 1)
        req->authority = facts->host->value;
    if (req->authority.len == 0 ||
        sl_authority_split(req->authority, h->arena, &req->host, &port) < 0)
        return refuse(h, 400, "bad or missing :authority");
    if (facts->n_host == 0) /* scripts see the same request whatever the version */
        sl_headers_add_id(&req->headers, h->arena, SL_H_HOST, sl_header_name(SL_H_HOST),
                          req->authority);
    return 0;
}

/* RFC 8441, section 4: a WebSocket handshake in HTTP/2 clothes. The stream that follows is the
 * channel, not a body. */
static int become_upgrade(struct sl_head *h, const struct facts *facts)
{
    struct sl_request *req = h->req;

    if (sl_str_eq(h->protocol, SL_STR("websocket")) &&
        !sl_str_eq(facts->websocket_version, SL_STR("13")))
        return refuse(h, 400, "unknown version of WebSocket");
    if (facts->n_length > 0)
        return refuse(h, 400, "a length on CONNECT");
    req->method = SL_STR("GET");
    req->upgrade = h->protocol;
    sl_headers_add_id(&req->headers, h->arena, SL_H_UPGRADE, sl_header_name(SL_H_UPGRADE),
                      h->protocol);
    return 0;
}

static int check_target(struct sl_head *h)
{
    struct sl_request *req = h->req;

    if (!sl_method_ok(req->method))
        return refuse(h, 400, "bad method");
    if (sl_str_eq(req->method, SL_STR("CONNECT")) && h->protocol.len == 0)
        return refuse(h, 405, "CONNECT is not served here");
    if (!sl_str_ieq(req->scheme, SL_STR("https")) && !sl_str_ieq(req->scheme, SL_STR("http")))
        return refuse(h, 400, "unknown :scheme");
    if (!sl_request_target_ok(h->target) ||
        (h->target.p[0] != '/' &&
         !(sl_str_eq(h->target, SL_STR("*")) && sl_str_eq(req->method, SL_STR("OPTIONS")))))
        return refuse(h, 400, "bad :path");
    sl_target_split(h->target, &req->path, &req->query);
    return 0;
}

int sl_head_finish(struct sl_head *h, bool ended)
{
    struct sl_request *req = h->req;
    struct facts facts = {0};

    h->in_trailers = true;
    h->n_bytes = h->n_fields = 0;
    req->content_length = ended ? 0 : SL_LENGTH_UNKNOWN;
    if (h->status != 0 || check_target(h) != 0 || collect(h, &facts) != 0 ||
        check_host(h, &facts) != 0)
        return h->status;
    if (h->protocol.len > 0) {
        if (become_upgrade(h, &facts) != 0)
            return h->status;
        req->content_length = 0;
    }
    if (ended)
        req->expects_continue = false;
    if (facts.n_cookies > 1) /* RFC 9113, 8.2.3: they were one field, cut for compression */
        sl_headers_set(&req->headers, h->arena, SL_STR("cookie"),
                       sl_headers_get_all(&req->headers, SL_STR("cookie"), h->arena));
    sl_headers_remove_id(&req->headers, SL_H_HTTP2_SETTINGS);
    return 0;
}

/* --- responses --- */

static struct sl_str lower(struct sl_arena *a, const struct sl_header *h)
{
    char *out;

    if (h->id != SL_H_OTHER)
        return sl_header_name(h->id);
    out = sl_arena_alloc(a, h->name.len);
    for (size_t i = 0; i < h->name.len; i++)
        out[i] = (char)sl_lower((unsigned char)h->name.p[i]);
    return sl_str(out, h->name.len);
}

static size_t put_headers(struct sl_arena *a, const struct sl_headers *h, struct sl_field *out)
{
    size_t n = 0;

    for (unsigned i = 0; i < h->n; i++) {
        if (!sl_header_is_framing(h->at[i].id))
            out[n++] = (struct sl_field){lower(a, &h->at[i]), h->at[i].value};
    }
    return n;
}

static struct sl_str number(struct sl_arena *a, uint64_t value)
{
    char *end = (char *)sl_arena_alloc(a, 20) + 20, *at = end;

    do {
        *--at = (char)('0' + value % 10);
    } while ((value /= 10) > 0);
    return sl_str(at, (size_t)(end - at));
}

/* The proof that a server read the handshake of HTTP/1.1 has no meaning here (RFC 8441, 5). */
static size_t drop_accept(struct sl_field *fields, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (!sl_str_eq(fields[i].name, SL_STR("sec-websocket-accept")))
            fields[kept++] = fields[i];
    }
    return kept;
}

size_t sl_head_response(struct sl_arena *a, const struct sl_response *res, struct sl_field **out)
{
    enum { OWN = 3 }; /* :status, content-length, date */
    struct sl_field *fields = sl_arena_alloc(a, (res->headers.n + OWN) * sizeof(*fields));
    bool is_raw = res->status == 101, is_interim = res->status < 200 && !is_raw;
    size_t n = 0;

    fields[n++] =
        (struct sl_field){SL_STR(":status"), number(a, is_raw ? 200 : (uint64_t)res->status)};
    n += put_headers(a, &res->headers, fields + n);
    if (is_raw)
        n = drop_accept(fields, n);
    else if (!is_interim && sl_response_has_length(res))
        fields[n++] =
            (struct sl_field){sl_header_name(SL_H_CONTENT_LENGTH), number(a, res->content_length)};
    if (!is_interim && sl_headers_find_id(&res->headers, SL_H_DATE) == NULL)
        fields[n++] = (struct sl_field){sl_header_name(SL_H_DATE), sl_arena_dup(a, sl_http_date())};
    *out = fields;
    return n;
}

size_t sl_head_trailers(struct sl_arena *a, const struct sl_headers *trailers,
                        struct sl_field **out)
{
    *out = trailers->n > 0 ? sl_arena_alloc(a, trailers->n * sizeof(**out)) : NULL;
    return put_headers(a, trailers, *out);
}
