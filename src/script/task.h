/*
 * A task: one coroutine that runs script code and may wait. Every hook call, start(), spawned
 * function, timer and server handler is one. At most one operation is pending per task, and whoever
 * ends the task cancels it.
 *
 * Not a thread: a task runs until it waits or ends, on the thread of its script. The CPU budget
 * counts each such run by itself.
 *
 * A waiting binding:
 *
 *     static int sleep_(lua_State *L)
 *     {
 *         double seconds = sl_arg_seconds(L, 1);          // arguments first: misuse throws
 *         struct sl_task *task = sl_task_must_wait(L, "sluice.sleep");
 *         struct sleep *op = sleep_new(task, seconds);    // from here on nothing may throw
 *
 *         return sl_task_wait(task, cancel_sleep, op);
 *     }
 *     static void on_due(struct sl_timer *t)
 *     {
 *         struct sleep *op = t->user;
 *         struct sl_task *task = op->task;
 *
 *         sleep_free(op);                                 // first: the task may begin another
 *         sl_task_resume(task, NULL, NULL);
 *     }
 *
 * Life: a task is the pool's again when it ends; its pointer is good until `on_end` returned, which
 * comes exactly once. Callbacks: sl_task_resume() and sl_task_run() run Lua, which may do anything,
 * also free the caller's object: make them the last thing. Called from inside Lua of the same
 * script, they queue the task for the end of the turn instead of nesting.
 */
#ifndef SL_SCRIPT_TASK_H
#define SL_SCRIPT_TASK_H

#include <lua.h>
#include "script/state.h"

struct sl_task;

/* In what kind of call script code runs. The names are what lua/sluice/api.lua and the guard's
 * sentences use. */
#define SL_CONTEXTS(X)                                                                             \
    X(LOAD, "load") /* the body of a script or module */                                           \
    X(CONNECT, "on_connect")                                                                       \
    X(HELLO, "on_hello")                                                                           \
    X(REQUEST, "on_request")                                                                       \
    X(RESPONSE, "on_response")                                                                     \
    X(FAILURE, "on_failure")                                                                       \
    X(DONE, "on_done")                                                                             \
    X(EDGE, "on_edge")                                                                             \
    X(STREAM, "on_stream")                                                                         \
    X(START, "start")                                                                              \
    X(STOP, "stop")                                                                                \
    X(CHECK, "check")                                                                              \
    X(HANDLER, "handler") /* of a server or a subscription */                                      \
    X(TASK, "task")       /* spawned, and timers */

enum sl_context {
#define SL_CONTEXT_ENUM(id, name) SL_CONTEXT_##id,
    SL_CONTEXTS(SL_CONTEXT_ENUM)
#undef SL_CONTEXT_ENUM
        SL_N_CONTEXTS,
};

/* Where a task may wait. */
enum {
    SL_CONTEXTS_WAITING = 1 << SL_CONTEXT_HELLO | 1 << SL_CONTEXT_REQUEST | 1 << SL_CONTEXT_EDGE |
                          1 << SL_CONTEXT_START | 1 << SL_CONTEXT_STOP | 1 << SL_CONTEXT_CHECK |
                          1 << SL_CONTEXT_HANDLER | 1 << SL_CONTEXT_TASK,
};

enum sl_task_end {
    SL_TASK_RETURNED,  /* results are on the stack of sl_task_lua() from index 1 on */
    SL_TASK_THREW,     /* logged already, with traceback; the message as text is sl_task_error() */
    SL_TASK_CANCELLED, /* by sl_task_cancel() or the end of the script; nothing is logged */
};

struct sl_task_opts {
    enum sl_context context;
    const char *what; /* for logs ("timer"); NULL: the name of the context. Must stay. */
    /* May read results, must not throw: what allocates goes through sl_script_protect(). NULL:
     * nobody wants to know. */
    void (*on_end)(struct sl_task *t, enum sl_task_end end);
    void *user; /* of on_end */
};

/* Pushes values on `L`, returns their number (at most SL_TASK_MAX_VALUES). May throw: out of memory
   then becomes `nil, "out of memory"` for a waiting task and a failed task for a new one. `arg` is
   valid until then and not used later. */
typedef int sl_push_fn(lua_State *L, void *arg);
enum { SL_TASK_MAX_VALUES = 16 };

/* Starts a task: `push` pushes a function and its arguments and returns the number of all. Returns
   the task while it waits; NULL when it has ended by now (on_end was called). Inside Lua the task
   is queued, is returned, and begins at the end of the turn. */
struct sl_task *sl_task_run(struct sl_script *s, const struct sl_task_opts *opts, sl_push_fn *push,
                            void *arg);

/* The task whose own coroutine `L` is and which runs now; NULL: another coroutine, or none. */
struct sl_task *sl_task_current(lua_State *L);
/* Throws, with a sentence for the operator, unless the calling function may wait now: `what` is its
 * name ("sluice.sleep"). */
struct sl_task *sl_task_must_wait(lua_State *L, const char *what);
/* `return sl_task_wait(…)` is the end of a waiting binding: suspends the task. `cancel(op)` frees
   the operation at once without resuming; it is not called after sl_task_resume(). */
int sl_task_wait(struct sl_task *t, void (*cancel)(void *op), void *op);
/* The operation is over: the binding returns what `push` pushes (NULL: nothing) and the task goes
 * on. */
void sl_task_resume(struct sl_task *t, sl_push_fn *push, void *arg);
/* sl_task_resume() with `nil, text` (copied); with `true`. */
void sl_task_resume_error(struct sl_task *t, const char *text);
void sl_task_resume_true(struct sl_task *t);
/* sl_task_resume_error() that lets the task go on at the end of the turn, for callers in whose
 * middle no Lua may run. */
void sl_task_fail_later(struct sl_task *t, const char *text);

/* Ends the task: its operation is cancelled and its coroutine dropped; on_end(CANCELLED) comes
   inside the call. A task that runs just now ends when it next waits or returns. */
void sl_task_cancel(struct sl_task *t);

struct sl_script *sl_task_script(const struct sl_task *t);
enum sl_context sl_task_context(const struct sl_task *t);
void *sl_task_user(const struct sl_task *t);
/* For on_end: the stack with the results, which are `sl_task_results()` many from index 1. */
lua_State *sl_task_lua(const struct sl_task *t);
int sl_task_results(const struct sl_task *t);
const char *sl_task_error(const struct sl_task *t);

/* "on_request" for SL_CONTEXT_REQUEST. */
const char *sl_context_name(enum sl_context c);
/* The context that Lua runs in now. */
enum sl_context sl_context_now(lua_State *L);

#endif
