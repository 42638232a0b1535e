/*
 * Helper threads, for work that would keep an event loop waiting: a slow disk, a large prime. One
 * thread for each struct sl_helper; it begins with the first job and stays. Knows no Lua.
 *
 * A job is embedded in what it is about and belongs to its submitter until sl_helper_submit(), then
 * to this module until ops->done() has run on the loop's thread, once; there the result is read,
 * and ops->free_fn() follows. A cancelled job may still be carried out, but done() does not come.
 *
 *     static struct sl_helper files = SL_HELPER("files", 1024);
 *     rc = sl_helper_submit(&files, &mine->job, loop);
 */
#ifndef SL_SCRIPT_HELPER_H
#define SL_SCRIPT_HELPER_H

#include <pthread.h>
#include "base/list.h"
#include "loop/loop.h"

struct sl_job;

struct sl_job_ops {
    void (*run)(struct sl_job *job);     /* on the helper's thread */
    void (*done)(struct sl_job *job);    /* on the loop's */
    void (*free_fn)(struct sl_job *job); /* on either */
};

struct sl_job {
    const struct sl_job_ops *ops;
    /* of this module */
    struct sl_link link;
    struct sl_loop *loop;
    bool is_cancelled;
};

/* Any thread; static. */
struct sl_helper {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct sl_list queue;
    unsigned n_waiting, n_max;
    bool is_running;
    const char *name; /* of the thread, at most 15 characters */
};

#define SL_HELPER(thread_name, most_that_wait)                                                     \
    {.lock = PTHREAD_MUTEX_INITIALIZER,                                                            \
     .more = PTHREAD_COND_INITIALIZER,                                                             \
     .n_max = (most_that_wait),                                                                    \
     .name = (thread_name)}

/* 0, or SL_E_LIMIT: too many wait, or no thread can be made; the job is then still the caller's. */
int sl_helper_submit(struct sl_helper *h, struct sl_job *job, struct sl_loop *loop);
/* With `is_due` a job that has not begun is carried out all the same. */
void sl_helper_cancel(struct sl_helper *h, struct sl_job *job, bool is_due);

#endif
