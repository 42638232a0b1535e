#include "script/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

struct decoder {
    lua_State *L;
    const char *start, *p, *end; /* a NUL follows */
    int array_mt;
    struct sl_buf *room;
    struct sl_err *err;
};

static int take_value(struct decoder *d, int depth);

static int refuse(struct decoder *d, const char *what)
{
    return sl_err_set(d->err, SL_E_PROTOCOL, "%s at byte %zu", what, (size_t)(d->p - d->start) + 1);
}

static char peek(struct decoder *d)
{
    while (d->p < d->end && (*d->p == ' ' || *d->p == '\t' || *d->p == '\n' || *d->p == '\r'))
        d->p++;
    return d->p < d->end ? *d->p : '\0';
}

static bool take_char(struct decoder *d, char c)
{
    if (peek(d) != c || d->p == d->end)
        return false;
    d->p++;
    return true;
}

/* --- strings --- */

static int hex4(struct decoder *d, uint32_t *out)
{
    uint32_t n = 0;

    if (d->end - d->p < 4)
        return refuse(d, "bad \\u escape");
    for (int i = 0; i < 4; i++) {
        char c = d->p[i];
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;

        if (digit < 0)
            return refuse(d, "bad \\u escape");
        n = n << 4 | (uint32_t)digit;
    }
    d->p += 4;
    *out = n;
    return 0;
}

static void put_utf8(struct sl_buf *b, uint32_t code)
{
    char bytes[4];
    size_t n = 0;

    if (code < 0x80) {
        bytes[n++] = (char)code;
    } else if (code < 0x800) {
        bytes[n++] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        bytes[n++] = (char)(0xe0 | code >> 12);
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    } else {
        bytes[n++] = (char)(0xf0 | code >> 18);
        bytes[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80)
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    sl_buf_append(b, bytes, n);
}

/* Behind "\u". Characters beyond U+FFFF come as a pair of surrogates. */
static int take_unicode(struct decoder *d)
{
    uint32_t code, low;

    if (hex4(d, &code) < 0)
        return SL_E_PROTOCOL;
    if (code >= 0xdc00 && code < 0xe000)
        return refuse(d, "lone surrogate");
    if (code >= 0xd800 && code < 0xdc00) {
        if (d->end - d->p < 2 || d->p[0] != '\\' || d->p[1] != 'u')
            return refuse(d, "lone surrogate");
        d->p += 2;
        if (hex4(d, &low) < 0)
            return SL_E_PROTOCOL;
        if (low < 0xdc00 || low >= 0xe000)
            return refuse(d, "lone surrogate");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(d->room, code);
    return 0;
}

/* Behind the backslash. */
static int take_escape(struct decoder *d)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at;

    if (d->p == d->end)
        return refuse(d, "string without an end");
    if (*d->p == 'u') {
        d->p++;
        return take_unicode(d);
    }
    at = *d->p != '\0' ? strchr(names, *d->p) : NULL;
    if (at == NULL)
        return refuse(d, "bad escape");
    sl_buf_append(d->room, &values[at - names], 1);
    d->p++;
    return 0;
}

/* Do eight bytes of ASCII stand for themselves? A byte below `least` borrows into its high bit. */
static bool is_plain8(const char *p)
{
    const uint64_t each = UINT64_C(0x0101010101010101), high = each << 7;
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return ((word | (word - each * 0x20) | ((word ^ each * '"') - each) |
             ((word ^ each * '\\') - each)) &
            high) == 0;
}

/* Passes over characters that stand for themselves. */
static int skip_plain(struct decoder *d)
{
    for (;;) {
        size_t n = 1;

        while (d->end - d->p >= 8 && is_plain8(d->p))
            d->p += 8;
        if (d->p == d->end || *d->p == '"' || *d->p == '\\')
            break;

        if ((unsigned char)*d->p < 0x20)
            return refuse(d, "control byte in a string");
        if ((unsigned char)*d->p >= 0x80)
            n = sl_json_utf8_len(sl_str(d->p, (size_t)(d->end - d->p)));
        if (n == 0)
            return refuse(d, "bytes that are not UTF-8");
        d->p += n;
    }
    return d->p < d->end ? 0 : refuse(d, "string without an end");
}

static int take_string(struct decoder *d)
{
    const char *from = ++d->p;

    sl_buf_reset(d->room);
    for (;;) {
        if (skip_plain(d) < 0)
            return SL_E_PROTOCOL;
        if (*d->p == '"' && sl_buf_len(d->room) == 0) { /* without escapes: no copy */
            lua_pushlstring(d->L, from, (size_t)(d->p++ - from));
            return 0;
        }
        sl_buf_append(d->room, from, (size_t)(d->p - from));
        if (*d->p++ == '"')
            break;
        if (take_escape(d) < 0)
            return SL_E_PROTOCOL;
        from = d->p;
    }
    lua_pushlstring(d->L, (const char *)sl_buf_at(d->room), sl_buf_len(d->room));
    return 0;
}

/* --- numbers --- */

static size_t skip_digits(struct decoder *d)
{
    const char *from = d->p;

    while (d->p < d->end && *d->p >= '0' && *d->p <= '9')
        d->p++;
    return (size_t)(d->p - from);
}

/* strtod() knows more than JSON does, so the form is checked first. */
static int take_number(struct decoder *d)
{
    const char *from = d->p;
    bool is_zero;
    double value;

    d->p += *d->p == '-';
    is_zero = d->p < d->end && *d->p == '0';
    if (skip_digits(d) == 0 || (is_zero && d->p - from > 1 + (*from == '-')))
        return refuse(d, "bad number");
    if (d->p < d->end && *d->p == '.') {
        d->p++;
        if (skip_digits(d) == 0)
            return refuse(d, "bad number");
    }
    if (d->p < d->end && (*d->p | 0x20) == 'e') {
        d->p++;
        d->p += d->p < d->end && (*d->p == '+' || *d->p == '-');
        if (skip_digits(d) == 0)
            return refuse(d, "bad number");
    }
    value = strtod(from, NULL);
    if (!isfinite(value))
        return refuse(d, "number out of range");
    lua_pushnumber(d->L, value);
    return 0;
}

/* --- the rest --- */

static int take_word(struct decoder *d, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(d->end - d->p) < len || memcmp(d->p, word, len) != 0)
        return refuse(d, "expected a value");
    d->p += len;
    if (word[0] == 'n')
        lua_pushlightuserdata(d->L, NULL);
    else
        lua_pushboolean(d->L, word[0] == 't');
    return 0;
}

