/*
 * The server side of WebSockets: makes one of an exchange whose hook or handler returned the verb
 * `websocket`, and runs its function as a task. Not the server itself (bind_serve.c).
 *
 * Owner: itself. The exchange's owner hears when the exchange has gone; the task may go on after
 * that, to learn that its connection is closed. One thread.
 *
 *     if (v.kind == SL_VERDICT_SERVE)
 *         sl_ws_serve(&serving, ex, v.serving, on_gone, user);
 */
#ifndef SL_SCRIPT_WS_SERVE_H
#define SL_SCRIPT_WS_SERVE_H

#include "proxy/hooks.h"
#include "script/task.h"
#include "script/websock.h"

struct sl_ws_serving;

struct sl_ws_verb {
    struct sl_script *script;
    int fn; /* in the registry: sl_ws_serve() lets go of it */
    struct sl_ws_opts opts;
    struct sl_str protocols;
    struct sl_arena *arena;
    struct sl_headers headers; /* of the answer, beside those of the handshake */
};

/* Reads the verb at index 1, which is one of this kind, into `v` (SL_VERDICT_SERVE; v->serving is a
 * struct sl_ws_verb in the arena). Throws. */
void sl_ws_verb_read(lua_State *L, struct sl_arena *arena, struct sl_verdict *v);
/* Takes over the exchange, stores itself in `*out` and returns 0; on_gone() comes once the
   exchange has ended, maybe inside the call. An exchange that does not ask for a WebSocket is
   answered and stays with its handler: then the status is returned, `*out` is untouched and on_gone
   does not come. */
int sl_ws_serve(struct sl_ws_serving **out, struct sl_exchange *ex, const struct sl_ws_verb *verb,
                void (*on_gone)(void *user, int status, const char *error), void *user);
/* The server closes. False when no task is at work any more that could be told. */
bool sl_ws_serving_leave(struct sl_ws_serving *v);

#endif
