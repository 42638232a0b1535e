#include "app/takeover.h"

#include <unistd.h>
#include "app/offer.h"
#include "app/take.h"
#include "base/log.h"
#include "script/host.h"

enum { GRACE_MS = 3000 };

enum taking {
    NOTHING,
    ASKED, /* for the sockets */
    TAKEN, /* they are here */
    TOLD,  /* the other one, that we are live */
    ALONE, /* it is ending */
    LOST,  /* it went before it was told; the sockets are here */
};

struct sl_takeover {
    struct sl_runtime *rt;
    struct sl_script_takeover services;
    struct sl_offer *offer;
    bool is_handed_over;
    int successor;        /* at the end: the connection, which says that we have not ended; or -1 */
    struct sl_take *take; /* NULL with NOTHING and LOST */
    enum taking taking;
    sl_takeover_on_end *on_end; /* of the task that waits; NULL: none */
    void *arg;
};

/* --- to give --- */

/* The sockets of all workers, which are asked one after the other. */
struct gathering {
    struct sl_takeover *t;
    struct sl_offer *offer;
    unsigned n_asked;
    struct sl_fds fds;
    int rc;
};

static void ask_next(struct gathering *g);

static void on_gathered(void *arg)
{
    struct gathering *g = arg;
    struct sl_takeover *t = g->t;

    if (g->offer == t->offer && g->rc == 0 && g->n_asked < t->rt->n_workers) {
        ask_next(g);
        return;
    }
    if (g->offer == t->offer)
        sl_offer_give(t->offer, g->rc == 0 ? &g->fds : NULL);
    sl_fds_clear(&g->fds);
    sl_free(g);
}

static struct sl_worker *worker_of(const struct gathering *g)
{
    return &g->t->rt->workers[g->n_asked - 1];
}

/* Worker. */
static void gather(void *arg)
{
    struct gathering *g = arg;
    const struct sl_proxy *proxy = worker_of(g)->proxy;

    g->rc = proxy != NULL ? sl_proxy_listening(proxy, &g->fds) : SL_E_CLOSED;
    sl_loop_post(g->t->rt->loop, on_gathered, g);
}

static void ask_next(struct gathering *g)
{
    g->n_asked++;
    sl_loop_post(worker_of(g)->loop, gather, g);
}

static void on_wanted(void *user)
{
    struct sl_takeover *t = user;
    struct gathering *g = sl_zalloc(sizeof(*g));

    g->t = t;
    g->offer = t->offer;
    ask_next(g);
}

static void on_taken(void *user)
{
    struct sl_takeover *t = user;
    struct sl_runtime *rt = t->rt;

    if (rt->is_draining) {
        sl_offer_over(t->offer); /* ends already */
        return;
    }
    sl_log_info("handed over: ending, open requests are finished");
    t->is_handed_over = true;
    rt->drain_grace = SL_MIN((uint32_t)GRACE_MS, rt->settings->drain_timeout / 2);
    sl_runtime_drain(rt);
}

static void on_script_gone(void *user)
{
    ((struct sl_runtime *)user)->script = NULL;
}

/* The servers of the script close, so that the successor can have their addresses. */
static void leave(void *arg)
{
    struct sl_takeover *t = arg;

    if (t->offer == NULL)
        return; /* the program has ended */
    if (t->rt->reload == NULL)
        sl_script_retire(t->rt->script, on_script_gone, t->rt);
    sl_offer_over(t->offer);
}

void sl_takeover_stopped(struct sl_takeover *t)
{
    if (t->is_handed_over)
        sl_loop_post(t->rt->loop, leave, t); /* not inside a callback of the script's task */
}

/* Nobody but the one that we take over from may listen there: who takes the place of another would
 * leave it running for good. */
