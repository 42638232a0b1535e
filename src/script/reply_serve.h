/*
 * A reply whose body is a function: takes over the exchange, runs the function as a task with the
 * object `out`, and ends the response when it returns. A function that fails before its first
 * out:write() is a 500; after that the message is broken off, so that nobody takes a part for the
 * whole.
 *
 * The head goes out with the first out:write(), an empty one included. What has no body (HEAD, 204,
 * 304) is answered at once, and the function is not called.
 *
 * Owner: itself, until the exchange has gone and the task has ended. One thread.
 */
#ifndef SL_SCRIPT_REPLY_SERVE_H
#define SL_SCRIPT_REPLY_SERVE_H

#include <lua.h>
#include "script/handle.h"

/* Makes of `v`, which holds status and headers of a reply, a verdict that serves: with the function
   on top of the stack, which is popped, and what is left of the body that `h` reads. */
void sl_reply_verb_make(lua_State *L, struct sl_handle *h, struct sl_verdict *v);

#endif
