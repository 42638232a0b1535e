/* core.publish and core.settings: how lua/sluice/routes.lua makes routes and limits live. */
#include <openssl/evp.h>
#include "script/library.h"
#include "script/route_spec.h"
#include "tls/cert.h"

enum {
    MAX_ROUTES = 1000000,
    MAX_SETTINGS = 64,
    DIGEST_LEN = sizeof(((struct sl_route_spec *)NULL)->digest)
};

/* What is being built. An object of Lua's, so that whatever throws leaves nothing behind. */
struct build {
    struct sl_snapshot_builder *builder;
    struct sl_arena arena;
    struct sl_buf text;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    struct sl_cert *cert; /* of the route in hand, until a route owns it */
    size_t n_routes, n_new;
    bool takes_notes; /* see add_by_note() */
    size_t *indexes; /* of the table for each route of the snapshot, from 1; NULL: all or nothing */
};

static int free_build(lua_State *L)
{
    struct build *b = lua_touserdata(L, 1);

    if (b->builder != NULL)
        sl_snapshot_abandon(b->builder);
    b->builder = NULL;
    sl_arena_clear(&b->arena);
    sl_buf_clear(&b->text);
    EVP_MD_CTX_free(b->digest);
    EVP_MD_free(b->sha256);
    sl_cert_unref(b->cert);
    sl_free(b->indexes);
    b->indexes = NULL;
    b->digest = NULL;
    b->sha256 = NULL;
    b->cert = NULL;
    return 0;
}

static void release_cert(void *cert)
{
    sl_cert_unref(cert);
}

/* --- one route --- */

static int self_signed(struct build *b, const struct sl_route_spec *spec,
                       struct sl_route_cert *cert, struct sl_err *err)
{
    struct sl_str name = spec->n_domains > 0 ? spec->domains[0] : SL_STR("localhost");
    int rc = sl_cert_self_signed(&b->cert, name, err);

    if (rc < 0) /* a pattern that no certificate can have as its name */
        rc = sl_cert_self_signed(&b->cert, SL_STR("localhost"), err);
    if (rc == 0)
        sl_cert_pin(b->cert, cert->pin);
    return rc;
}

static void digest(struct build *b, struct sl_route_spec *spec, const struct sl_route_cert *cert)
{
    sl_buf_reset(&b->text);
    sl_route_spec_write(&b->text, spec, cert);
    EVP_DigestInit_ex2(b->digest, b->sha256, NULL);
    EVP_DigestUpdate(b->digest, sl_buf_at(&b->text), sl_buf_len(&b->text));
    EVP_DigestFinal_ex(b->digest, spec->digest, NULL);
}

static int add_new(struct build *b, struct sl_route_spec *spec, const struct sl_route_cert *cert,
                   struct sl_err *err)
{
    int rc = 0;

    if (cert->cert.p != NULL)
        rc = sl_cert_from_pem(&b->cert, cert->cert, cert->key, err);
    if (rc < 0)
        return sl_err_prefix(err, "action.tls.");
    spec->tls_data = b->cert;
    spec->release_tls = release_cert;
    if ((rc = sl_snapshot_add(b->builder, spec, err)) < 0)
        return rc;
    b->cert = NULL;
    b->n_new++;
    return 0;
}

/* With a list of what is refused the caller says that it never changes a table that it has passed.
   So the digest is noted there, and a set of which little is new is not read and hashed as a whole.
   A self-signed certificate is made by time, too: no note can stand for it. */
static bool add_by_note(lua_State *L, struct build *b, int at)
{
    struct sl_str noted = sl_spec_str(L, at, "digest");

    return noted.len == DIGEST_LEN && sl_snapshot_add_known(b->builder, (const uint8_t *)noted.p);
}

static void note_digest(lua_State *L, int at, const struct sl_route_spec *spec)
{
    lua_pushlstring(L, (const char *)spec->digest, sizeof(spec->digest));
    lua_setfield(L, at, "digest");
}

/* A route that is known costs its digest; a new one is compiled, and its certificate parsed. */
static int add_route(lua_State *L, struct build *b, int at, struct sl_err *err)
{
    struct sl_route_spec spec;
    struct sl_route_cert cert;
    int rc = 0;

    if (b->takes_notes && add_by_note(L, b, at))
        return 0;
    sl_arena_reset(&b->arena);
    sl_route_spec_read(L, at, &b->arena, &spec, &cert);
    if (cert.is_self_signed && (rc = self_signed(b, &spec, &cert, err)) < 0)
        return sl_err_prefix(err, "action.tls.");
    digest(b, &spec, &cert);
    if (!sl_snapshot_add_known(b->builder, spec.digest))
        rc = add_new(b, &spec, &cert, err);
    sl_cert_unref(b->cert);
    b->cert = NULL;
    if (rc == 0 && b->takes_notes && !cert.is_self_signed)
        note_digest(L, at, &spec);
    return rc;
}

