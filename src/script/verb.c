#include "script/host.h"

#include "script/fields.h"
#include "script/internal.h"
#include "script/reply_serve.h"
#include "script/ws_serve.h"
#include "tls/cert.h"

/* Reads the plain table of a verb into a verdict. Runs protected, so that every mistake of the
   script is an error with a sentence; the constructors in lua/sluice/verbs.lua have caught most
   before, with file and line. */

#define MAX_LENGTH (1ULL << 53) /* what a number of Lua can count */

struct reading {
    struct sl_task *task;
    struct sl_handle *handle;
    struct sl_arena *arena;
    unsigned allowed;
    bool has_function; /* the body of the reply is one */
    struct sl_verdict *v;
};

static struct sl_str copy_value(lua_State *L, struct reading *r, int at)
{
    size_t len;
    const char *p = lua_tolstring(L, at, &len);

    return sl_arena_dup(r->arena, sl_str(p, len));
}

/* A string field, copied; SL_STR_NONE when it is missing. */
static struct sl_str take_text(lua_State *L, struct reading *r, const char *verb, const char *name)
{
    struct sl_str text = SL_STR_NONE;

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1)) {
        if (!lua_isstring(L, -1))
            luaL_error(L, "%s.%s: a string expected, got a %s", verb, name, luaL_typename(L, -1));
        text = copy_value(L, r, -1);
    }
    lua_pop(L, 1);
    return text;
}

static struct sl_str take_required(lua_State *L, struct reading *r, const char *verb,
                                   const char *name)
{
    struct sl_str text = take_text(L, r, verb, name);

    if (text.len == 0)
        luaL_error(L, "%s.%s is missing", verb, name);
    return text;
}

static int take_int(lua_State *L, const char *verb, const char *name, int least, int most,
                    int otherwise)
{
    double value = otherwise;

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1)) {
        value = lua_tonumber(L, -1);
        if (!(value >= least && value <= most) || value != (int)value)
            luaL_error(L, "%s.%s: a number from %d to %d expected", verb, name, least, most);
    }
    lua_pop(L, 1);
    return (int)value;
}

