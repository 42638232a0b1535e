#include "script/bind.h"
#include "script/c_stack.h"
#include "script/internal.h"
#include "script/pattern.h"

/* string.find, match, gmatch and gsub on script/pattern.h, with the arguments and results of
 * LuaJIT's own. */

/* Patterns up to some 60 characters are compiled on the C stack. */
struct compiled {
    struct sl_pattern *pattern;
    char memory[4096] __attribute__((aligned(16)));
};

static void compile(lua_State *L, struct compiled *c, struct sl_str text, bool literal_anchor)
{
    size_t len = sl_pattern_size(text);
    void *memory = len <= sizeof(c->memory) ? c->memory : lua_newuserdata(L, len);
    const char *why;

    c->pattern = sl_pattern_compile(memory, text, literal_anchor, &why);
    if (c->pattern == NULL)
        luaL_error(L, "%s", why);
}

static struct sl_match new_match(lua_State *L, struct sl_str subject)
{
    return (struct sl_match){
        .subject = subject,
        .steps = sl_pattern_steps(subject.len),
        .stop = &sl_script_fast(L)->budget.armed,
    };
}

/* Found or not; throws when the limit was reached. */
static bool is_found(lua_State *L, enum sl_pattern_result result)
{
    if (result == SL_PATTERN_TOO_COMPLEX)
        luaL_error(L, "pattern too complex");
    if (result == SL_PATTERN_STOPPED)
        luaL_error(L, "stopped in the middle of a pattern");
    return result == SL_PATTERN_FOUND;
}

/* --- captures --- */

static void push_capture(lua_State *L, const struct sl_match *m, unsigned i)
{
    const struct sl_capture *capture = &m->captures[i];

    if (i >= m->n_captures && i > 0)
        luaL_error(L, "invalid capture index");
    if (i >= m->n_captures)
        lua_pushlstring(L, m->subject.p + m->start, m->end - m->start);
    else if (capture->len == SL_PATTERN_POSITION)
        lua_pushinteger(L, (lua_Integer)capture->start + 1);
    else
        lua_pushlstring(L, m->subject.p + capture->start, capture->len);
}

/* All captures, or the whole match when there are none and `whole`. */
static int push_captures(lua_State *L, const struct sl_match *m, bool whole)
{
    unsigned n = m->n_captures == 0 && whole ? 1 : m->n_captures;

    luaL_checkstack(L, (int)n, "too many captures");
    for (unsigned i = 0; i < n; i++)
        push_capture(L, m, i);
    return (int)n;
}

/* --- find and match --- */

/* The optional third argument: 1 is the first character, -1 the last. False: behind the end. */
static bool take_start(lua_State *L, size_t len, size_t *start)
{
    lua_Integer at = luaL_optinteger(L, 3, 1);

    if (at < 0)
        at += (lua_Integer)len + 1;
    *start = at > 0 ? (size_t)at - 1 : 0;
    return *start <= len;
}

static int push_place(lua_State *L, size_t start, size_t end)
{
    lua_pushinteger(L, (lua_Integer)start + 1);
    lua_pushinteger(L, (lua_Integer)end);
    return 2;
}

static int find_plain(lua_State *L, struct sl_str subject, struct sl_str text, size_t start)
{
    const char *found = memmem(subject.p + start, subject.len - start, text.p, text.len);

    if (found == NULL) {
        lua_pushnil(L);
        return 1;
    }
    return push_place(L, (size_t)(found - subject.p), (size_t)(found - subject.p) + text.len);
}

static int find_or_match(lua_State *L, bool is_find)
{
    struct sl_str subject = sl_arg_str(L, 1), text = sl_arg_str(L, 2);
    struct compiled c;
    struct sl_match m;
    size_t start;

    if (!take_start(L, subject.len, &start)) {
        lua_pushnil(L);
        return 1;
    }
    if (is_find && (lua_toboolean(L, 4) || sl_pattern_is_plain(text)))
        return find_plain(L, subject, text, start);
    compile(L, &c, text, false);
    m = new_match(L, subject);
    if (!is_found(L, sl_pattern_search(c.pattern, &m, start))) {
        lua_pushnil(L);
        return 1;
    }
    if (!is_find)
        return push_captures(L, &m, true);
    push_place(L, m.start, m.end);
    return 2 + push_captures(L, &m, false);
}

