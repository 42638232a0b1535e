#include "script/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct encoder {
    lua_State *L;
    const void *array_mt;
    struct sl_buf *out;
    struct sl_err *err;
};

static int put_value(struct encoder *e, int at, int depth);

size_t sl_json_utf8_len(struct sl_str s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    uint32_t code;

    if (n <= 1)
        return n;
    if (n > s.len)
        return 0;
    code = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

static int refuse(struct encoder *e, const char *fmt, const char *what)
{
    return sl_err_set(e->err, SL_E_CONFIG, fmt, what);
}

/* --- strings --- */

static void put_escape(struct sl_buf *out, unsigned char c)
{
    static const char *const short_ones[128] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\b'] = "\\b", ['\f'] = "\\f",
        ['\n'] = "\\n", ['\r'] = "\\r",  ['\t'] = "\\t"};

    if (short_ones[c] != NULL)
        sl_buf_append(out, short_ones[c], 2);
    else
        sl_buf_printf(out, "\\u%04x", c);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static size_t plain_len(struct sl_str s)
{
    size_t n = 0;

    while (n < s.len && is_plain((unsigned char)s.p[n]))
        n++;
    return n;
}

void sl_json_put_string(struct sl_buf *out, struct sl_str s)
{
    sl_buf_append(out, "\"", 1);
    while (s.len > 0) {
        size_t n = plain_len(s);
        unsigned char c = (unsigned char)s.p[0];

        if (n == 0 && c < 0x80) {
            put_escape(out, c);
            n = 1;
        } else if (n == 0 && (n = sl_json_utf8_len(s)) == 0) {
            sl_buf_append(out, "\xef\xbf\xbd", 3);
            n = 1;
        } else {
            sl_buf_append(out, s.p, n);
        }
        s = sl_str(s.p + n, s.len - n);
    }
    sl_buf_append(out, "\"", 1);
}

/* --- numbers --- */

/* The fewest digits from 15 on that read back as the same double. */
static void put_double(struct sl_buf *out, double d)
{
    char text[32];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    sl_buf_append(out, text, strlen(text));
}

static int put_number(struct encoder *e, double d)
{
    if (!isfinite(d))
        return refuse(e, "%s has no JSON form", isnan(d) ? "NaN" : "infinity");
    if (d == floor(d) && fabs(d) < 9007199254740992.0 && !(d == 0 && signbit(d)))
        sl_buf_printf(e->out, "%lld", (long long)d);
    else
        put_double(e->out, d);
    return 0;
}

/* --- tables --- */

static bool is_marked(struct encoder *e, int table)
{
    bool is_it;

    if (!lua_getmetatable(e->L, table))
        return false;
    is_it = lua_topointer(e->L, -1) == e->array_mt;
    lua_pop(e->L, 1);
    return is_it;
}

static bool has_first(lua_State *L, int table)
{
    bool is_there;

    lua_rawgeti(L, table, 1);
    is_there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return is_there;
}

static size_t count_keys(lua_State *L, int table)
{
    size_t n = 0;

    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1))
        n++;
    return n;
}

static int put_array(struct encoder *e, int table, int depth)
{
    size_t n = lua_objlen(e->L, table);
    int rc = 0;

    if (count_keys(e->L, table) != n)
        return refuse(e, "%s", "an array has holes or other keys than 1 to n");
    sl_buf_append(e->out, "[", 1);
    for (size_t i = 1; i <= n && rc == 0; i++) {
        if (i > 1)
            sl_buf_append(e->out, ",", 1);
        lua_rawgeti(e->L, table, (int)i);
        rc = lua_isnil(e->L, -1) ? refuse(e, "%s", "an array has holes or other keys than 1 to n")
                                 : put_value(e, lua_gettop(e->L), depth);
        lua_pop(e->L, 1);
    }
    sl_buf_append(e->out, "]", 1);
    return rc;
}

static int put_member(struct encoder *e, int key, int depth)
{
    size_t len;
    const char *p;

    if (lua_type(e->L, key) != LUA_TSTRING)
        return refuse(e, "a key of an object is a %s, not a string", luaL_typename(e->L, key));
    p = lua_tolstring(e->L, key, &len);
    sl_json_put_string(e->out, sl_str(p, len));
    sl_buf_append(e->out, ":", 1);
    return put_value(e, key + 1, depth);
}

static int put_object(struct encoder *e, int table, int depth)
{
    bool is_first = true;

    sl_buf_append(e->out, "{", 1);
    for (lua_pushnil(e->L); lua_next(e->L, table) != 0; lua_pop(e->L, 1)) {
        if (!is_first)
            sl_buf_append(e->out, ",", 1);
        is_first = false;
        if (put_member(e, lua_gettop(e->L) - 1, depth) < 0) {
            lua_pop(e->L, 2);
            return SL_E_CONFIG;
        }
    }
    sl_buf_append(e->out, "}", 1);
    return 0;
}

static int put_table(struct encoder *e, int at, int depth)
{
    if (depth == SL_JSON_MAX_DEPTH)
        return refuse(e, "%s", "tables are nested too deeply, or contain themselves");
    if (is_marked(e, at) || has_first(e->L, at))
        return put_array(e, at, depth + 1);
    return put_object(e, at, depth + 1);
}

static int put_value(struct encoder *e, int at, int depth)
{
    size_t len;
    const char *p;

    switch (lua_type(e->L, at)) {
    case LUA_TSTRING:
        p = lua_tolstring(e->L, at, &len);
        sl_json_put_string(e->out, sl_str(p, len));
        return 0;
    case LUA_TNUMBER:
        return put_number(e, lua_tonumber(e->L, at));
    case LUA_TBOOLEAN:
        sl_buf_printf(e->out, "%s", lua_toboolean(e->L, at) ? "true" : "false");
        return 0;
    case LUA_TTABLE:
        return put_table(e, at, depth);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(e->L, at) != NULL)
            return refuse(e, "a %s has no JSON form", "handle");
        /* fall through */
    case LUA_TNIL:
        sl_buf_append(e->out, "null", 4);
        return 0;
    default:
        return refuse(e, "a %s has no JSON form", luaL_typename(e->L, at));
    }
}

int sl_json_encode(lua_State *L, int value, int array_mt, struct sl_buf *out, struct sl_err *err)
{
    struct encoder e = {L, lua_topointer(L, array_mt), out, err};

    luaL_checkstack(L, 4 * SL_JSON_MAX_DEPTH + 8,
                    "out of stack"); /* nothing below throws any more */
    return put_value(&e, value, 0);
}
