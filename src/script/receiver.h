/*
 * receive(timeout?) of an object whose messages wait for the script: one task at a time, which goes
 * on at the end of the turn with all that came in it. One that has much to receive lets the loop
 * have its turn in between.
 *
 * Embedded in its owner, who keeps the messages; one thread. The owner must stay until nobody waits
 * (`on_idle` says so) and goes through sl_loop_defer().
 */
#ifndef SL_SCRIPT_RECEIVER_H
#define SL_SCRIPT_RECEIVER_H

#include "script/task.h"

struct sl_receiver {
    struct sl_loop *loop;
    struct sl_task *task; /* NULL: nobody waits */
    struct sl_timer timer;
    struct sl_task_link soon;
    uint64_t since_ms; /* when it began to receive without a wait */
    sl_push_fn *push;
    void (*on_idle)(void *user);
    void *user;
};

/* `push(L, user)` pushes the next message, or why there is none and will be none. `on_idle(user)`
 * comes when a task has waited; it may free the owner. */
void sl_receiver_init(struct sl_receiver *r, struct sl_loop *loop, sl_push_fn *push,
                      void (*on_idle)(void *user), void *user);
/* The rest of the binding `what`, with the timeout at argument 2. `is_over`: nothing will come
 * beyond what is there. */
int sl_receiver_receive(struct sl_receiver *r, lua_State *L, const char *what, bool has_message,
                        bool is_over);
/* There is a message, or the end: who waits goes on. */
void sl_receiver_wake(struct sl_receiver *r);
/* Before the owner is freed, when nobody waits. */
void sl_receiver_clear(struct sl_receiver *r);

#endif
