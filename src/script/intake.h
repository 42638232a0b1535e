/*
 * The way of a body into a script: bytes arrive at their own pace, and a task reads them piece by
 * piece. Nothing flows before the first read; from then on up to 64 KiB are read ahead of the
 * script, and what one batch brings beyond that.
 *
 * Knows nothing of where the bytes come from: whoever brings them calls sl_intake_arrived(), and
 * lets them flow or not when `flow` says so.
 *
 * Owner: whoever made it. One task reads at a time. One thread.
 *
 *     in = sl_intake_new(flow_exchange, ex, ex->request_ended);
 *     …
 *     sl_intake_arrived(in, bytes, len, fin);            // in on_body()
 *     …
 *     return sl_intake_read(L, in, 2, "req:read");       // in the method
 */
#ifndef SL_SCRIPT_INTAKE_H
#define SL_SCRIPT_INTAKE_H

#include "base/error.h"
#include "script/task.h"

struct sl_intake;

/* `flow(user, on)` must not bring bytes inside the call. */
struct sl_intake *sl_intake_new(void (*flow)(void *user, bool on), void *user, bool is_ended);
/* A task that waits hears "aborted" at the end of the turn. NULL is legal. */
void sl_intake_free(struct sl_intake *in);
/* Takes all bytes. May run Lua: the last thing to do. */
void sl_intake_arrived(struct sl_intake *in, const uint8_t *bytes, size_t len, bool fin);
/* Nothing more will come. What came before can still be read. May run Lua. */
void sl_intake_fail(struct sl_intake *in, int code);
/* Asks for the flow that is due, after others had a hand in it. */
void sl_intake_update(struct sl_intake *in);
/* The end of a waiting method: gives the next piece, at most as many bytes as the argument `arg`
 * says, nil at the end, or nil and why not. */
int sl_intake_read(lua_State *L, struct sl_intake *in, int arg, const char *what);

#endif