static int take_array(struct decoder *d, int depth)
{
    d->p++;
    lua_createtable(d->L, 0, 0);
    lua_pushvalue(d->L, d->array_mt);
    lua_setmetatable(d->L, -2);
    if (take_char(d, ']'))
        return 0;
    for (int i = 1;; i++) {
        if (take_value(d, depth) < 0)
            return SL_E_PROTOCOL;
        lua_rawseti(d->L, -2, i);
        if (take_char(d, ']'))
            return 0;
        if (!take_char(d, ','))
            return refuse(d, "expected , or ]");
    }
}

static int take_object(struct decoder *d, int depth)
{
    d->p++;
    lua_createtable(d->L, 0, 0);
    if (take_char(d, '}'))
        return 0;
    for (;;) {
        if (peek(d) != '"')
            return refuse(d, "expected a key");
        if (take_string(d) < 0)
            return SL_E_PROTOCOL;
        if (!take_char(d, ':'))
            return refuse(d, "expected :");
        if (take_value(d, depth) < 0)
            return SL_E_PROTOCOL;
        lua_rawset(d->L, -3);
        if (take_char(d, '}'))
            return 0;
        if (!take_char(d, ','))
            return refuse(d, "expected , or }");
    }
}

static int take_value(struct decoder *d, int depth)
{
    char c = peek(d);

    if (c == '{' || c == '[') {
        if (depth == SL_JSON_MAX_DEPTH)
            return refuse(d, "nested too deeply");
        luaL_checkstack(d->L, 4, "out of stack");
        return c == '{' ? take_object(d, depth + 1) : take_array(d, depth + 1);
    }
    switch (c) {
    case '"':
        return take_string(d);
    case 't':
        return take_word(d, "true");
    case 'f':
        return take_word(d, "false");
    case 'n':
        return take_word(d, "null");
    default:
        return c == '-' || (c >= '0' && c <= '9') ? take_number(d) : refuse(d, "expected a value");
    }
}

int sl_json_decode(lua_State *L, struct sl_str text, int array_mt, struct sl_buf *room,
                   struct sl_err *err)
{
    struct decoder d = {L, text.p, text.p, text.p + text.len, array_mt, room, err};
    int top = lua_gettop(L), rc = take_value(&d, 0);

    peek(&d);
    if (rc == 0 && d.p < d.end)
        rc = refuse(&d, "unexpected text after the value");
    if (rc < 0)
        lua_settop(L, top);
    return rc;
}
