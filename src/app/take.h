/*
 * The side of a takeover that comes: asks the sluice that offers (offer.h) for its sockets, says
 * when it is live with them, and hears when the other one has ended.
 *
 * Owner: the thread of `loop`. Callbacks come from the loop, never inside a call. It may be freed
 * in the one that says that nothing more comes.
 */
#ifndef SL_APP_TAKE_H
#define SL_APP_TAKE_H

#include "app/handover.h"
#include "loop/loop.h"

struct sl_take;

enum { SL_TAKE_DONE_TIMEOUT = 60000 }; /* ms, from DONE to OVER: the other's stop() may wait */

struct sl_take_handler {
    /* NULL: its sockets are here; or why not, and nothing more comes. */
    void (*on_sockets)(void *user, const struct sl_err *err);
    /* After sl_take_done(), once. NULL: the other one is ending; or why that is not known. */
    void (*on_over)(void *user, const struct sl_err *err);
    /* After on_sockets(NULL): the other one has ended, or has dropped us: nothing more comes. */
    void (*on_gone)(void *user);
};

/* Connects, and has `timeout` ms to get the sockets. 0; SL_E_NOT_FOUND: nobody is there, or it is
 * this process; or another code. */
int sl_take_new(struct sl_take **out, struct sl_loop *loop, const char *path, uint64_t timeout,
                const struct sl_take_handler *handler, void *user, struct sl_err *err);
/* After on_sockets(NULL). The caller may take out what it likes. */
struct sl_fds *sl_take_sockets(struct sl_take *t);
/* Of the other one. */
pid_t sl_take_pid(const struct sl_take *t);
/* Says DONE, once. 0, or why it cannot: the other one has gone. */
int sl_take_done(struct sl_take *t, struct sl_err *err);
/* Closes what was not taken out. NULL is legal. */
void sl_take_free(struct sl_take *t);

#endif
