/*
 * Taking over from another sluice, as control scripts see it: what the program offers to
 * bind_takeover.c. All of it belongs to the control thread.
 */
#ifndef SL_SCRIPT_TAKEOVER_H
#define SL_SCRIPT_TAKEOVER_H

#include <stdint.h>
#include "base/error.h"

/* NULL: done; or why not. */
typedef void sl_takeover_on_end(void *arg, const struct sl_err *err);

struct sl_script_takeover {
    void *user; /* first argument of each function */
    /* Another one may take over from us at this path from now on. 0, or what is wrong with it. */
    int (*offer)(void *user, const char *path, struct sl_err *err);
    /* 1: the sockets are here; 0: they are asked for, and on_end() comes once, later; or a negative
       code, SL_E_NOT_FOUND: nobody is there. `timeout` in ms. */
    int (*from)(void *user, const char *path, uint64_t timeout, sl_takeover_on_end *on_end,
                void *arg, struct sl_err *err);
    /* We are live: the other one ends. 0: on_end() comes once, later; or a negative code. */
    int (*done)(void *user, sl_takeover_on_end *on_end, void *arg, struct sl_err *err);
    /* on_end(arg) of from() or done() will not be wanted. */
    void (*forget)(void *user, void *arg);
};

#endif
