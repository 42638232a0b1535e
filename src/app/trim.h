/*
 * Gives memory back to the system after a rush. The C library keeps what was freed: when two
 * thousand handshakes at a time are over and all of their connections closed, 100 MB stay with the
 * process, of which it needs 10. So the control thread looks at the number of connections each
 * second, and when three quarters of the most that there were have been gone for a while, it lets
 * go of what is free.
 *
 * That can stop a thread that allocates for some tens of milliseconds, which is why it happens once
 * after a rush and not before it is quiet. One thread; the timer belongs to `loop`.
 */
#ifndef SL_APP_TRIM_H
#define SL_APP_TRIM_H

#include "loop/loop.h"

struct sl_trim {
    struct sl_timer timer;
    uint64_t (*count)(void *user); /* connections that are open */
    void *user;
    uint64_t peak;    /* the most since memory was given back */
    unsigned n_quiet; /* looks in a row that found a quarter of that or less */
};

enum { SL_TRIM_LEAST = 256, SL_TRIM_QUIET = 5 };

void sl_trim_start(struct sl_trim *t, struct sl_loop *loop, uint64_t (*count)(void *user),
                   void *user);
void sl_trim_stop(struct sl_trim *t);

/* A look, with the number of connections: is it time? */
bool sl_trim_is_due(struct sl_trim *t, uint64_t count);

#endif
