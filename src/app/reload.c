/*
 * Reload: new Lua states beside the old ones, on every thread; only when all of them have loaded
 * the script do they take over. Calls in flight end on the old states.
 */
#include "app/runtime.h"
#include "base/log.h"
#include "script/host.h"

struct sl_reload {
    struct sl_script *control;
    unsigned n_left;
    struct sl_err err; /* the first failure */
};

static void end(struct sl_runtime *rt)
{
    sl_free(rt->reload);
    rt->reload = NULL;
}

static void swap_worker(void *arg)
{
    struct sl_worker *w = arg;
    struct sl_script *old = w->script;

    w->script = w->next_script;
    w->next_script = NULL;
    sl_proxy_set_hooks(w->proxy, sl_script_hooks(w->script));
    sl_script_retire(old, NULL, NULL);
}

static void drop_worker(void *arg)
{
    struct sl_worker *w = arg;

    sl_script_free(w->next_script);
    w->next_script = NULL;
}

static void take_over(struct sl_runtime *rt)
{
    struct sl_script *old = rt->script;

    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_loop_post(rt->workers[i].loop, swap_worker, &rt->workers[i]);
    rt->script = rt->reload->control;
    end(rt);
    sl_script_retire(old, NULL, NULL);
    sl_log_info("script reloaded", sl_f_str("script", rt->opts->script));
    sl_runtime_start_script(rt);
}

static void give_up(struct sl_runtime *rt)
{
    sl_log_error("reload failed, the running script goes on",
                 sl_f_str("error", rt->reload->err.text));
    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_loop_post(rt->workers[i].loop, drop_worker, &rt->workers[i]);
    sl_script_free(rt->reload->control);
    end(rt);
}

void sl_reload_abandon(struct sl_runtime *rt)
{
    sl_script_free(rt->reload->control);
    end(rt);
}

static void on_loaded(void *arg)
{
    struct sl_worker *w = arg;
    struct sl_reload *reload = w->rt->reload;

    if (w->err.code != 0 && reload->err.code == 0)
        reload->err = w->err;
    if (--reload->n_left > 0)
        return;
    if (reload->err.code == 0)
        take_over(w->rt);
    else
        give_up(w->rt);
}

static void load_on_worker(void *arg)
{
    struct sl_worker *w = arg;

    int rc = sl_worker_load(w, &w->next_script, &w->err);

    w->err.code = rc;
    sl_loop_post(w->rt->loop, on_loaded, w);
}

void sl_reload_begin(struct sl_runtime *rt)
{
    if (rt->reload != NULL || !rt->is_up || rt->is_draining) {
        sl_log_warn("reload ignored: another one is in progress, or the program is ending");
        return;
    }
    rt->reload = sl_zalloc(sizeof(*rt->reload));
    if (sl_runtime_load(rt, &rt->reload->control, &rt->reload->err) < 0) {
        give_up(rt);
        return;
    }
    rt->reload->n_left = rt->n_workers;
    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_loop_post(rt->workers[i].loop, load_on_worker, &rt->workers[i]);
}
