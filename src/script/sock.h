/*
 * A socket in the hands of a script: sock:read() and the like over any stream. Buffers what arrives
 * ahead of the script, 64 KiB at most unless the script waits for more.
 *
 * Owner: Lua; the garbage collector closes it. A server that made it for a handler keeps it, too,
 * and closes it when the handler ends. At most one task waits per direction; one that is cancelled
 * while it waits closes the socket.
 *
 *     struct sl_sock *s = sl_sock_push(L, &stream);
 */
#ifndef SL_SCRIPT_SOCK_H
#define SL_SCRIPT_SOCK_H

#include <lua.h>
#include "net/stream.h"

struct sl_sock;

/* The class. */
void sl_bind_sock(lua_State *L);
/* Pushes a socket on a stream that is ready; takes the stream and nulls the pointer, unless it
 * throws. */
struct sl_sock *sl_sock_push(lua_State *L, struct sl_stream **stream);
/* Stays allocated until sl_sock_release(), which closes it, whatever Lua does with it. */
void sl_sock_keep(struct sl_sock *s);
void sl_sock_release(struct sl_sock *s);

#endif
