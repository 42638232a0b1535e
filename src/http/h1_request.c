#include <pthread.h>
#include "codec/request_line.h"
#include "http/h1.h"

static llhttp_settings_t settings;
static llhttp_t templates[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int on_headers_done(llhttp_t *parser)
{
    struct sl_h1_fields *f = parser->data;

    f->head_done = true;
    return HPE_PAUSED;
}

/* llhttp knows only registered methods; the request line is ours (codec/request_line.h), so every
   message begins with a parser that has read this line already. */
static void make_templates(void)
{
    static const char *const lines[] = {"POST / HTTP/1.0\r\n", "POST / HTTP/1.1\r\n"};

    sl_h1_fields_settings(&settings);
    settings.on_headers_complete = on_headers_done;
    for (int i = 0; i < 2; i++) {
        llhttp_init(&templates[i], HTTP_REQUEST, &settings);
        sl_assert(llhttp_execute(&templates[i], lines[i], strlen(lines[i])) == HPE_OK);
    }
}

void sl_h1_parser_begin(llhttp_t *parser, int minor)
{
    void *data = parser->data;

    pthread_once(&once, make_templates);
    *parser = templates[minor];
    parser->data = data;
}

int sl_h1_request_line(struct sl_h1_conn *c, const uint8_t *bytes, size_t len, const char **why)
{
    struct sl_request *req = &c->ex.req;
    struct sl_str line = sl_arena_dup(&c->ex.arena, sl_str((const char *)bytes, len));
    struct sl_request_line parts;
    int status = sl_request_line_parse(&parts, line);

    if (status != 0) {
        *why = status == 505 ? "unknown HTTP version" : "bad request line";
        return status;
    }
    req->version = parts.minor == 0 ? SL_HTTP_10 : SL_HTTP_11;
    req->method = parts.method;
    req->authority = parts.authority;
    req->path = parts.path;
    req->query = parts.query;
    req->scheme = c->peer->is_tls ? SL_STR("https") : SL_STR("http");
    c->is_head_request = sl_str_eq(req->method, SL_STR("HEAD"));
    sl_h1_parser_begin(&c->parser, parts.minor);
    sl_h1_fields_begin(&c->fields, &req->headers, &c->ex.arena);
    return 0;
}

struct facts {
    struct sl_str host;
    unsigned n_host, n_length, n_coding;
    bool close, keep_alive, connection_upgrade, te_chunked;
    struct sl_str upgrade;
};

static void read_connection(struct facts *facts, struct sl_str value)
{
    struct sl_str token;

    while (sl_str_next(&value, ',', &token)) {
        if (sl_str_ieq(token, SL_STR("close")))
            facts->close = true;
        else if (sl_str_ieq(token, SL_STR("keep-alive")))
            facts->keep_alive = true;
        else if (sl_str_ieq(token, SL_STR("upgrade")))
            facts->connection_upgrade = true;
    }
}

/* RFC 9110, 7.6.1: headers that Connection names are hop-by-hop, too. The ones that carry meaning
 * for us stay. */
static void drop_named_by(struct sl_headers *h, struct sl_str value)
{
    struct sl_str token;

    while (sl_str_next(&value, ',', &token)) {
        enum sl_header_id id = sl_header_id(token);

        if (token.len > 0 && (id == SL_H_OTHER || id == SL_H_HTTP2_SETTINGS))
            sl_headers_remove(h, token);
    }
}

static void collect(struct sl_request *req, struct facts *facts)
{
    for (unsigned i = 0; i < req->headers.n; i++) {
        struct sl_header *h = &req->headers.at[i];

        switch (h->id) {
        case SL_H_HOST:
            facts->n_host++;
            facts->host = h->value;
            break;
        case SL_H_CONTENT_LENGTH:
            facts->n_length++;
            (void)sl_str_to_u64(h->value, INT64_MAX,
                                &req->content_length); /* checked when it was read */
            break;
        case SL_H_TRANSFER_ENCODING:
            facts->n_coding++;
            break;
        case SL_H_CONNECTION:
            read_connection(facts, h->value);
            drop_named_by(&req->headers, h->value);
            break;
        case SL_H_UPGRADE:
            facts->upgrade = h->value;
            break;
        case SL_H_EXPECT:
            /* An HTTP/1.0 client cannot have meant it (RFC 9110, 10.1.1). */
            req->expects_continue =
                req->version == SL_HTTP_11 && sl_str_ieq(h->value, SL_STR("100-continue"));
            break;
        default:
            break;
        }
    }
}

static int check_host(struct sl_h1_conn *c, const struct facts *facts, const char **why)
{
    struct sl_request *req = &c->ex.req;
    uint16_t port;

    *why = "bad or missing Host";
    if (facts->n_host > 1 || (facts->n_host == 0 && req->version == SL_HTTP_11))
        return 400;
    if (req->authority.len == 0) {
        req->authority = facts->host;
    } else if (facts->n_host == 1 && !sl_str_ieq(req->authority, facts->host)) {
        *why = "the target names another host than Host";
        return 400;
    }
    if (sl_authority_split(req->authority, &c->ex.arena, &req->host, &port) < 0)
        return 400;
    return 0;
}

static int check_framing(struct sl_request *req, const struct facts *facts, const char **why)
{
    *why = "ambiguous message length";
    if (facts->n_coding > 1 || facts->n_length > 1 || (facts->n_coding > 0 && facts->n_length > 0))
        return 400;
    if (facts->n_coding > 0 && req->version == SL_HTTP_10)
        return 400; /* RFC 9112, 6.1 */
    if (facts->n_coding > 0)
        req->content_length = SL_LENGTH_UNKNOWN;
    return 0;
}

int sl_h1_request_finish(struct sl_h1_conn *c, const char **why)
{
    struct sl_request *req = &c->ex.req;
    struct facts facts = {.host = {"", 0}};
    int status;

    collect(req, &facts);
    if ((status = check_framing(req, &facts, why)) != 0 ||
        (status = check_host(c, &facts, why)) != 0)
        return status;
    if (sl_str_eq(req->method, SL_STR("CONNECT"))) {
        *why = "CONNECT is not served here";
        return 405;
    }
    /* h2c by Upgrade is obsolete and a way round access rules: ignored, and not passed on. */
    if (facts.connection_upgrade && facts.upgrade.len > 0 &&
        !sl_str_has_token(facts.upgrade, SL_STR("h2c")) && req->version == SL_HTTP_11 &&
        req->content_length == 0)
        req->upgrade = facts.upgrade;
    sl_headers_remove_id(&req->headers, SL_H_HTTP2_SETTINGS);
    c->keep_alive = req->version == SL_HTTP_11 ? !facts.close : facts.keep_alive && !facts.close;
    return 0;
}
