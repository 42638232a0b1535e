/* sluice.log and sluice.print. */
#include <errno.h>
#include <unistd.h>
#include "script/library.h"

enum { MAX_FIELDS = 32, MAX_MESSAGE = 4096, MAX_PRINT = 64 * 1024 };

/* Messages are one line of text: control bytes, which could fake another line, become blanks. */
static const char *clean(char *out, struct sl_str s)
{
    size_t n = SL_MIN(s.len, MAX_MESSAGE - 1);

    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? ' ' : s.p[i];
    out[n] = '\0';
    return out;
}

/* Key and value on top of the stack, which holds them while the line is made. */
static struct sl_field read_field(lua_State *L)
{
    const char *key;
    size_t len;
    const char *p;

    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "log: a key of the fields is a %s, not a string", luaL_typename(L, -2));
    key = lua_tostring(L, -2);
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        p = lua_tolstring(L, -1, &len);
        return sl_f_strn(key, sl_str(p, len));
    case LUA_TNUMBER:
        return sl_f_double(key, lua_tonumber(L, -1));
    case LUA_TBOOLEAN:
        return sl_f_bool(key, lua_toboolean(L, -1));
    default:
        luaL_error(L, "log: field %s is a %s, not a string, number or boolean", key,
                   luaL_typename(L, -1));
        return (struct sl_field){0};
    }
}

static struct sl_field whole_number(struct sl_field f)
{
    int64_t n =
        f.kind == SL_FIELD_DOUBLE && f.v.dbl > -9e15 && f.v.dbl < 9e15 ? (int64_t)f.v.dbl : 0;

    return f.kind == SL_FIELD_DOUBLE && (double)n == f.v.dbl ? sl_f_int(f.key, n) : f;
}

/* Sorted by key, so that equal events look alike. */
static void insert(struct sl_field *fields, int n, struct sl_field f)
{
    for (; n > 0 && strcmp(fields[n - 1].key, f.key) > 0; n--)
        fields[n] = fields[n - 1];
    fields[n] = f;
}

static void read_fields(lua_State *L, struct sl_field *fields)
{
    int n = 0;

    if (lua_isnoneornil(L, 2))
        return;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        if (n == MAX_FIELDS)
            luaL_error(L, "log: more than %d fields", MAX_FIELDS);
        insert(fields, n++, whole_number(read_field(L)));
    }
}

static int log_at(lua_State *L, enum sl_log_level level)
{
    struct sl_field fields[MAX_FIELDS + 1] = {{0}};
    struct sl_str message = sl_arg_str(L, 1);
    char text[MAX_MESSAGE];

    if (!sl_log_is_on(level))
        return 0;
    read_fields(L, fields);
    sl_log(level, clean(text, message), fields);
    return 0;
}

static int debug(lua_State *L)
{
    return log_at(L, SL_LOG_DEBUG);
}

static int info(lua_State *L)
{
    return log_at(L, SL_LOG_INFO);
}

static int warn(lua_State *L)
{
    return log_at(L, SL_LOG_WARN);
}

static int error(lua_State *L)
{
    return log_at(L, SL_LOG_ERROR);
}

/* A line on stdout, for what a script shows rather than logs. */
static int print(lua_State *L)
{
    struct sl_str line = sl_arg_str(L, 1);
    struct sl_buf *out = sl_room(L);
    size_t len;
    ssize_t n;

    luaL_argcheck(L, line.len <= MAX_PRINT, 1, "too long");
    sl_buf_append_str(out, line);
    sl_buf_append(out, "\n", 1);
    for (len = sl_buf_len(out); len > 0; len = sl_buf_len(out)) {
        n = write(STDOUT_FILENO, sl_buf_at(out), len);
        if (n < 0 && errno != EINTR)
            break; /* nobody reads */
        sl_buf_consume(out, n > 0 ? (size_t)n : 0);
    }
    sl_room_done(out);
    return 0;
}

void sl_bind_log(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"log.debug", debug}, {"log.info", info}, {"log.warn", warn},
        {"log.error", error}, {"print", print},   {NULL, NULL},
    };

    sl_bind_functions(L, functions);
}
