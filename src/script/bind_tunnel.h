/*
 * What the bindings of edges (bind_edge.c) and hubs (bind_hub.c) have in common. Control thread,
 * inside Lua; both may throw.
 */
#ifndef SL_SCRIPT_BIND_TUNNEL_H
#define SL_SCRIPT_BIND_TUNNEL_H

#include "script/library.h"
#include "script/tunnels.h"

/* What the program offers; throws "sluice.tunnel.edge cannot be called on a worker". */
const struct sl_script_tunnels *sl_need_tunnels(lua_State *L, const char *what);

/* A question to the worker, whose answer comes even when the task that asked has gone:
 *     q = sl_tunnel_ask(task);
 *     tunnels->hub_status(hub, on_status, q);     // on_status() calls sl_tunnel_reply()
 *     return sl_tunnel_await(q);
 */
struct sl_tunnel_question;
struct sl_tunnel_question *sl_tunnel_ask(struct sl_task *task);
int sl_tunnel_await(struct sl_tunnel_question *q);
void sl_tunnel_reply(struct sl_tunnel_question *q, sl_push_fn *push, void *arg);

/* Pushes a table: a sluice.TunnelStatus of lua/sluice/api/classes.lua. */
void sl_push_tunnel_status(lua_State *L, const struct sl_tunnel_status *status);
/* An option in seconds, as whole milliseconds; 0 when it is missing. */
uint32_t sl_opt_ms(lua_State *L, int arg, const char *name);
/* Sets a field of the table on top of the stack; SL_STR_NONE: none. */
void sl_set_str(lua_State *L, const char *name, struct sl_str value);
void sl_set_number(lua_State *L, const char *name, double value);

#endif
