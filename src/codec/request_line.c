#include "codec/request_line.h"

static bool is_token_char(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

long sl_request_line_find_end(const uint8_t *p, size_t len, size_t from)
{
    const uint8_t *lf = len > from ? memchr(p + from, '\n', len - from) : NULL;
    size_t seen = lf != NULL ? (size_t)(lf - p) : len;
    const uint8_t *cr = seen > 0 ? memchr(p, '\r', seen) : NULL;

    if (cr != NULL && (size_t)(cr - p) + 1 < seen)
        return SL_E_PROTOCOL; /* a CR that no LF follows */
    if (lf == NULL)
        return SL_E_PARTIAL;
    return cr != NULL ? (long)(cr - p) : SL_E_PROTOCOL;
}

/* Cuts `s` at the first space; false when there is none. */
static bool cut(struct sl_str *s, struct sl_str *head)
{
    const char *space = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;

    if (space == NULL)
        return false;
    *head = sl_str(s->p, (size_t)(space - s->p));
    s->len -= head->len + 1;
    s->p = space + 1;
    return true;
}

bool sl_method_ok(struct sl_str m)
{
    for (size_t i = 0; i < m.len; i++) {
        if (!is_token_char((unsigned char)m.p[i]))
            return false;
    }
    return m.len > 0 && m.len <= SL_METHOD_MAX;
}

bool sl_request_target_ok(struct sl_str t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.p[i];

        if (c <= 0x20 || c >= 0x7f || c == '#')
            return false;
    }
    return t.len > 0;
}

void sl_target_split(struct sl_str target, struct sl_str *path, struct sl_str *query)
{
    const char *mark = target.len > 0 ? memchr(target.p, '?', target.len) : NULL;

    *path = target;
    *query = SL_STR_NONE;
    if (mark == NULL)
        return;
    path->len = (size_t)(mark - target.p);
    *query = sl_str(mark + 1, target.len - path->len - 1);
}

static bool starts_nocase(struct sl_str s, struct sl_str head)
{
    return s.len >= head.len && sl_str_ieq(sl_str(s.p, head.len), head);
}

static int parse_absolute(struct sl_request_line *out, size_t scheme_len)
{
    struct sl_str rest = sl_str(out->target.p + scheme_len, out->target.len - scheme_len);
    size_t n = 0;

    while (n < rest.len && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    out->authority = sl_str(rest.p, n);
    out->is_absolute = true;
    sl_target_split(sl_str(rest.p + n, rest.len - n), &out->path, &out->query);
    if (out->path.len == 0)
        out->path = SL_STR("/");
    return n > 0 ? 0 : 400;
}

static int parse_target(struct sl_request_line *out)
{
    if (sl_str_eq(out->method, SL_STR("CONNECT"))) {
        out->authority = out->target;
        return 0;
    }
    if (out->target.p[0] == '/') {
        sl_target_split(out->target, &out->path, &out->query);
        return 0;
    }
    if (sl_str_eq(out->target, SL_STR("*")) && sl_str_eq(out->method, SL_STR("OPTIONS"))) {
        out->path = out->target;
        return 0;
    }
    if (starts_nocase(out->target, SL_STR("http://")))
        return parse_absolute(out, 7);
    if (starts_nocase(out->target, SL_STR("https://")))
        return parse_absolute(out, 8);
    return 400;
}

int sl_request_line_parse(struct sl_request_line *out, struct sl_str line)
{
    struct sl_str rest = line;

    memset(out, 0, sizeof(*out));
    if (!cut(&rest, &out->method) || !cut(&rest, &out->target))
        return 400;
    if (!sl_method_ok(out->method) || !sl_request_target_ok(out->target))
        return 400;
    if (rest.len != 8 || memcmp(rest.p, "HTTP/", 5) != 0 || rest.p[6] != '.')
        return 400;
    if (rest.p[5] < '0' || rest.p[5] > '9' || rest.p[7] < '0' || rest.p[7] > '9')
        return 400;
    if (rest.p[5] != '1')
        return 505;
    out->minor = rest.p[7] == '0'
                     ? 0
                     : 1; /* RFC 9110, 2.5: a higher minor is understood as the highest we know */
    return parse_target(out);
}