/* Appends {index=, error=} to the list of what was refused. */
static void note_refused(lua_State *L, int refused, size_t index, const struct sl_err *err)
{
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)index);
    lua_setfield(L, -2, "index");
    lua_pushstring(L, err->text);
    lua_setfield(L, -2, "error");
    lua_rawseti(L, refused, (int)lua_objlen(L, refused) + 1);
}

/* 0, or the number (from 1) of the route that is wrong. With a list at `refused` (0: none) the
   wrong ones go there and the others stand. */
static size_t add_routes(lua_State *L, struct build *b, int refused, struct sl_err *err)
{
    size_t n = lua_objlen(L, 1);

    if (n > MAX_ROUTES)
        luaL_error(L, "publish: more than %d routes", MAX_ROUTES);
    if (refused != 0)
        b->indexes = sl_alloc((n + 1) * sizeof(*b->indexes));
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, (int)i);
        luaL_checktype(L, -1, LUA_TTABLE);
        if (add_route(L, b, lua_gettop(L), err) < 0) {
            if (refused == 0)
                return i;
            note_refused(L, refused, i, err);
        } else {
            if (b->indexes != NULL)
                b->indexes[b->n_routes] = i;
            b->n_routes++;
        }
        lua_pop(L, 1);
    }
    return 0;
}

static int set_policy(lua_State *L, struct build *b, struct sl_err *err)
{
    struct sl_policy_spec p = {0};

    sl_arena_reset(&b->arena);
    p.allow = sl_spec_strs(L, 2, "allow", &b->arena, &p.n_allow);
    p.block = sl_spec_strs(L, 2, "block", &b->arena, &p.n_block);
    p.max_connections_per_ip =
        (unsigned)sl_spec_int(L, 2, "max_connections_per_ip", 0, UINT32_MAX, 0);
    p.connections_per_minute =
        (unsigned)sl_spec_int(L, 2, "connections_per_minute", 0, UINT32_MAX, 0);
    return sl_snapshot_set_policy(b->builder, &p, err);
}

/* --- all of them --- */

/* Lives until the workers have answered, also when its task does not. */
struct publishing {
    struct sl_task *task; /* NULL: cancelled */
    struct sl_script *script;
    int refused; /* the list in the registry, or LUA_NOREF; gone once the task is */
    size_t n_routes, n_new;
    size_t *indexes;                    /* as in struct build */
    const struct sl_published *outcome; /* while the task is resumed */
};

static void cancel(void *op)
{
    struct publishing *p = op;

    p->task = NULL;
    sl_unref(p->script, p->refused);
}

static int push_result(lua_State *L, void *arg)
{
    struct publishing *p = arg;
    const struct sl_published *outcome = p->outcome;

    lua_createtable(L, 0, 4);
    if (p->refused != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->refused);
        luaL_unref(L, LUA_REGISTRYINDEX, p->refused);
        for (size_t i = 0; i < outcome->n_refused; i++)
            note_refused(L, lua_gettop(L), p->indexes[outcome->refused[i].place],
                         &outcome->refused[i].err);
        lua_setfield(L, -2, "refused");
    }
    lua_pushinteger(L, (lua_Integer)(p->n_routes - outcome->n_refused));
    lua_setfield(L, -2, "routes");
    lua_pushinteger(L, (lua_Integer)p->n_new);
    lua_setfield(L, -2, "compiled");
    return 1;
}

static void on_published(void *arg, const struct sl_published *outcome)
{
    struct publishing *p = arg;

    p->outcome = outcome;
    if (p->task != NULL && outcome->err != NULL) {
        sl_unref(p->script, p->refused);
        sl_task_resume_error(p->task, outcome->err->text);
    } else if (p->task != NULL) {
        sl_task_resume(p->task, push_result, p);
    }
    sl_free(p->indexes);
    sl_free(p);
}

static struct build *begin(lua_State *L, const struct sl_script_services *services)
{
    struct build *b = sl_object_new(L, "publication", sizeof(*b));
    struct sl_snapshot *previous =
        services->snapshot != NULL ? services->snapshot(services->user) : NULL;

