/* sluice.fetch: one request to anywhere, through the HTTP client and the connection pool of this
 * thread. */
#include <pthread.h>
#include <stdatomic.h>
#include "base/buf.h"
#include "base/map.h"
#include "http/client.h"
#include "route/snapshot.h"
#include "route/target.h"
#include "script/library.h"
#include "script/url.h"

enum {
    MAX_FETCHES = 10000, /* of one thread at a time */
    MAX_BODY = 16 * 1024 * 1024,
    MOST_BODY = 1024 * 1024 * 1024,
    MAX_POOL_IDS = 4096,
    TIMEOUT_S = 30,
};

static __thread unsigned n_fetches;

struct fetch {
    struct sl_loop *loop;
    struct sl_pool *pool;
    struct sl_task *task;
    struct sl_call *call;
    struct sl_call_target target;
    struct sl_request req;
    struct sl_str body;
    struct sl_arena arena; /* all strings of the request, and the head of the response */
    struct sl_timer timer;
    struct sl_buf in;
    size_t max_body;
    bool is_retry;
};

/* --- life --- */

static void free_fetch(void *ptr)
{
    struct fetch *f = ptr;

    sl_arena_clear(&f->arena);
    sl_buf_clear(&f->in);
    sl_free(f);
}

static void end(struct fetch *f)
{
    sl_timer_clear(&f->timer);
    sl_call_free(&f->call);
    n_fetches--;
    sl_loop_defer(f->loop, f, free_fetch);
}

static void cancel(void *op)
{
    end(op);
}

static void fail(struct fetch *f, const char *text, const char *detail)
{
    struct sl_task *task = f->task;
    char whole[320];

    snprintf(whole, sizeof(whole), "%s%s%s", text, detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    end(f);
    sl_task_resume_error(task, whole);
}

static void on_due(struct sl_timer *t)
{
    fail(t->user, "timed out", NULL);
}

/* --- the response --- */

struct result {
    struct fetch *fetch;
    struct sl_response res;
};

static struct sl_str lower(struct sl_arena *a, struct sl_str s)
{
    struct sl_str copy = sl_arena_dup(a, s);

    for (size_t i = 0; i < copy.len; i++)
        ((char *)copy.p)[i] = (char)sl_lower((unsigned char)copy.p[i]);
    return copy;
}

static void push_headers(lua_State *L, struct sl_arena *a, const struct sl_headers *headers)
{
    lua_createtable(L, 0, (int)headers->n);
    for (unsigned i = 0; i < headers->n; i++) {
        const struct sl_header *h = &headers->at[i];
        struct sl_str name = lower(a, h->name), value = sl_headers_get_all(headers, h->name, a);

        if (h->id == SL_H_REMOVED)
            continue;
        lua_pushlstring(L, name.p, name.len);
        lua_pushlstring(L, value.p, value.len);
        lua_rawset(L, -3);
    }
}

static int push_result(lua_State *L, void *arg)
{
    struct result *r = arg;
    struct sl_str body = sl_buf_str(&r->fetch->in);

    lua_createtable(L, 0, 3);
    lua_pushinteger(L, r->res.status);
    lua_setfield(L, -2, "status");
    push_headers(L, &r->fetch->arena, &r->res.headers);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, body.len > 0 ? body.p : "", body.len);
    lua_setfield(L, -2, "body");
    return 1;
}

/* The connection is the pool's again before the script goes on; the memory of `f` stays until the
 * end of the turn. */
static void succeed(struct fetch *f)
{
    struct result r = {f, f->call->res};
    struct sl_task *task = f->task;

    end(f);
    sl_task_resume(task, push_result, &r);
}

static void on_head(struct sl_call *c)
{
    struct fetch *f = c->user;

    if (c->res.status == 101)
        fail(f, "the server changed the protocol unasked", NULL);
    else if (c->res.content_length != SL_LENGTH_UNKNOWN && c->res.content_length > f->max_body &&
             !sl_str_eq(f->req.method, SL_STR("HEAD")))
        fail(f, "too large", NULL);
}

static void on_body(struct sl_call *c, const struct iovec *iov, int n_iov, bool fin)
{
    struct fetch *f = c->user;

    for (int i = 0; i < n_iov; i++) {
        if (sl_buf_len(&f->in) + iov[i].iov_len > f->max_body) {
            fail(f, "too large", NULL);
            return;
        }
        sl_buf_append(&f->in, iov[i].iov_base, iov[i].iov_len);
    }
    if (fin)
        succeed(f);
}

static void ignore(struct sl_call *c SL_UNUSED)
{
    /* interim responses say nothing to a script, and the whole request was one write */
}

/* --- the request --- */

static void on_connected(struct sl_call *c)
{
    struct fetch *f = c->user;
    struct iovec iov = {(void *)f->body.p, f->body.len};

    sl_call_send(c, &f->req);
    sl_call_write(c, &iov, iov.iov_len > 0 ? 1 : 0, true); /* a failure comes as on_error() */
    sl_call_read(c, true);
}

static void start(struct fetch *f);

/* A kept connection that the server closed while it rested: another try costs nothing and repeats
 * nothing. */
static void on_error(struct sl_call *c, int code)
{
    struct fetch *f = c->user;
    bool is_stale = c->was_reused && !c->got_bytes;

    if (!f->is_retry &&
        (c->is_unprocessed || (is_stale && sl_method_is_idempotent(f->req.method)))) {
        f->is_retry = true;
        sl_call_free(&f->call);
        start(f);
        return;
    }
    fail(f, sl_error_text(code), c->detail);
}

