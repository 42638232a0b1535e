#include "script/helper.h"

/* On the loop's thread. The lock has nothing to protect here: the helper is through with the job.
 */
static void deliver(void *arg)
{
    struct sl_job *job = arg;

    if (!job->is_cancelled)
        job->ops->done(job);
    job->ops->free_fn(job);
}

static struct sl_job *next_job(struct sl_helper *h)
{
    while (sl_list_is_empty(&h->queue))
        pthread_cond_wait(&h->more, &h->lock);
    h->n_waiting--;
    return sl_container_of(sl_list_pop(&h->queue), struct sl_job, link);
}

/* A job that was cancelled meanwhile has no loop to go back to: that may be freed by now. */
static void finish(struct sl_job *job)
{
    if (job->is_cancelled)
        job->ops->free_fn(job);
    else
        sl_loop_post(job->loop, deliver, job);
}

static void *run_helper(void *arg)
{
    struct sl_helper *h = arg;

    pthread_setname_np(pthread_self(), h->name);
    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct sl_job *job = next_job(h);

        pthread_mutex_unlock(&h->lock);
        job->ops->run(job);
        pthread_mutex_lock(&h->lock);
        finish(job);
    }
    return NULL;
}

static bool start(struct sl_helper *h)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    if (h->is_running)
        return true;
    sl_list_init(&h->queue);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, run_helper, h);
    pthread_attr_destroy(&attr);
    h->is_running = rc == 0;
    return rc == 0;
}

int sl_helper_submit(struct sl_helper *h, struct sl_job *job, struct sl_loop *loop)
{
    int rc = SL_E_LIMIT;

    job->loop = loop;
    pthread_mutex_lock(&h->lock);
    if (h->n_waiting < h->n_max && start(h)) {
        sl_list_append(&h->queue, &job->link);
        h->n_waiting++;
        pthread_cond_signal(&h->more);
        rc = 0;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

void sl_helper_cancel(struct sl_helper *h, struct sl_job *job, bool is_due)
{
    bool has_begun;

    pthread_mutex_lock(&h->lock);
    has_begun = !sl_link_is_on(&job->link);
    if (has_begun || is_due) {
        job->is_cancelled = true;
    } else {
        sl_link_remove(&job->link);
        h->n_waiting--;
    }
    pthread_mutex_unlock(&h->lock);
    if (!has_begun && !is_due)
        job->ops->free_fn(job);
}
