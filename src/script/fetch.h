/*
 * The inside of sluice.fetch, for its files: fetch.c (the operation: a call of the HTTP client with
 * what goes into it and comes out), fetch_args.c (what the script asked for), fetch_result.c (what
 * it gets), bind_fetch.c (the function).
 *
 * A plain fetch is over when its task goes on with the whole response. With `stream` the task goes
 * on at the head, and the Lua object `response` holds the rest until it was read, closed or
 * collected. A body function runs as a task of its own while the response is awaited and read; it
 * ends with the response.
 *
 * Owner: itself. It is freed once it is over, its body function has ended and Lua has let go of the
 * object. One thread.
 */
#ifndef SL_SCRIPT_FETCH_H
#define SL_SCRIPT_FETCH_H

#include "base/buf.h"
#include "http/client.h"
#include "script/intake.h"
#include "script/library.h"
#include "script/outlet.h"

struct sl_url;

struct sl_fetch {
    struct sl_loop *loop;
    struct sl_pool *pool;
    struct sl_script *script;
    struct sl_task *task; /* that waits for the response, or its head */
    struct sl_call *call;
    struct sl_call_target target;
    struct sl_request req;
    struct sl_arena arena; /* all strings of the request, and the head of the response */
    uint32_t timeout_ms;
    uint64_t max_body;
    bool is_retry;
    bool is_started, is_over, is_freed;
    /* the request body: bytes, or a function */
    struct sl_str body;
    int body_fn; /* in the registry, until it runs; LUA_NOREF: none */
    bool has_function;
    struct sl_outlet out;
    struct sl_task *uploader;
    bool is_uploading;          /* the function runs */
    bool has_begun;             /* the head of the request has left */
    bool is_returned, is_ended; /* the function has; and its last bytes are out */
    struct sl_response res;     /* when its head is there */
    /* its body: whole, or as it comes */
    bool is_stream;
    struct sl_timer timer; /* whole: of everything */
    struct sl_buf whole;
    struct sl_intake *in;
    struct sl_fetch **object; /* Lua's pointer to it; NULL: none, or collected */
    struct sl_task_link soon; /* ends what Lua has let go of */
};

/* --- fetch.c --- */

/* Zeroed. NULL: there are too many at a time. */
struct sl_fetch *sl_fetch_new(struct sl_script *s);
/* Sends the request for `task`, which then has to wait: sl_task_wait(task, sl_fetch_cancel, f). */
void sl_fetch_start(struct sl_fetch *f, struct sl_task *task);
void sl_fetch_cancel(void *f);
/* Nothing of it goes on. May be called again. */
void sl_fetch_end(struct sl_fetch *f);
/* Lua lets go of the object, inside of its collector. */
void sl_fetch_drop(struct sl_fetch *f);

/* --- fetch_args.c --- */

/* Fills in the request, target and limits from the options at index 2; throws. */
void sl_fetch_read_args(lua_State *L, struct sl_fetch *f, const struct sl_url *url);
extern const char *const sl_fetch_option_names[];

/* --- fetch_result.c --- */

/* What the task goes on with: the whole response, or the object with its head. */
int sl_fetch_push_whole(lua_State *L, void *f);
int sl_fetch_push_stream(lua_State *L, void *f);
/* The class of that object. */
void sl_bind_response(lua_State *L);

#endif
