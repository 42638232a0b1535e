#include "script/bind.h"
#include "script/intake.h"
#include "script/internal.h"

/* The methods of a request; its headers are in bind_headers.c, what it shares with connections in
 * bind_conn.c. */

enum { DEFAULT_MAX_BODY = 1024 * 1024, MAX_BODY = 1024 * 1024 * 1024 };

static const struct sl_request *request_of(lua_State *L)
{
    return &sl_handle_check(L, 1, SL_ON_REQ)->ex->req;
}

static int push_str(lua_State *L, struct sl_str s)
{
    if (s.p != NULL)
        lua_pushlstring(L, s.p, s.len);
    else
        lua_pushnil(L);
    return 1;
}

/* --- the head --- */

static int req_id(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)sl_handle_check(L, 1, SL_ON_REQ)->ex->id);
    return 1;
}

static int req_method(lua_State *L)
{
    return push_str(L, request_of(L)->method);
}

static int req_path(lua_State *L)
{
    return push_str(L, request_of(L)->path);
}

static int req_query(lua_State *L)
{
    return push_str(L, request_of(L)->query);
}

static int req_host(lua_State *L)
{
    return push_str(L, request_of(L)->host);
}

static int req_scheme(lua_State *L)
{
    return push_str(L, request_of(L)->scheme);
}

/* Of a request path and query; of a response the target that sent it. */
static int handle_target(lua_State *L)
{
    const struct sl_handle *h = sl_handle_check(L, 1, SL_ON_REQ | SL_ON_RES);
    luaL_Buffer b;

    if (h->kind == SL_HANDLE_RES)
        return push_str(L, h->target);
    if (h->ex->req.query.p == NULL)
        return push_str(L, h->ex->req.path);
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, h->ex->req.path.p, h->ex->req.path.len);
    luaL_addchar(&b, '?');
    luaL_addlstring(&b, h->ex->req.query.p, h->ex->req.query.len);
    luaL_pushresult(&b);
    return 1;
}

void sl_push_version(lua_State *L, enum sl_http_version version)
{
    switch (version) {
    case SL_HTTP_10:
        lua_pushliteral(L, "1.0");
        break;
    case SL_HTTP_11:
        lua_pushliteral(L, "1.1");
        break;
    case SL_HTTP_2:
        lua_pushliteral(L, "2");
        break;
    case SL_HTTP_3:
        lua_pushliteral(L, "3");
        break;
    }
}

static int req_version(lua_State *L)
{
    sl_push_version(L, request_of(L)->version);
    return 1;
}

static int req_tls(lua_State *L)
{
    const struct sl_peer *peer = sl_handle_check(L, 1, SL_ON_REQ)->peer;

    return push_str(L, peer->is_tls ? sl_str_c(peer->tls_version) : SL_STR_NONE);
}

/* --- set_path --- */

/* Printable ASCII without what ends a target or hides in it: no space, no "#". */
static bool is_target(struct sl_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#')
            return false;
    }
    return s.len > 0 && s.p[0] == '/';
}

static int req_set_path(lua_State *L)
{
    struct sl_str target = sl_arg_str(L, 2);
    struct sl_handle *h = sl_check_editable(L, SL_ON_REQ, target.len);
    struct sl_request *req = &h->ex->req;
    const char *mark;

    if (!is_target(target))
        return luaL_error(
            L, "set_path: \"%s\" is not a path (begins with /, has no spaces, controls or #)",
            target.p);
    target = sl_arena_dup(&h->ex->arena, target);
    mark = memchr(target.p, '?', target.len);
    req->path = mark != NULL ? sl_str(target.p, (size_t)(mark - target.p)) : target;
    req->query = mark != NULL ? sl_str(mark + 1, target.len - req->path.len - 1) : SL_STR_NONE;
    return 0;
}

/* --- cookies, hash, ctx --- */

static struct sl_str find_cookie(struct sl_str list, struct sl_str name)
{
    struct sl_str item;

    while (sl_str_next(&list, ';', &item)) {
        if (item.len > name.len && item.p[name.len] == '=' && memcmp(item.p, name.p, name.len) == 0)
            return sl_str(item.p + name.len + 1, item.len - name.len - 1);
    }
    return SL_STR_NONE;
}

static int req_cookie(lua_State *L)
{
    const struct sl_headers *headers = &request_of(L)->headers;
    struct sl_str name = sl_arg_str(L, 2), value = SL_STR_NONE;

    for (unsigned i = 0; i < headers->n && value.p == NULL; i++) {
        if (headers->at[i].id == SL_H_COOKIE)
            value = find_cookie(headers->at[i].value, name);
    }
    return push_str(L, value);
}

/* FNV-1a with a final mix: the same on every worker and after every restart, since scripts split
 * traffic by it. */