static int str_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int str_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* --- gmatch --- */

/* Upvalues: subject, pattern, where to go on. */
static int next_match(lua_State *L)
{
    struct sl_str subject = sl_arg_str(L, lua_upvalueindex(1)),
                  text = sl_arg_str(L, lua_upvalueindex(2));
    size_t from = (size_t)lua_tointeger(L, lua_upvalueindex(3));
    struct compiled c;
    struct sl_match m;

    if (from > subject.len)
        return 0;
    compile(L, &c, text, true);
    m = new_match(L, subject);
    if (!is_found(L, sl_pattern_search(c.pattern, &m, from)))
        return 0;
    lua_pushinteger(L, (lua_Integer)(m.end + (m.end == m.start)));
    lua_replace(L, lua_upvalueindex(3));
    return push_captures(L, &m, true);
}

static int str_gmatch(lua_State *L)
{
    sl_arg_str(L, 1);
    sl_arg_str(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_match, 3);
    return 1;
}

/* --- gsub --- */

static void add_text(lua_State *L, luaL_Buffer *b, const struct sl_match *m)
{
    struct sl_str text;

    text.p = lua_tolstring(L, 3, &text.len);
    for (size_t i = 0; i < text.len; i++) {
        char next = i + 1 < text.len ? text.p[i + 1] : '\0';

        if (text.p[i] != '%') {
            luaL_addchar(b, text.p[i]);
            continue;
        }
        i++;
        if (next < '0' || next > '9') {
            luaL_addchar(b, next);
        } else if (next == '0') {
            luaL_addlstring(b, m->subject.p + m->start, m->end - m->start);
        } else {
            push_capture(L, m, (unsigned)(next - '1'));
            luaL_addvalue(b);
        }
    }
}

/* The value that the table or function has for the match is on top of the stack. */
static void add_result(lua_State *L, luaL_Buffer *b, const struct sl_match *m)
{
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, m->subject.p + m->start, m->end - m->start);
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(b);
}

static void add_replacement(lua_State *L, luaL_Buffer *b, const struct sl_match *m)
{
    switch (lua_type(L, 3)) {
    case LUA_TTABLE:
        push_capture(L, m, 0);
        lua_gettable(L, 3);
        add_result(L, b, m);
        break;
    case LUA_TFUNCTION:
        sl_c_stack_check(L);
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, m, true), 1);
        add_result(L, b, m);
        break;
    default:
        add_text(L, b, m);
    }
}

/* Replaces into the buffer; the number of replacements. */
static lua_Integer substitute(lua_State *L, luaL_Buffer *b, struct sl_pattern *p,
                              struct sl_match *m, lua_Integer most)
{
    size_t at = 0;
    lua_Integer n = 0;

    while (n < most) {
        bool found = is_found(L, sl_pattern_match(p, m, at));

        if (found) {
            n++;
            add_replacement(L, b, m);
        }
        if (found && m->end > at)
            at = m->end;
        else if (at < m->subject.len)
            luaL_addchar(b, m->subject.p[at++]);
        else
            break;
        if (sl_pattern_is_anchored(p))
            break;
    }
    luaL_addlstring(b, m->subject.p + at, m->subject.len - at);
    return n;
}

static int str_gsub(lua_State *L)
{
    struct sl_str subject = sl_arg_str(L, 1), text = sl_arg_str(L, 2);
    int type = lua_type(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)subject.len + 1), n;
    struct compiled c;
    struct sl_match m = new_match(L, subject);
    luaL_Buffer b;

    if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TTABLE && type != LUA_TFUNCTION)
        luaL_argerror(L, 3, "string/function/table expected");
    compile(L, &c, text, false);
    luaL_buffinit(L, &b);
    n = substitute(L, &b, c.pattern, &m, most);
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

void sl_bind_string(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"find", str_find},   {"gmatch", str_gmatch}, {"gsub", str_gsub},
        {"match", str_match}, {NULL, NULL},
    };

    for (const struct luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
}
