#include "route/snapshot.h"

#include <stdio.h>
#include "base/arena.h"

/* The variable named `name`; `port` is room for the text of a number. False: there is no such
 * variable. */
static bool find_variable(struct sl_str name, const struct sl_expand *with, char port[8],
                          struct sl_str *value)
{
    if (sl_str_eq(name, SL_STR("domain")))
        *value = with->domain;
    else if (sl_str_eq(name, SL_STR("path")))
        *value = with->path;
    else if (sl_str_eq(name, SL_STR("clientIp")))
        *value = with->client_ip;
    else if (sl_str_eq(name, SL_STR("port")))
        *value = sl_str(port, (size_t)snprintf(port, 8, "%u", with->port));
    else
        return false;
    return true;
}

/* A template is read twice: the first pass counts (`p` is NULL), the second one writes. */
struct writer {
    char *p;
    size_t len;
};

static void put(struct writer *w, const char *bytes, size_t len)
{
    if (w->p != NULL)
        memcpy(w->p + w->len, bytes, len);
    w->len += len;
}

static void put_escaped(struct writer *w, struct sl_str value)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if (c > ' ' && c != 0x7f)
            put(w, &value.p[i], 1);
        else
            put(w, (char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
    }
}

static void expand(struct sl_str template, const struct sl_expand *with, struct writer *w)
{
    size_t i = 0;

    while (i < template.len) {
        const char *p = template.p + i;
        const char *end = *p == '{' ? memchr(p, '}', template.len - i) : NULL;
        struct sl_str value;
        char port[8];

        if (end != NULL &&
            find_variable(sl_str(p + 1, (size_t)(end - p) - 1), with, port, &value)) {
            put_escaped(w, value);
            i += (size_t)(end - p) + 1;
        } else {
            put(w, p, 1);
            i++;
        }
    }
}

struct sl_str sl_route_expand(struct sl_str template, const struct sl_expand *with,
                              struct sl_arena *arena)
{
    struct writer w = {0};

    if (template.len == 0 || memchr(template.p, '{', template.len) == NULL)
        return template;
    expand(template, with, &w);
    w = (struct writer){.p = sl_arena_alloc(arena, w.len + 1)};
    expand(template, with, &w);
    w.p[w.len] = '\0';
    return sl_str(w.p, w.len);
}
