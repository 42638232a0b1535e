#include "script/server.h"

#include <sys/stat.h>
#include <unistd.h>

enum { MAX_CONNS = 1024, MOST_CONNS = 1000000, UNIX_MODE = 0600 };

/* --- life --- */

static void free_if_over(struct sl_server *s)
{
    if (s->listener != NULL || s->n_conns > 0)
        return;
    if (s->object != NULL)
        *s->object = NULL;
    sl_free(s->unix_path);
    s->ops->free(s);
}

static uint64_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static void close_server(struct sl_server *s)
{
    if (s->listener == NULL)
        return;
    sl_link_remove(&s->owned.link);
    sl_unref(s->script, s->handler);
    s->n_conns++; /* on_close may end the last connection; the server outlives that */
    sl_listener_free(s->listener);
    s->listener = NULL;
    if (s->unix_path != NULL && inode_of(s->unix_path) == s->unix_inode)
        unlink(s->unix_path); /* unless somebody else listens there by now */
    if (s->ops->on_close != NULL)
        s->ops->on_close(s);
    sl_server_conn_ended(s);
}

static void on_retire(struct sl_script_owned *o)
{
    close_server(sl_container_of(o, struct sl_server, owned));
}

void sl_server_conn_began(struct sl_server *s)
{
    if (++s->n_conns >= s->max_conns)
        sl_listener_pause(s->listener, true);
}

void sl_server_conn_ended(struct sl_server *s)
{
    s->n_conns--;
    if (s->listener != NULL)
        sl_listener_pause(s->listener, false);
    free_if_over(s);
}

void sl_server_push_handler(lua_State *L, const struct sl_server *s)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->handler);
}

/* --- opening --- */

static int listen_unix(struct sl_server *s, struct sl_str path, int *fd, struct sl_err *err)
{
    int rc;

    s->unix_path = sl_strndup(path.p, path.len);
    if ((rc = sl_socket_listen_unix(fd, s->unix_path, s->unix_mode, err)) < 0)
        return rc;
    s->unix_inode = inode_of(s->unix_path);
    return 0;
}

static int listen_tcp(struct sl_server *s, struct sl_addr *at, int *fd, struct sl_err *err)
{
    int rc = sl_socket_listen(fd, at, false, err);

    if (rc == 0)
        s->port = sl_addr_port(at);
    return rc;
}

void sl_server_address(lua_State *L, struct sl_addr *at)
{
    struct sl_str host = sl_opt_str(L, 1, "host", SL_STR("127.0.0.1"));
    uint16_t port = (uint16_t)sl_opt_int(L, 1, "port", 0, 65535, 0);

    if (sl_str_eq(host, SL_STR("localhost")))
        host = SL_STR("127.0.0.1");
    if (sl_addr_parse(at, host, port) < 0)
        luaL_error(L, "option host: \"%s\" is not an IP address or \"localhost\"", host.p);
}

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    struct sl_server *s = user;

    s->ops->on_accept(s, fd, remote);
}

static void start(struct sl_server *s, int fd)
{
    s->listener = sl_listener_new(s->loop, fd, on_accept, s);
    sl_script_on_retire(s->script, &s->owned, on_retire);
}

/* Everything that throws is behind us. */
static int listen_now(lua_State *L, struct sl_server *s, struct sl_str unix_path,
                      struct sl_addr *at)
{
    struct sl_err err;
    int fd = -1, rc = unix_path.len > 0 ? listen_unix(s, unix_path, &fd, &err)
                                        : listen_tcp(s, at, &fd, &err);

    if (rc < 0) {
        luaL_unref(L, LUA_REGISTRYINDEX, s->handler);
        free_if_over(s);
        return sl_push_failure(L, err.text);
    }
    start(s, fd);
    return 1;
}

/* Frees a server whose options threw; one that listens goes on. */
static int server_gc(lua_State *L)
{
    struct sl_server **object = lua_touserdata(L, 1), *s = *object;

    if (s == NULL)
        return 0;
    *object = NULL;
    s->object = NULL;
    free_if_over(s);
    return 0;
}

void *sl_server_new(lua_State *L, size_t len, const struct sl_server_ops *ops)
{
    struct sl_server **object = sl_object_new(L, "server", sizeof(*object));
    struct sl_server *s = sl_zalloc(len);

    s->ops = ops;
    s->script = sl_script_of(L);
    s->loop = sl_script_loop(s->script);
    s->handler = LUA_NOREF;
    s->object = object;
    *object = s;
    return s;
}

int sl_server_open(lua_State *L, struct sl_server *s)
{
    struct sl_addr at = {0};
    struct sl_str unix_path;

    s->max_conns = (unsigned)sl_opt_int(L, 1, "max_connections", 1, MOST_CONNS, MAX_CONNS);
    unix_path = sl_opt_str(L, 1, "unix", SL_STR_NONE);
    s->unix_mode = (int)sl_opt_int(L, 1, "mode", 0, 0777, UNIX_MODE);
    if (unix_path.len == 0)
        sl_server_address(L, &at);
    sl_opt_function(L, 1, "handler");
    s->handler = luaL_ref(L, LUA_REGISTRYINDEX);
    return listen_now(L, s, unix_path, &at);
}

/* --- methods --- */

static int server_port(lua_State *L)
{
    struct sl_server *s = *(struct sl_server **)sl_object_check(L, 1, "server");

    if (s == NULL || s->unix_path != NULL)
        return 0;
    lua_pushinteger(L, s->port);
    return 1;
}

static int server_close(lua_State *L)
{
    struct sl_server *s = *(struct sl_server **)sl_object_check(L, 1, "server");

    if (s != NULL)
        close_server(s);
    return 0;
}

void sl_bind_server(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"port", server_port}, {"close", server_close}, {NULL, NULL}};

    sl_bind_class(L, "server", methods, server_gc);
}
