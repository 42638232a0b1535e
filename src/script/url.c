#include "script/url.h"

static struct sl_str rest(struct sl_str s, size_t from)
{
    return sl_str(s.p + from, s.len - from);
}

static size_t find(struct sl_str s, const char *any)
{
    size_t i = 0;

    while (i < s.len && strchr(any, s.p[i]) == NULL)
        i++;
    return i;
}

static bool is_clean(struct sl_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static int parse_port(struct sl_str text, uint16_t *out)
{
    uint64_t port;

    if (sl_str_to_u64(text, UINT16_MAX, &port) < 0 || port == 0)
        return SL_E_CONFIG;
    *out = (uint16_t)port;
    return 0;
}

/* "[::1]" or "[::1]:80" */
static int parse_bracketed(struct sl_str s, struct sl_url *out)
{
    size_t end = find(s, "]");

    if (end < 2 || end == s.len)
        return SL_E_CONFIG;
    out->host = sl_str(s.p + 1, end - 1);
    s = rest(s, end + 1);
    if (s.len == 0)
        return 0;
    return s.p[0] == ':' ? parse_port(rest(s, 1), &out->port) : SL_E_CONFIG;
}

static int parse_authority(struct sl_str s, struct sl_url *out)
{
    size_t colon = find(s, ":");

    out->authority = s;
    if (s.len == 0 || find(s, "@\\\"<>^`{|}%") < s.len)
        return SL_E_CONFIG;
    if (s.p[0] == '[')
        return parse_bracketed(s, out);
    out->host = sl_str(s.p, colon);
    if (out->host.len == 0 || find(out->host, "[]") < out->host.len)
        return SL_E_CONFIG;
    return colon < s.len ? parse_port(rest(s, colon + 1), &out->port) : 0;
}

static int take_scheme(struct sl_str *text, struct sl_url *out)
{
    static const struct {
        struct sl_str head;
        bool is_tls;
        uint16_t port;
    } schemes[] = {{{"http://", 7}, false, 80}, {{"https://", 8}, true, 443}};

    for (size_t i = 0; i < SL_COUNT(schemes); i++) {
        struct sl_str head = schemes[i].head;

        if (text->len < head.len || !sl_str_ieq(sl_str(text->p, head.len), head))
            continue;
        out->is_tls = schemes[i].is_tls;
        out->port = schemes[i].port;
        *text = rest(*text, head.len);
        return 0;
    }
    return SL_E_CONFIG;
}

int sl_url_parse(struct sl_str text, struct sl_url *out)
{
    size_t end;

    *out = (struct sl_url){.path = SL_STR("/")};
    if (!is_clean(text) || take_scheme(&text, out) < 0)
        return SL_E_CONFIG;
    text.len = find(text, "#");
    end = find(text, "/?");
    if (parse_authority(sl_str(text.p, end), out) < 0)
        return SL_E_CONFIG;
    text = rest(text, end);
    end = find(text, "?");
    if (end > 0)
        out->path = sl_str(text.p, end);
    if (end < text.len)
        out->query = rest(text, end + 1);
    return 0;
}