    b->builder = sl_snapshot_begin(previous);
    sl_snapshot_unref(previous);
    b->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    b->digest = EVP_MD_CTX_new();
    sl_assert(b->sha256 != NULL && b->digest != NULL);
    return b;
}

/* Makes the list of what is refused, if the caller wants one; its place on the stack or 0. */
static int open_refused(lua_State *L)
{
    lua_settop(L, 3);
    if (!lua_toboolean(L, 3))
        return 0;
    lua_newtable(L);
    return lua_gettop(L);
}

static int keep_refused(lua_State *L, int refused)
{
    if (refused == 0)
        return LUA_NOREF;
    lua_pushvalue(L, refused);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* nil, what is wrong, and which route it is. */
static int refuse(lua_State *L, const struct sl_err *err, size_t index)
{
    sl_push_failure(L, err->text);
    if (index == 0)
        return 2;
    lua_pushinteger(L, (lua_Integer)index);
    return 3;
}

static int publish(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_task *task = sl_task_must_wait(L, "publish");
    struct sl_snapshot *snapshot;
    struct publishing *p;
    struct build *b;
    struct sl_err err;
    size_t index;
    int refused;

    sl_need_service(L, services->publish != NULL, "publish");
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    refused = open_refused(L);
    b = begin(L, services);
    b->takes_notes = refused != 0;
    if ((index = add_routes(L, b, refused, &err)) > 0 || set_policy(L, b, &err) < 0)
        return refuse(L, &err, index);
    refused = keep_refused(L, refused); /* may throw: the last that does */
    p = sl_zalloc(sizeof(*p));
    *p = (struct publishing){.task = task,
                             .script = sl_script_of(L),
                             .refused = refused,
                             .n_routes = b->n_routes,
                             .n_new = b->n_new,
                             .indexes = b->indexes};
    b->indexes = NULL;
    snapshot = sl_snapshot_finish(b->builder);
    b->builder = NULL;
    services->publish(services->user, &snapshot, p->indexes != NULL, on_published, p);
    return sl_task_wait(task, cancel, p);
}

/* --- settings --- */

static void read_strings(lua_State *L, struct sl_arena *arena, struct sl_setting *s)
{
    size_t n = lua_objlen(L, -1);
    struct sl_str *list = sl_arena_alloc(arena, (n + 1) * sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "settings: %s: an array of strings expected", s->name.p);
        list[i].p = lua_tolstring(L, -1, &list[i].len);
        lua_pop(L, 1);
    }
    s->kind = SL_SETTING_STRINGS;
    s->strings = list;
    s->n_strings = n;
}

static void read_string(lua_State *L, struct sl_arena *arena, struct sl_setting *s)
{
    struct sl_str *one = sl_arena_alloc(arena, sizeof(*one));

    one->p = lua_tolstring(L, -1, &one->len);
    s->kind = SL_SETTING_STRING;
    s->strings = one;
    s->n_strings = 1;
}

/* Name and value on top of the stack. */
static void read_setting(lua_State *L, struct sl_arena *arena, struct sl_setting *s)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "settings: a name is a %s, not a string", luaL_typename(L, -2));
    s->name.p = lua_tolstring(L, -2, &s->name.len);
    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        s->kind = SL_SETTING_NUMBER;
        s->number = lua_tonumber(L, -1);
        return;
    case LUA_TBOOLEAN:
        s->kind = SL_SETTING_BOOL;
        s->number = lua_toboolean(L, -1);
        return;
    case LUA_TSTRING:
        read_string(L, arena, s);
        return;
    case LUA_TTABLE:
        read_strings(L, arena, s);
        return;
    default:
        luaL_error(L, "settings: %s is a %s", s->name.p, luaL_typename(L, -1));
    }
}

static int settings(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_setting list[MAX_SETTINGS];
    struct build *b;
    struct sl_err err;
    size_t n = 0;

    sl_need_service(L, services->settings != NULL, "settings");
    luaL_checktype(L, 1, LUA_TTABLE);
    b = sl_object_new(L, "publication", sizeof(*b));
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        if (n == MAX_SETTINGS)
            return luaL_error(L, "settings: more than %d", MAX_SETTINGS);
        list[n] = (struct sl_setting){0};
        read_setting(L, &b->arena, &list[n++]);
    }
    if (services->settings(services->user, list, n, &err) < 0)
        return sl_push_failure(L, err.text);
    lua_pushboolean(L, true);
    return 1;
}

void sl_bind_publish(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"publish", publish}, {"settings", settings}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "publication", methods, free_build);
}
