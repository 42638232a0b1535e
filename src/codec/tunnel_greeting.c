#include "codec/tunnel_greeting.h"

/* The line at the front, without its end; `*n` bytes with it. */
static int take_line(const uint8_t *bytes, size_t len, size_t max, struct sl_str *line)
{
    const uint8_t *end = len > 0 ? memchr(bytes, '\n', SL_MIN(len, max)) : NULL;
    size_t n;

    if (end == NULL)
        return len >= max ? SL_E_LIMIT : SL_E_PARTIAL;
    n = (size_t)(end - bytes);
    *line = sl_str((const char *)bytes, n > 0 && bytes[n - 1] == '\r' ? n - 1 : n);
    return (int)n + 1;
}

/* Takes the prefix off the front, if it is there. */
static bool skip(struct sl_str *s, const char *prefix)
{
    size_t n = strlen(prefix);

    if (s->len < n || memcmp(s->p, prefix, n) != 0)
        return false;
    *s = sl_str(s->p + n, s->len - n);
    return true;
}

static bool is_plain(struct sl_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((uint8_t)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

bool sl_greeting_ok(const struct sl_greeting *g)
{
    return g->id.len > 0 && g->id.len <= SL_GREETING_ID_MAX && g->secret.len > 0 &&
           memchr(g->id.p, ' ', g->id.len) == NULL && is_plain(g->id) && is_plain(g->secret) &&
           g->id.len + g->secret.len + 7 <= SL_GREETING_MAX;
}

int sl_greeting_parse(const uint8_t *bytes, size_t len, struct sl_greeting *out)
{
    struct sl_str line;
    const char *space;
    int n = take_line(bytes, len, SL_GREETING_MAX, &line);

    if (n < 0)
        return n;
    if (!skip(&line, "EDGE ") || (space = memchr(line.p, ' ', line.len)) == NULL)
        return SL_E_PROTOCOL;
    out->id = sl_str(line.p, (size_t)(space - line.p));
    out->secret = sl_str(space + 1, line.len - out->id.len - 1);
    return sl_greeting_ok(out) ? n : SL_E_PROTOCOL;
}

static uint8_t *put(uint8_t *out, struct sl_str s)
{
    memcpy(out, s.p, s.len);
    return out + s.len;
}

size_t sl_greeting_write(uint8_t *out, size_t cap, const struct sl_greeting *g)
{
    uint8_t *p = out;

    sl_assert(cap >= SL_GREETING_MAX && sl_greeting_ok(g));
    p = put(p, SL_STR("EDGE "));
    p = put(p, g->id);
    p = put(p, SL_STR(" "));
    p = put(p, g->secret);
    p = put(p, SL_STR("\n"));
    return (size_t)(p - out);
}

int sl_greeting_answer(const uint8_t *bytes, size_t len, struct sl_str *line)
{
    int n = take_line(bytes, len, SL_GREETING_ANSWER_MAX, line);

    return n > 0 && skip(line, "ERROR ") ? SL_E_REFUSED : n;
}