static void start(struct fetch *f)
{
    static const struct sl_call_handler handler = {on_connected, on_head, ignore,
                                                   on_body,      ignore,  on_error};
    struct sl_call_opts opts = {.fresh = f->is_retry};

    f->call = sl_call_start(f->pool, &f->target, &opts, &f->arena, &handler, f);
}

/* --- arguments --- */

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

static void add_header(lua_State *L, struct fetch *f, struct sl_str name, struct sl_str value)
{
    check_header(L, name, value);
    if (sl_header_id(name) == SL_H_HOST)
        f->req.authority = sl_arena_dup(&f->arena, value);
    else
        sl_headers_add(&f->req.headers, &f->arena, sl_arena_dup(&f->arena, name),
                       sl_arena_dup(&f->arena, value));
}

static struct sl_str to_str(lua_State *L, int at)
{
    size_t len;
    const char *p = lua_tolstring(L, at, &len);

    return sl_str(p, len);
}

static void read_headers(lua_State *L, struct fetch *f)
{
    lua_getfield(L, 2, "headers");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    if (!lua_istable(L, -1))
        luaL_error(L, "option headers: table expected, got %s", luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
            luaL_error(L, "option headers: names and values must be strings");
        add_header(L, f, to_str(L, -2), to_str(L, -1));
    }
    lua_pop(L, 1);
}

static void read_request(lua_State *L, struct fetch *f)
{
    struct sl_str body = sl_opt_str(L, 2, "body", SL_STR_NONE),
                  cookie = sl_opt_str(L, 2, "cookie", SL_STR_NONE);
    struct sl_str method = sl_opt_str(L, 2, "method", SL_STR("GET"));

    if (!sl_header_name_ok(method) || sl_str_eq(method, SL_STR("CONNECT")))
        luaL_error(L, "option method: \"%s\" is not a method", method.p);
    f->req.version = SL_HTTP_11;
    f->req.method = sl_arena_dup(&f->arena, method);
    f->body = sl_arena_dup(&f->arena, body);
    f->req.content_length = body.len;
    if (body.p != NULL) /* an empty body is one, too, and some servers insist on being told */
        sl_headers_add_id(&f->req.headers, &f->arena, SL_H_CONTENT_LENGTH, SL_STR("Content-Length"),
                          SL_STR("0"));
    read_headers(L, f);
    if (cookie.p != NULL)
        add_header(L, f, SL_STR("Cookie"), cookie);
    if (sl_headers_find_id(&f->req.headers, SL_H_USER_AGENT) == NULL)
        add_header(L, f, SL_STR("User-Agent"), SL_STR("sluice/" SLUICE_VERSION));
    if (sl_headers_find_id(&f->req.headers, SL_H_ACCEPT) == NULL)
        add_header(L, f, SL_STR("Accept"), SL_STR("*/*"));
    f->max_body = (size_t)sl_opt_int(L, 2, "max_body", 0, MOST_BODY, MAX_BODY);
}

static void read_target(lua_State *L, struct fetch *f, const struct sl_url *url)
{
    struct sl_str ca_file = sl_opt_str(L, 2, "ca_file", SL_STR_NONE);
    struct sl_str unix_path = sl_opt_str(L, 2, "unix", SL_STR_NONE);

    f->req.scheme = url->is_tls ? SL_STR("https") : SL_STR("http");
    f->req.authority = sl_arena_dup(&f->arena, url->authority);
    f->req.host = lower(&f->arena, url->host);
    f->req.path = sl_arena_dup(&f->arena, url->path);
    f->req.query = url->query.p != NULL ? sl_arena_dup(&f->arena, url->query) : SL_STR_NONE;
    f->target = (struct sl_call_target){.host = f->req.host, .port = url->port, .tls = url->is_tls};
    f->target.tls_verify = sl_opt_bool(L, 2, "verify", true);
    f->target.ca_file = ca_file.p != NULL ? sl_arena_dup(&f->arena, ca_file).p : NULL;
    if (unix_path.p != NULL)
        f->target.unix_path = sl_arena_dup(&f->arena, unix_path);
    f->target.id = pool_id(&f->target, &f->arena);
}

/* Holds a fetch while its arguments are read, which may throw. */
static int guard_gc(lua_State *L)
{
    struct fetch **guard = lua_touserdata(L, 1);

    if (*guard != NULL)
        free_fetch(*guard);
    *guard = NULL;
    return 0;
}

static int fetch_(lua_State *L)
{
    static const char *const names[] = {"method", "headers", "body",    "timeout", "max_body",
                                        "cookie", "verify",  "ca_file", "unix",    NULL};
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_str text = sl_arg_str(L, 1);
    struct sl_task *task = sl_task_must_wait(L, "sluice.fetch");
    struct fetch **guard, *f;
    struct sl_url url;
    double timeout;

    sl_need_service(L, services->pool != NULL, "sluice.fetch");
    sl_arg_options(L, 2, names);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 2);
    }
    timeout = sl_opt_seconds(L, 2, "timeout", TIMEOUT_S);
    if (sl_url_parse(text, &url) < 0)
        return sl_push_failure(L, "not an http or https URL");
    if (n_fetches >= MAX_FETCHES)
        return sl_push_failure(L, "too many fetches at a time");
    guard = sl_object_new(L, "fetch", sizeof(*guard));
    f = *guard = sl_zalloc(sizeof(*f));
    read_target(L, f, &url);
    read_request(L, f);
    *guard = NULL;
    f->loop = sl_script_loop(sl_script_of(L));
    f->pool = services->pool;
    f->task = task;
    n_fetches++;
    sl_timer_init(&f->timer, f->loop, on_due, f);
    sl_timer_set(&f->timer, timeout * 1e3);
    start(f);
    return sl_task_wait(task, cancel, f);
}

void sl_bind_fetch(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"fetch", fetch_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "fetch", methods, guard_gc);
}
