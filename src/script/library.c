#include "script/library.h"

enum {
    MAX_TLS_CLIENTS = 32, /* roots that one script uses; more means that it makes them up */
    KEPT_ROOM = 64 * 1024,
};

struct tls_client {
    struct sl_tls_client *client;
    char *ca_file; /* NULL: the system's roots */
    bool verify;
};

struct library {
    struct tls_client clients[MAX_TLS_CLIENTS];
    size_t n_clients;
    struct sl_buf room;
};

static const char registry_key; /* its address */

static int free_library(lua_State *L)
{
    struct library *lib = lua_touserdata(L, 1);

    for (size_t i = 0; i < lib->n_clients; i++) {
        sl_tls_client_free(lib->clients[i].client);
        sl_free(lib->clients[i].ca_file);
    }
    lib->n_clients = 0;
    sl_buf_clear(&lib->room);
    return 0;
}

static void new_library(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&registry_key);
    memset(lua_newuserdata(L, sizeof(struct library)), 0, sizeof(struct library));
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_library);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static struct library *library_of(lua_State *L)
{
    struct library *lib;

    lua_pushlightuserdata(L, (void *)&registry_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lib = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return lib;
}

void sl_library_open(lua_State *L)
{
    new_library(L);
    sl_bind_time(L);
    sl_bind_event(L);
    sl_bind_fetch(L);
    sl_bind_serve(L);
    sl_bind_tcp(L);
    sl_bind_udp(L);
    sl_bind_exec(L);
    sl_bind_websocket(L);
    sl_bind_stun(L);
    sl_bind_edge(L);
    sl_bind_hub(L);
    sl_bind_json(L);
    sl_bind_file(L);
    sl_bind_crypto(L);
    sl_bind_key(L);
    sl_bind_certificate(L);
    sl_bind_log(L);
    sl_bind_shared(L);
    sl_bind_bus(L);
    sl_bind_redis(L);
    sl_bind_publish(L);
    sl_bind_stats(L);
    sl_bind_process(L);
    sl_bind_takeover(L);
}

struct sl_buf *sl_room(lua_State *L)
{
    struct sl_buf *room = &library_of(L)->room;

    sl_room_done(room);
    sl_buf_reset(room);
    return room;
}

void sl_room_done(struct sl_buf *room)
{
    if (room->cap > KEPT_ROOM)
        sl_buf_clear(room);
}

int sl_ref_function(lua_State *L, int arg)
{
    luaL_checktype(L, arg, LUA_TFUNCTION);
    lua_pushvalue(L, arg);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void unref(lua_State *L, void *arg)
{
    luaL_unref(L, LUA_REGISTRYINDEX, *(int *)arg);
}

void sl_unref(struct sl_script *s, int ref)
{
    struct sl_err err;

    if (ref == LUA_NOREF || ref == LUA_REFNIL)
        return;
    if (sl_script_protect(s, unref, &ref, &err) < 0)
        sl_log_warn("a function of a script stays in memory", sl_f_str("error", err.text));
}

void sl_need_service(lua_State *L, bool is_there, const char *what)
{
    if (!is_there)
        luaL_error(L, "%s cannot be called %s", what,
                   sl_script_kind(sl_script_of(L)) == SL_SCRIPT_WORKER ? "on a worker" : "here");
}

static bool is_same(const struct tls_client *c, bool verify, const char *ca_file)
{
    if (c->verify != verify || (c->ca_file == NULL) != (ca_file == NULL))
        return false;
    return ca_file == NULL || strcmp(c->ca_file, ca_file) == 0;
}

int sl_library_tls(lua_State *L, bool verify, const char *ca_file, struct sl_tls_client **out,
                   struct sl_err *err)
{
    struct library *lib = library_of(L);
    struct sl_tls_client_opts opts = {.verify = verify, .ca_file = ca_file};
    struct tls_client *c = lib->clients;
    int rc;

    for (; c < lib->clients + lib->n_clients; c++) {
        if (is_same(c, verify, ca_file)) {
            *out = c->client;
            return 0;
        }
    }
    if (lib->n_clients == MAX_TLS_CLIENTS)
        return sl_err_set(err, SL_E_LIMIT, "more than %d different ca_file", MAX_TLS_CLIENTS);
    if ((rc = sl_tls_client_new(&c->client, &opts, err)) < 0)
        return rc;
    c->verify = verify;
    c->ca_file = ca_file != NULL ? sl_strdup(ca_file) : NULL;
    lib->n_clients++;
    *out = c->client;
    return 0;
}
