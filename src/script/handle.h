/*
 * Handles: how scripts hold what the data plane owns (a connection, a hello, a request, a
 * response). A handle is a light userdata that carries a slot number and a generation, never a
 * pointer; using one after its object ended is a Lua error, not a crash, and giving one out
 * allocates nothing.
 *
 * Not for what a script itself made and must close (sockets, servers, timers): those are full
 * userdata of a class (script/bind.h).
 *
 * All kinds share one flat method table. A method says on which kinds it works; on another it
 * throws "req:status: not a method of a request".
 *
 * Owner: the script's table. Whoever calls sl_handle_new() calls sl_handle_end() when the object
 * goes. One thread.
 *
 *     struct sl_handle *h = sl_handle_new(script, SL_HANDLE_REQ);
 *     h->ex = ex;
 *     sl_handle_push(L, h);
 *     …
 *     sl_handle_end(h);
 */
#ifndef SL_SCRIPT_HANDLE_H
#define SL_SCRIPT_HANDLE_H

#include <lua.h>
#include "proxy/hooks.h"
#include "script/state.h"

struct sl_intake;
struct sl_task;

enum sl_handle_kind {
    SL_HANDLE_FREE,
    SL_HANDLE_CONN,
    SL_HANDLE_HELLO,
    SL_HANDLE_REQ,
    SL_HANDLE_RES,
    SL_HANDLE_EDGE, /* of a call of on_edge: scripts get a table in its place */
    SL_N_HANDLE_KINDS,
};

/* Kinds as a set, for the rows of a method table. */
enum {
    SL_ON_CONN = 1 << SL_HANDLE_CONN | 1 << SL_HANDLE_HELLO | 1 << SL_HANDLE_REQ,
    SL_ON_HELLO = 1 << SL_HANDLE_HELLO,
    SL_ON_REQ = 1 << SL_HANDLE_REQ,
    SL_ON_RES = 1 << SL_HANDLE_RES,
};

/* What a live handle refers to. Its address is fixed until sl_handle_end(). */
struct sl_handle {
    struct sl_script *script;
    enum sl_handle_kind kind;
    uint32_t index, generation; /* of the table; leave alone */
    struct sl_handle *next_free;
    const struct sl_peer *peer;       /* CONN, HELLO, REQ */
    const struct sl_tls_hello *hello; /* HELLO, while its hook runs or waits */
    struct sl_exchange *ex;           /* REQ, RES */
    struct sl_response *res;          /* RES */
    struct sl_str target;             /* RES */
    struct sl_hook_slot *slot;        /* of a hook; NULL: the request of a script server */
    struct sl_task *task;             /* the hook that runs or waits */
    struct sl_task *body_task;        /* REQ: waits for the body */
    struct sl_verdict *verdict;       /* where it goes while the call of the hook is on the stack */
    void *hello_copy;                 /* HELLO: what a waiting hook reads */
    bool is_editable; /* REQ: the head has not been sent on: set_header has an effect */
    size_t n_edited;  /* bytes that the script wrote into the arena */
    int ctx_ref;      /* REQ: the table of req:ctx(), LUA_NOREF when unused */
    /* REQ: the body, which is had whole or in pieces. */
    struct sl_intake *in; /* what req:read() reads; NULL: nobody has asked yet */
    bool is_body_asked;   /* by req:body() */
    bool has_body;        /* `body` is there, whole */
    struct sl_str body;   /* of a script server */
    size_t body_max;      /* that body_task takes */
    /* A script server's: begins to collect; sl_handle_got_body() follows. NULL: it cannot be had.
     */
    void (*collect)(struct sl_handle *h);
    void *owner; /* of `collect` */
};

/* The other fields are zero. NULL when SL_HANDLE_MAX objects of this script live already. */
struct sl_handle *sl_handle_new(struct sl_script *s, enum sl_handle_kind kind);
/* Makes every copy of the handle stale and lets go of the ctx table; does not touch h->task. Tasks
 * that wait for the body hear "aborted" at the end of the turn. */
void sl_handle_end(struct sl_handle *h);
/* h->body is complete: h->body_task goes on. May run Lua. */
void sl_handle_got_body(struct sl_handle *h);
enum { SL_HANDLE_MAX = 1 << 17 };

/* Allocates nothing, does not throw; needs one free stack place. */
void sl_handle_push(lua_State *L, const struct sl_handle *h);
/* The live handle at `arg`, of one of `kinds`; else throws with the name of the running method. */
struct sl_handle *sl_handle_check(lua_State *L, int arg, unsigned kinds);

#endif