static uint32_t stable_hash(struct sl_str s)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ h >> 16;
}

static int req_hash(lua_State *L)
{
    sl_handle_check(L, 1, SL_ON_REQ);
    lua_pushnumber(L, stable_hash(sl_arg_str(L, 2)));
    return 1;
}

static int req_ctx(lua_State *L)
{
    struct sl_handle *h = sl_handle_check(L, 1, SL_ON_REQ);

    if (h->ctx_ref == LUA_NOREF) {
        lua_newtable(L);
        h->ctx_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->ctx_ref);
    return 1;
}

/* --- the body, whole --- */

struct body {
    int code;
    struct sl_str bytes;
};

static int push_body(lua_State *L, void *arg)
{
    const struct body *body = arg;

    if (body->code == 0)
        return push_str(L, body->bytes.p != NULL ? body->bytes : SL_STR(""));
    if (body->code == SL_E_LIMIT)
        return sl_push_failure(L, "too large");
    return sl_push_failure(L, "aborted");
}

/* The task that waits, which it does no more; NULL: it was cancelled. */
static struct sl_task *take_body_task(struct sl_handle *h)
{
    struct sl_task *t = h->body_task;

    h->body_task = NULL;
    return t;
}

static void on_body(struct sl_hook_slot *slot, int code, struct sl_str bytes)
{
    struct sl_handle *h = slot->script;
    struct sl_task *t = h != NULL ? take_body_task(h) : NULL;
    struct body body = {code, bytes};

    if (t != NULL)
        sl_task_resume(t, push_body, &body);
}

static void cancel_body(void *op)
{
    take_body_task(op);
}

static struct body ready_body(const struct sl_handle *h, size_t max)
{
    return (struct body){h->body.len > max ? SL_E_LIMIT : 0, h->body};
}

void sl_handle_got_body(struct sl_handle *h)
{
    struct sl_task *t = take_body_task(h);
    struct body body = ready_body(h, h->body_max);

    h->has_body = true;
    if (t != NULL)
        sl_task_resume(t, push_body, &body);
}

static void check_may_read(lua_State *L, const struct sl_handle *h, const char *what)
{
    if (h->slot != NULL ? !h->is_editable : h->collect == NULL)
        luaL_error(L, "%s: the body can be had only until the request is decided%s", what,
                   h->in == NULL ? "; after that by out:read()" : "");
}

static int req_body(lua_State *L)
{
    struct sl_handle *h = sl_handle_check(L, 1, SL_ON_REQ);
    size_t max = (size_t)sl_arg_opt_int(L, 2, 0, MAX_BODY, DEFAULT_MAX_BODY);
    struct body ready = ready_body(h, max);
    struct sl_task *t;

    if (h->in != NULL)
        return luaL_error(L, "req:body: the body is being read with req:read()");
    h->is_body_asked = true;
    if (h->has_body)
        return push_body(L, &ready);
    t = sl_task_must_wait(L, "req:body");
    check_may_read(L, h, "req:body");
    if (h->body_task != NULL)
        return luaL_error(L, "req:body: another task waits for this body already");
    h->body_task = t;
    h->body_max = max;
    if (h->slot != NULL)
        sl_hook_collect_body(h->slot, max, on_body);
    else
        h->collect(h);
    return sl_task_wait(t, cancel_body, h);
}

/* --- the body, in pieces --- */

static void flow_exchange(void *user, bool on)
{
    sl_exchange_read(user, on);
}

static void on_bytes(struct sl_hook_slot *slot, const uint8_t *bytes, size_t len, bool fin)
{
    struct sl_handle *h = slot->script;

    if (h != NULL && h->in != NULL)
        sl_intake_arrived(h->in, bytes, len, fin);
}

static int req_read(lua_State *L)
{
    struct sl_handle *h = sl_handle_check(L, 1, SL_ON_REQ);

    if (h->is_body_asked)
        return luaL_error(L, "req:read: the body was asked for with req:body()");
    check_may_read(L, h, "req:read");
    if (h->in == NULL) {
        h->in = sl_intake_new(flow_exchange, h->ex, h->ex->request_ended);
        if (h->slot != NULL)
            sl_hook_stream_body(h->slot, on_bytes);
    }
    return sl_intake_read(L, h->in, 2, "req:read");
}

void sl_bind_req(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"body", req_body},        {"cookie", req_cookie},
        {"ctx", req_ctx},          {"hash", req_hash},
        {"host", req_host},        {"id", req_id},
        {"method", req_method},    {"path", req_path},
        {"query", req_query},      {"read", req_read},
        {"scheme", req_scheme},    {"set_path", req_set_path},
        {"target", handle_target}, {"tls", req_tls},
        {"version", req_version},  {NULL, NULL},
    };

    sl_bind_methods(L, methods);
}
