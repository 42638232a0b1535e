/*
 * What sluice.serve and sluice.tcp.listen have in common: a listening socket, a handler function, a
 * limit on connections, and the Lua object `server` with port() and close(). Knows nothing of what
 * goes over the connections.
 *
 * Embedded in the server of a kind, which is freed through ops->free when it was closed and its
 * last connection has gone. Lua need not hold it: a server serves until close() or until its script
 * retires. One thread.
 *
 *     struct echo *e = sl_server_new(L, sizeof(*e), &ops);
 *     return sl_server_open(L, &e->server);
 */
#ifndef SL_SCRIPT_SERVER_H
#define SL_SCRIPT_SERVER_H

#include "net/listener.h"
#include "script/library.h"

struct sl_server;

struct sl_server_ops {
    /* Owns `fd`. Calls sl_server_conn_began() for what it makes of it. */
    void (*on_accept)(struct sl_server *s, int fd, const struct sl_addr *remote);
    /* close() or retirement: no connection comes any more. May be NULL. */
    void (*on_close)(struct sl_server *s);
    void (*free)(struct sl_server *s);
};

struct sl_server {
    const struct sl_server_ops *ops;
    struct sl_loop *loop;
    struct sl_script *script; /* may be gone once the server is closed */
    struct sl_script_owned owned;
    struct sl_server **object;    /* Lua's pointer to it; NULL: collected */
    struct sl_listener *listener; /* NULL once closed */
    char *unix_path;              /* removed with the server */
    uint64_t unix_inode;
    int unix_mode;
    uint16_t port;
    int handler; /* the function, in the registry, until it is closed */
    unsigned n_conns, max_conns;
};

/* The class. */
void sl_bind_server(lua_State *L);
/* A server of `len` zeroed bytes, which begin with its struct sl_server. Pushes its object, which
 * owns it until it listens. */
void *sl_server_new(lua_State *L, size_t len, const struct sl_server_ops *ops);
/* Reads host and port of the options at index 1: an IP address or "localhost", which is the
   default; port 0 when there is none. Throws. */
void sl_server_address(lua_State *L, struct sl_addr *at);
/* Reads host, port, unix, mode, handler and max_connections of the options at index 1, whose keys
   were checked; then listens. With the object on top of the stack: pushes nothing or `nil, why`,
   returns the number of results; throws on misuse. */
int sl_server_open(lua_State *L, struct sl_server *s);
void sl_server_conn_began(struct sl_server *s);
/* May free the server. */
void sl_server_conn_ended(struct sl_server *s);
/* Pushes the handler. */
void sl_server_push_handler(lua_State *L, const struct sl_server *s);

#endif
