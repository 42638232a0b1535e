/*
 * The way of a body out of a script: the object `out` that a body function gets. out:write() waits
 * for whoever takes the bytes; they go in slices of 64 KiB, so that deadlines of writing are about
 * a slice and not about what a script happens to give at once. Counts them against the length that
 * was announced. A task that writes much or often to somebody who takes it all lets others run in
 * between, which also keeps it within its budget.
 *
 * Knows nothing of where the bytes go. Embedded in its owner, who fills it with zeros, then ops,
 * user and left; it must not move. One task writes at a time. One thread.
 *
 *     v->out = (struct sl_outlet){.ops = &ops, .user = v, .left = SL_LENGTH_UNKNOWN};
 *     sl_outlet_push(L, &v->out);                 // an argument of the body function
 *     …
 *     sl_outlet_written(&v->out);                 // after a write that said SL_E_AGAIN
 *     …
 *     sl_outlet_close(&v->out);                   // the function has ended
 *     if (sl_outlet_is_whole(&v->out)) …
 */
#ifndef SL_SCRIPT_OUTLET_H
#define SL_SCRIPT_OUTLET_H

#include <lua.h>
#include "base/str.h"
#include "http/message.h"
#include "loop/loop.h"

struct sl_script;
struct sl_task;

struct sl_outlet_ops {
    /* Takes all bytes, or none of them means: let the head go. 0; SL_E_AGAIN: sl_outlet_written()
     * will follow; else why it is broken. */
    int (*write)(void *user, struct sl_str bytes);
    /* out:read(), a waiting method. NULL: there is nothing to read. */
    int (*read)(void *user, lua_State *L);
};

struct sl_outlet {
    const struct sl_outlet_ops *ops;
    void *user;
    uint64_t left; /* bytes until the announced length, or SL_LENGTH_UNKNOWN */
    /* its own */
    struct sl_outlet **object; /* Lua's pointer to it; NULL: none, or collected */
    struct sl_task *writer;    /* NULL: nobody waits */
    struct sl_str rest;        /* what the writer has not got rid of; Lua holds the string */
    struct sl_task_link soon;  /* goes on with a writer that lets others run */
    size_t run;                /* what was written in this run of the writer, as it costs */
    bool is_blocked;           /* nothing can be written until sl_outlet_written() */
    bool is_torn;              /* it was left in the middle */
    int error;                 /* of a write, 0: none */
};

/* The class. */
void sl_bind_outlet(lua_State *L);
/* Pushes the object. Throws when memory is out. */
void sl_outlet_push(lua_State *L, struct sl_outlet *o);
/* May run Lua: the last thing to do. */
void sl_outlet_written(struct sl_outlet *o);
/* Nothing can be written or read any more; a task that waits hears "closed" at the end of the
 * turn. Before the owner goes. */
void sl_outlet_close(struct sl_outlet *o);
/* Everything was written that was promised. */
bool sl_outlet_is_whole(const struct sl_outlet *o);
/* The task of the body function has returned: whether the body is whole. If it is not, that is
 * logged as a mistake of `what`, unless the function said so itself, by returning false. */
bool sl_outlet_returned(struct sl_outlet *o, const struct sl_task *task, struct sl_script *s,
                        const char *what);

#endif
