/*
 * The library that scripts see: one bind_<noun>.c per noun on top of script/{state,task,bind}.h,
 * and what several of them share. Not the host (hooks, handles), and no protocol of its own: http,
 * net and tls do the work.
 *
 * Owner: each script has its own; sl_library_open() makes it and the end of the Lua state frees it.
 *
 *     opts.library = sl_library_open;
 *
 * How the bindings keep objects: what outlives a call (a timer, a socket, a server) is a C struct;
 * Lua holds a full userdata with a pointer to it, the struct points back, and either may go first.
 * What waits is an operation that belongs to its task: ended by sl_task_resume*() or freed by the
 * cancel function, at once and with all its sockets and timers.
 */
#ifndef SL_SCRIPT_LIBRARY_H
#define SL_SCRIPT_LIBRARY_H

#include "base/buf.h"
#include "base/log.h"
#include "script/bind.h"
#include "script/state.h"
#include "script/task.h"
#include "tls/context.h"

void sl_library_open(lua_State *L);

void sl_bind_time(lua_State *L);
void sl_bind_event(lua_State *L);
void sl_bind_fetch(lua_State *L);
void sl_bind_serve(lua_State *L);
void sl_bind_tcp(lua_State *L);
void sl_bind_udp(lua_State *L);
void sl_bind_exec(lua_State *L);
void sl_bind_websocket(lua_State *L);
void sl_bind_stun(lua_State *L);
void sl_bind_edge(lua_State *L);
void sl_bind_hub(lua_State *L);
void sl_bind_json(lua_State *L);
void sl_bind_file(lua_State *L);
void sl_bind_crypto(lua_State *L);
void sl_bind_key(lua_State *L);
void sl_bind_certificate(lua_State *L);
void sl_bind_log(lua_State *L);
void sl_bind_shared(lua_State *L);
void sl_bind_bus(lua_State *L);
void sl_bind_redis(lua_State *L);
void sl_bind_publish(lua_State *L);
void sl_bind_stats(lua_State *L);
void sl_bind_process(lua_State *L);
void sl_bind_takeover(lua_State *L);

/* Pushes the value of the JSON text, after which there must be a NUL, as sluice.json.decode returns
   it: 1 value; or nil and what is wrong. */
int sl_push_json(lua_State *L, struct sl_str text);

/* Keeps the function at `arg` (throws when it is none) in the registry. */
int sl_ref_function(lua_State *L, int arg);
/* Lets go of it, from outside Lua; LUA_NOREF is legal. */
void sl_unref(struct sl_script *s, int ref);
/* Throws "sluice.exit cannot be called on a worker" unless the service is there. */
void sl_need_service(lua_State *L, bool is_there, const char *what);

/* The script's scratch buffer, empty: for one binding at a time, which may throw meanwhile.
 * sl_room_done() gives a large one back. */
struct sl_buf *sl_room(lua_State *L);
void sl_room_done(struct sl_buf *room);

/* The context for outgoing TLS with these roots (NULL: the system's), made once per script. Valid
   as long as the script. 0, or SL_E_CONFIG with a sentence. */
int sl_library_tls(lua_State *L, bool verify, const char *ca_file, struct sl_tls_client **out,
                   struct sl_err *err);

#endif
