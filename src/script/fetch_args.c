/* What a script asks sluice.fetch for: URL, options, headers, and the pool's number of the target.
 */
#include <pthread.h>
#include "base/map.h"
#include "route/snapshot.h"
#include "route/target.h"
#include "script/fetch.h"
#include "script/fields.h"
#include "script/url.h"

enum {
    MAX_BODY = 16 * 1024 * 1024,
    MOST_BODY = 1024 * 1024 * 1024,
    MAX_POOL_IDS = 4096,
    TIMEOUT_S = 30,
    MOST_SECONDS = 24 * 3600,
};

#define MAX_LENGTH (1ULL << 53) /* what a number of Lua can count */

const char *const sl_fetch_option_names[] = {"method",   "headers", "body",   "timeout",
                                             "max_body", "cookie",  "verify", "ca_file",
                                             "unix",     "stream",  NULL};

/* --- the target --- */

static uint32_t new_id(const struct sl_call_target *t)
{
    struct sl_target target = {.host = t->host,
                               .unix_path = t->unix_path,
                               .port = t->port,
                               .tls = t->tls,
                               .tls_verify = t->tls_verify};

    if (t->ca_file != NULL)
        return sl_target_id_new();           /* no target of a route trusts as this one does */
    return sl_target_state_get(&target)->id; /* for as long as the process lives */
}

/* The number under which the pool keeps connections to this target, the same as that of an equal
   target of a route. A target that was fetched from once keeps its number; past the limit
   connections are not kept. */
static uint32_t pool_id(const struct sl_call_target *t, struct sl_arena *scratch)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct sl_map known; /* of uint32_t */
    struct sl_str key = sl_arena_printf(scratch, "%.*s %u %.*s %d %d %s", SL_STR_FMT(t->host),
                                        t->port, SL_STR_FMT(t->unix_path), t->tls, t->tls_verify,
                                        t->ca_file != NULL ? t->ca_file : "");
    uint32_t *id;

    pthread_mutex_lock(&lock);
    id = sl_map_get(&known, key);
    if (id == NULL && known.n < MAX_POOL_IDS) {
        id = sl_alloc(sizeof(*id));
        *id = new_id(t);
        *sl_map_at(&known, sl_str(sl_strndup(key.p, key.len), key.len)) = id;
    }
    pthread_mutex_unlock(&lock);
    return id != NULL ? *id : 0;
}

static void read_target(lua_State *L, struct sl_fetch *f, const struct sl_url *url)
{
    struct sl_str ca_file = sl_opt_str(L, 2, "ca_file", SL_STR_NONE);
    struct sl_str unix_path = sl_opt_str(L, 2, "unix", SL_STR_NONE);
    char *host = sl_arena_alloc(&f->arena, url->host.len + 1);

    for (size_t i = 0; i < url->host.len; i++)
        host[i] = (char)sl_lower((unsigned char)url->host.p[i]);
    host[url->host.len] = '\0';
    f->req.scheme = url->is_tls ? SL_STR("https") : SL_STR("http");
    f->req.authority = sl_arena_dup(&f->arena, url->authority);
    f->req.host = sl_str(host, url->host.len);
    f->req.path = sl_arena_dup(&f->arena, url->path);
    f->req.query = url->query.p != NULL ? sl_arena_dup(&f->arena, url->query) : SL_STR_NONE;
    f->target = (struct sl_call_target){.host = f->req.host, .port = url->port, .tls = url->is_tls};
    f->target.tls_verify = sl_opt_bool(L, 2, "verify", true);
    f->target.ca_file = ca_file.p != NULL ? sl_arena_dup(&f->arena, ca_file).p : NULL;
    if (unix_path.p != NULL)
        f->target.unix_path = sl_arena_dup(&f->arena, unix_path);
    f->target.id = pool_id(&f->target, &f->arena);
}

/* --- headers --- */