static int check_place(const struct sl_takeover *t, const char *path, struct sl_err *err)
{
    struct sl_handover_peer peer = {0};
    int fd, rc = sl_handover_connect(&fd, path, err);

    if (rc == SL_E_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    (void)sl_handover_check_peer(fd, &peer);
    close(fd);
    if (peer.pid == getpid() || (t->take != NULL && peer.pid == sl_take_pid(t->take)))
        return 0;
    return sl_err_set(err, SL_E_IN_USE, "%s: another process listens there", path);
}

static int offer(void *user, const char *path, struct sl_err *err)
{
    static const struct sl_offer_handler handler = {on_wanted, on_taken};
    struct sl_takeover *t = user;
    struct sl_offer *next;
    int rc;

    if (t->is_handed_over)
        return sl_err_set(err, SL_E_CLOSED, "handed over already");
    if (t->offer != NULL && strcmp(sl_offer_path(t->offer), path) == 0)
        return 0;
    if ((rc = check_place(t, path, err)) < 0 ||
        (rc = sl_offer_new(&next, t->rt->loop, path, &handler, t, err)) < 0)
        return rc;
    sl_offer_free(t->offer);
    t->offer = next;
    return 0;
}

/* --- to take --- */

static void tell(struct sl_takeover *t, const struct sl_err *err)
{
    sl_takeover_on_end *on_end = t->on_end;

    t->on_end = NULL;
    if (on_end != NULL)
        on_end(t->arg, err);
}

static void drop_take(struct sl_takeover *t, enum taking next)
{
    sl_take_free(t->take);
    t->take = NULL;
    t->taking = next;
}

static void inherit(struct sl_takeover *t)
{
    struct sl_fds *fds = sl_take_sockets(t->take);
    size_t n = 0;

    for (size_t i = 0; i < fds->n; i++) {
        if (sl_ports_inherit(&t->rt->ports, fds->at[i]) == 0)
            n++;
        fds->at[i] = -1;
    }
    t->rt->ports.has_former = true;
    sl_log_info("taking over", sl_f_int("pid", sl_take_pid(t->take)),
                sl_f_int("sockets", (int64_t)n));
}

static void on_sockets(void *user, const struct sl_err *err)
{
    struct sl_takeover *t = user;

    if (err == NULL) {
        t->taking = TAKEN;
        inherit(t);
    } else {
        drop_take(t, NOTHING);
    }
    tell(t, err);
}

static void on_over(void *user, const struct sl_err *err)
{
    struct sl_takeover *t = user;

    t->taking = ALONE;
    tell(t, err);
}

static void on_gone(void *user)
{
    struct sl_takeover *t = user;

    if (t->taking == TAKEN)
        sl_log_warn("the sluice to take over from has gone");
    t->rt->ports.has_former = false;
    drop_take(t, t->taking == TAKEN ? LOST : NOTHING);
    if (!t->rt->is_draining)
        sl_publish_again(t->rt); /* its UDP ports are free now */
}

static int from(void *user, const char *path, uint64_t timeout, sl_takeover_on_end *on_end,
                void *arg, struct sl_err *err)
{
    static const struct sl_take_handler handler = {on_sockets, on_over, on_gone};
    struct sl_takeover *t = user;
    int rc;

    if (t->taking == TAKEN || t->taking == LOST)
        return 1; /* by a script that was started or loaded again since then */
    if (t->taking != NOTHING)
        return sl_err_set(err, SL_E_IN_USE, "another takeover is under way");
    if ((rc = sl_take_new(&t->take, t->rt->loop, path, timeout, &handler, t, err)) < 0)
        return rc;
    t->taking = ASKED;
    t->on_end = on_end;
    t->arg = arg;
    return 0;
}

/* What was not published by now is not wanted. */
static int say_done(struct sl_takeover *t, struct sl_err *err)
{
    if (t->taking != TAKEN && t->taking != LOST)
        return sl_err_set(err, SL_E_CLOSED,
                          t->taking == NOTHING ? "there is nobody to take over from"
                                               : "it is told already");
    sl_ports_disinherit(&t->rt->ports);
    if (t->taking == TAKEN)
        return sl_take_done(t->take, err);
    t->taking = NOTHING;
    return sl_err_set(err, SL_E_CLOSED, "the other one has gone");
}

static int done(void *user, sl_takeover_on_end *on_end, void *arg, struct sl_err *err)
{
    struct sl_takeover *t = user;
    int rc = say_done(t, err);

    if (rc < 0)
        return rc;
    t->taking = TOLD;
    t->on_end = on_end;
    t->arg = arg;
    return 0;
}

static void forget(void *user, void *arg)
{
    struct sl_takeover *t = user;

    if (t->arg == arg)
        t->on_end = NULL;
}

/* --- life --- */

struct sl_takeover *sl_takeover_new(struct sl_runtime *rt)
{
    struct sl_takeover *t = sl_zalloc(sizeof(*t));

    t->rt = rt;
    t->successor = -1;
    t->services = (struct sl_script_takeover){t, offer, from, done, forget};
    return t;
}

const struct sl_script_takeover *sl_takeover_services(const struct sl_takeover *t)
{
    return t->rt->opts->is_check ? NULL : &t->services;
}

void sl_takeover_stop(struct sl_takeover *t)
{
    if (t->offer != NULL)
        t->successor = sl_offer_keep(t->offer);
    sl_offer_free(t->offer);
    t->offer = NULL;
    sl_take_free(t->take);
    t->take = NULL;
}

void sl_takeover_free(struct sl_takeover *t)
{
    if (t == NULL)
        return;
    if (t->successor >= 0)
        close(t->successor);
    sl_free(t);
}