static bool take_bool(lua_State *L, const char *name, bool otherwise)
{
    bool value;

    lua_getfield(L, 1, name);
    value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* --- headers of a reply --- */

/* The one header of those that frame a message which a script may know better than we do: how long
 * the body of its function will be. */
static void take_length(lua_State *L, struct reading *r, struct sl_str value)
{
    if (sl_str_to_u64(value, MAX_LENGTH, &r->v->content_length) < 0)
        luaL_error(L, "reply.headers: content-length %s is not a number", value.p);
}

static void add_header(lua_State *L, struct sl_str name, struct sl_str value, void *user)
{
    struct reading *r = user;
    enum sl_header_id id = sl_header_id(name);

    if (id == SL_H_CONTENT_LENGTH && r->has_function) {
        take_length(L, r, value);
        return;
    }
    sl_check_header(L, name, value);
    value = sl_arena_dup(r->arena, value);
    if (id == SL_H_CONTENT_TYPE)
        r->v->content_type = value;
    else
        sl_headers_add(&r->v->headers, r->arena, sl_arena_dup(r->arena, name), value);
}

static void take_headers(lua_State *L, struct reading *r)
{
    lua_getfield(L, 1, "headers");
    sl_fields_each(L, "reply.headers", add_header, r);
    lua_pop(L, 1);
}

/* --- the verbs --- */

static void read_deny(lua_State *L, struct reading *r)
{
    r->v->status = take_int(L, "deny", "status", 400, 599, 403);
    r->v->text = take_text(L, r, "deny", "body");
}

static void read_reply(lua_State *L, struct reading *r)
{
    r->v->status = take_int(L, "reply", "status", 200, 599, 200);
    r->v->content_length = SL_LENGTH_UNKNOWN;
    lua_getfield(L, 1, "body");
    r->has_function = lua_isfunction(L, -1);
    lua_pop(L, 1);
    if (!r->has_function)
        r->v->text = take_text(L, r, "reply", "body");
    else if ((r->allowed & SL_VERB_SERVE) == 0)
        luaL_error(L, "reply.body: a string expected, since nothing can wait here for a function");
    take_headers(L, r);
    if (!r->has_function)
        return;
    lua_getfield(L, 1, "body");
    sl_reply_verb_make(L, r->handle, r->v);
}

static void read_redirect(lua_State *L, struct reading *r)
{
    r->v->status = take_int(L, "redirect", "status", 301, 308, 302);
    r->v->text = take_required(L, r, "redirect", "location");
    if (!sl_header_value_ok(r->v->text))
        luaL_error(L, "redirect.location: a line break or control character in it");
}

static void read_route(lua_State *L, struct reading *r)
{
    r->v->text = take_required(L, r, "route", "name");
}

static void read_target(lua_State *L, struct reading *r)
{
    r->v->target_host = take_required(L, r, "target", "host");
    r->v->target_port = (uint16_t)take_int(L, "target", "port", 1, 65535, 0);
    r->v->target_tls = take_bool(L, "tls", false);
    r->v->target_verify = take_bool(L, "verify", true);
    if (r->v->target_port == 0)
        luaL_error(L, "target.port is missing");
}

static void read_cert(lua_State *L, struct reading *r)
{
    struct sl_str cert = take_required(L, r, "cert", "cert"),
                  key = take_required(L, r, "cert", "key");
    struct sl_err err;

    r->v->text = take_text(L, r, "cert", "alpn");
    if (r->v->text.len > SL_TLS_PROTOCOL_MAX)
        luaL_error(L, "cert.alpn: more than %d bytes", SL_TLS_PROTOCOL_MAX);
    if (sl_cert_from_pem(&r->v->cert, cert, key, &err) < 0)
        luaL_error(L, "cert: %s", err.text);
    if (r->v->text.len == 0) /* with a protocol it is for a connection or two */
        sl_cert_keep(r->v->cert);
}

static void read_websocket(lua_State *L, struct reading *r)
{
    sl_ws_verb_read(L, r->arena, r->v);
    r->v->status = 101;
}

static void read_nothing(lua_State *L, struct reading *r)
{
    (void)L;
    (void)r;
}

static const struct {
    const char *name;
    enum sl_verdict_kind kind;
    void (*read)(lua_State *L, struct reading *r);
} verbs[] = {
    {"deny", SL_VERDICT_DENY, read_deny},
    {"reply", SL_VERDICT_REPLY, read_reply},
    {"redirect", SL_VERDICT_REDIRECT, read_redirect},
    {"route", SL_VERDICT_ROUTE, read_route},
    {"target", SL_VERDICT_TARGET, read_target},
    {"cert", SL_VERDICT_CERT, read_cert},
    {"passthrough", SL_VERDICT_PASSTHROUGH, read_nothing},
    {"websocket", SL_VERDICT_SERVE, read_websocket},
};

/* Throws "on_connect may return nil or: deny". */
static void refuse_verb(lua_State *L, const struct reading *r, const char *what)
{
    const char *sep = "";
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    luaL_addstring(&b, what);
    luaL_addstring(&b, " cannot be returned here (only nil, or: ");
    for (size_t i = 0; i < SL_COUNT(verbs); i++) {
        if ((r->allowed >> verbs[i].kind & 1) == 0)
            continue;
        luaL_addstring(&b, sep);
        luaL_addstring(&b, verbs[i].name);
        sep = ", ";
    }
    luaL_addchar(&b, ')');
    luaL_pushresult(&b);
    lua_error(L);
}

static void read_table(lua_State *L, struct reading *r)
{
    const char *name;

    lua_getfield(L, 1, "verb");
    name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "a table without a verb";
    for (size_t i = 0; i < SL_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name) != 0)
            continue;
        if ((r->allowed >> verbs[i].kind & 1) == 0)
            break;
        r->v->kind = verbs[i].kind;
        verbs[i].read(L, r);
        return;
    }
    refuse_verb(L, r, name);
}

static void read_verb(lua_State *L, void *arg)
{
    struct reading *r = arg;
    lua_State *from = sl_task_lua(r->task);

    lua_pushvalue(from, 1);
    lua_xmove(from, L, 1);
    if (!lua_istable(L, 1))
        refuse_verb(L, r, lua_pushfstring(L, "a %s", luaL_typename(L, 1)));
    read_table(L, r);
}

int sl_verb_read(struct sl_task *t, struct sl_handle *h, unsigned allowed, struct sl_verdict *v,
                 struct sl_err *err)
{
    struct sl_arena *arena = h->ex != NULL ? &h->ex->arena : &h->script->conn_arena;
    struct reading r = {.task = t, .handle = h, .arena = arena, .allowed = allowed, .v = v};
    int rc;

    *v = (struct sl_verdict){0};
    if (sl_task_results(t) == 0 || lua_isnil(sl_task_lua(t), 1))
        return 0;
    rc = sl_script_protect(sl_task_script(t), read_verb, &r, err);
    if (rc < 0)
        *v = (struct sl_verdict){.kind = SL_VERDICT_ERROR};
    return rc;
}