/* What frames the message and names the connection is ours to write. */
static bool is_ours(enum sl_header_id id)
{
    switch (id) {
    case SL_H_CONNECTION:
    case SL_H_CONTENT_LENGTH:
    case SL_H_TRANSFER_ENCODING:
    case SL_H_UPGRADE:
    case SL_H_KEEP_ALIVE:
    case SL_H_PROXY_CONNECTION:
    case SL_H_TE:
    case SL_H_TRAILER:
    case SL_H_EXPECT:
    case SL_H_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

static void check_header(lua_State *L, struct sl_str name, struct sl_str value)
{
    if (!sl_header_name_ok(name))
        luaL_error(L, "sluice.fetch: \"%s\" is not a header name", name.p);
    if (!sl_header_value_ok(value))
        luaL_error(
            L, "sluice.fetch: the value of header %s holds a line break or another control byte",
            name.p);
    if (is_ours(sl_header_id(name)))
        luaL_error(L, "sluice.fetch: header %s cannot be set, it follows from the request", name.p);
}

static void add_header(lua_State *L, struct sl_str name, struct sl_str value, void *user)
{
    struct sl_fetch *f = user;
    enum sl_header_id id = sl_header_id(name);

    if (id == SL_H_CONTENT_LENGTH && f->has_function) {
        if (sl_str_to_u64(value, MAX_LENGTH, &f->req.content_length) < 0)
            luaL_error(L, "sluice.fetch: content-length %s is not a number", value.p);
        return;
    }
    check_header(L, name, value);
    if (id == SL_H_HOST)
        f->req.authority = sl_arena_dup(&f->arena, value);
    else
        sl_headers_add(&f->req.headers, &f->arena, sl_arena_dup(&f->arena, name),
                       sl_arena_dup(&f->arena, value));
}

static void read_headers(lua_State *L, struct sl_fetch *f)
{
    struct sl_str cookie = sl_opt_str(L, 2, "cookie", SL_STR_NONE);

    lua_getfield(L, 2, "headers");
    sl_fields_each(L, "option headers", add_header, f);
    lua_pop(L, 1);
    if (cookie.p != NULL)
        add_header(L, SL_STR("Cookie"), cookie, f);
    if (sl_headers_find_id(&f->req.headers, SL_H_USER_AGENT) == NULL)
        add_header(L, SL_STR("User-Agent"), SL_STR("sluice/" SLUICE_VERSION), f);
    if (sl_headers_find_id(&f->req.headers, SL_H_ACCEPT) == NULL)
        add_header(L, SL_STR("Accept"), SL_STR("*/*"), f);
}

/* --- the rest --- */

static bool is_function(lua_State *L, const char *name)
{
    bool is_one;

    lua_getfield(L, 2, name);
    is_one = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return is_one;
}

static void read_body(lua_State *L, struct sl_fetch *f)
{
    struct sl_str body;

    f->has_function = is_function(L, "body");
    if (f->has_function) {
        f->req.content_length = SL_LENGTH_UNKNOWN;
        return;
    }
    body = sl_opt_str(L, 2, "body", SL_STR_NONE);
    f->body = sl_arena_dup(&f->arena, body);
    f->req.content_length = body.len;
    if (body.p != NULL) /* an empty body is one, too, and some servers insist on being told */
        sl_headers_add_id(&f->req.headers, &f->arena, SL_H_CONTENT_LENGTH, SL_STR("Content-Length"),
                          SL_STR("0"));
}

static void read_limits(lua_State *L, struct sl_fetch *f)
{
    double timeout = SL_MIN(sl_opt_seconds(L, 2, "timeout", TIMEOUT_S), MOST_SECONDS);

    f->timeout_ms = SL_MAX((uint32_t)(timeout * 1e3), 1);
    f->is_stream = sl_opt_bool(L, 2, "stream", false);
    if (f->is_stream)
        f->max_body = (uint64_t)sl_opt_int(L, 2, "max_body", 0, INT64_MAX, INT64_MAX);
    else
        f->max_body = (uint64_t)sl_opt_int(L, 2, "max_body", 0, MOST_BODY, MAX_BODY);
}

void sl_fetch_read_args(lua_State *L, struct sl_fetch *f, const struct sl_url *url)
{
    struct sl_str method = sl_opt_str(L, 2, "method", SL_STR("GET"));

    if (!sl_header_name_ok(method) || sl_str_eq(method, SL_STR("CONNECT")))
        luaL_error(L, "option method: \"%s\" is not a method", method.p);
    f->req.version = SL_HTTP_11;
    f->req.method = sl_arena_dup(&f->arena, method);
    read_target(L, f, url);
    read_limits(L, f);
    read_body(L, f);
    read_headers(L, f);
    if (!f->has_function)
        return;
    lua_getfield(L, 2, "body"); /* last: nothing throws after this */
    f->body_fn = luaL_ref(L, LUA_REGISTRYINDEX);
}
