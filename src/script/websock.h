/*
 * A WebSocket in the hands of a script: ws:receive() and the like over anything that carries one.
 * Reads ahead of the script, 64 KiB or one message at most, so that pings are answered while it is
 * busy.
 *
 * Owner: Lua and the channel below. A server keeps it until its handler has ended, too. One task
 * receives at a time; any number may send, in their order. A task that is cancelled while it waits
 * leaves the connection open.
 *
 * The channel is its maker's: it feeds sl_websock_ws() with what arrives, and close() takes it
 * back, after which nothing more may be fed.
 *
 *     s = sl_websock_push(L, &opts);
 *     sl_ws_input(sl_websock_ws(s), bytes, len);
 */
#ifndef SL_SCRIPT_WEBSOCK_H
#define SL_SCRIPT_WEBSOCK_H

#include <lua.h>
#include "http/websocket.h"

struct sl_websock;

struct sl_websock_channel {
    struct sl_ws_io io;
    /* The connection is of no more use. */
    void (*close)(void *user);
};

struct sl_websock_opts {
    struct sl_loop *loop;
    struct sl_ws_opts ws;
    struct sl_str protocol; /* copied; empty: none */
    const struct sl_websock_channel *channel;
    void *user; /* of the channel */
};

/* The class. */
void sl_bind_websock(lua_State *L);
/* Pushes the object. Takes the channel, unless it throws. */
struct sl_websock *sl_websock_push(lua_State *L, const struct sl_websock_opts *opts);
/* For feeding; NULL once the channel was closed. */
struct sl_ws *sl_websock_ws(struct sl_websock *s);
/* Stays until sl_websock_release(), which begins the closing handshake with this code. */
void sl_websock_keep(struct sl_websock *s);
void sl_websock_release(struct sl_websock *s, int code);

/* Reads what both sides have in common of the options at `arg`: max_message, ping_interval and
 * ping_timeout. The server side takes 1 MiB unless it is told otherwise, since any number of
 * strangers may send at a time. */
void sl_websock_read_opts(lua_State *L, int arg, bool is_client, struct sl_ws_opts *opts);
#define SL_WEBSOCK_OPTIONS "protocols", "max_message", "ping_interval", "ping_timeout"
/* Pushes the option `protocols`, an array of names, as one string; throws on what is no list of
 * tokens. */
struct sl_str sl_websock_push_protocols(lua_State *L, int arg);

#endif
