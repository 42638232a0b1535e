/*
 * The server side of WebSockets: makes one of an exchange whose handler returned the verb
 * `websocket`, and runs its function as a task. Not the server itself (bind_serve.c).
 *
 * Owner: itself. The exchange's owner hears when the exchange has gone; the task may go on after
 * that, to learn that its connection is closed. One thread.
 *
 *     rc = sl_ws_verb_read(task, &ex->arena, &verb, &err);
 *     if (rc == 0)
 *         sl_ws_serve(&serving, script, ex, &verb, on_gone, user);
 */
#ifndef SL_SCRIPT_WS_SERVE_H
#define SL_SCRIPT_WS_SERVE_H

#include "http/exchange.h"
#include "script/task.h"
#include "script/websock.h"

struct sl_ws_serving;

struct sl_ws_verb {
    int fn; /* in the registry: sl_ws_serve() lets go of it */
    struct sl_ws_opts opts;
    struct sl_str protocols;
};

/* For on_end of a task that returned. 0; SL_E_NOT_FOUND when it returned another verb or none;
 * SL_E_SCRIPT with a sentence. */
int sl_ws_verb_read(struct sl_task *t, struct sl_arena *arena, struct sl_ws_verb *out,
                    struct sl_err *err);
/* Takes over the exchange and stores itself in `*out`; on_gone(user) comes once the exchange has
   ended, maybe inside the call. An exchange that does not ask for a WebSocket is answered and stays
   with its handler: then `*out` is untouched and on_gone does not come. */
void sl_ws_serve(struct sl_ws_serving **out, struct sl_script *script, struct sl_exchange *ex,
                 const struct sl_ws_verb *verb, void (*on_gone)(void *user), void *user);
/* The server closes. False when no task is at work any more that could be told. */
bool sl_ws_serving_leave(struct sl_ws_serving *v);

#endif
