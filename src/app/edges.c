/* Edges: what a control script asks for goes to the worker, what happens there comes back. */
#include "app/tunnels.h"

#include <openssl/crypto.h>

/*
 * Attempts are numbered, and so is the link that came of one. What comes back says which it is
 * about: by the time it arrives, control may have begun another attempt, or accepted another link.
 */

struct config {
    struct sl_buf text;
    bool is_kept;   /* waits until control has taken the one before */
    bool is_on_way; /* one has been posted and not been taken */
};

struct sl_script_edge {
    struct sl_tunnels *of;
    char *name;
    struct sl_edge_opts opts;

    /* control */
    struct sl_link link;
    unsigned n_refs;
    bool is_closed, is_gone; /* is_gone: the worker will not speak of it again */
    void (*on_event)(void *arg, const struct sl_edge_event *event);
    void *arg;
    uint64_t attempt, accepted; /* the numbers of the last ones; 0: none */
    struct sl_buf answer;       /* of the attempt */
    struct sl_buf told, config; /* of the link: its answer, and the CONFIG since then */

    /* the worker */
    struct sl_link link_there;
    struct sl_edge *edge; /* NULL: not yet or no longer */
    uint64_t attempt_there, link_of;
    bool is_trying, is_answered, is_up;
    struct config config_there;
};

static void post_there(struct sl_script_edge *e, void (*fn)(void *), void *arg)
{
    sl_tunnels_post(e->of, fn, arg);
}

static void post_back(struct sl_script_edge *e, void (*fn)(void *), void *arg)
{
    sl_loop_post(e->of->rt->loop, fn, arg);
}

/* --- control: what has happened --- */

struct news {
    struct sl_script_edge *edge;
    struct sl_edge_event event;
    uint64_t number; /* of the attempt or of the link */
    struct sl_buf text;
};

static void tell(struct sl_script_edge *e, const struct sl_edge_event *event)
{
    if (e->on_event != NULL)
        e->on_event(e->arg, event);
}

static void keep_text(struct sl_buf *to, struct sl_str text)
{
    sl_buf_clear(to);
    sl_buf_append_str(to, text);
}

static bool is_about_attempt(enum sl_edge_event_kind kind)
{
    return kind == SL_EDGE_EVENT_ANSWER || kind == SL_EDGE_EVENT_FAILED;
}

static void take_news(struct sl_script_edge *e, const struct news *n)
{
    uint64_t current = is_about_attempt(n->event.kind) ? e->attempt : e->accepted;

    if (e->is_closed || n->number != current)
        return;
    if (n->event.kind == SL_EDGE_EVENT_ANSWER)
        keep_text(&e->answer, n->event.text);
    else if (n->event.kind == SL_EDGE_EVENT_CONFIG)
        keep_text(&e->config, n->event.text);
    tell(e, &n->event);
}

static void config_was_taken(void *arg);

static void on_news(void *arg)
{
    struct news *n = arg;

    n->event.text = sl_buf_str(&n->text);
    if (n->event.kind == SL_EDGE_EVENT_CONFIG)
        post_there(n->edge, config_was_taken, n->edge);
    take_news(n->edge, n);
    sl_buf_clear(&n->text);
    sl_free(n);
}

/* --- worker: what happens --- */

static void post_news(struct sl_script_edge *e, enum sl_edge_event_kind kind, int code,
                      struct sl_str text)
{
    struct news *n = sl_zalloc(sizeof(*n));

    n->edge = e;
    n->event.kind = kind;
    n->event.code = code;
    n->number = is_about_attempt(kind) ? e->attempt_there : e->link_of;
    sl_buf_append_str(&n->text, text);
    post_back(e, on_news, n);
}

static void post_config(struct sl_script_edge *e)
{
    struct config *c = &e->config_there;

    c->is_kept = false;
    c->is_on_way = true;
    post_news(e, SL_EDGE_EVENT_CONFIG, 0, sl_buf_str(&c->text));
    sl_buf_clear(&c->text);
}

/* One is on its way at a time, and of the others the newest is kept: a hub that sends more of them
 * than control can take costs no memory. */
static void config_was_taken(void *arg)
{
    struct sl_script_edge *e = arg;

    e->config_there.is_on_way = false;
    if (e->config_there.is_kept)
        post_config(e);
}

static void on_answer(void *user, struct sl_str line)
{
    struct sl_script_edge *e = user;

    e->is_answered = true;
    post_news(e, SL_EDGE_EVENT_ANSWER, 0, line);
}

static void on_failed(void *user, int code, const char *why)
{
    struct sl_script_edge *e = user;

    e->is_trying = e->is_answered = false;
    post_news(e, SL_EDGE_EVENT_FAILED, code, sl_str_c(why != NULL ? why : sl_error_text(code)));
}

static void on_up(void *user, bool resumed)
{
    struct sl_script_edge *e = user;
    struct news *n = sl_zalloc(sizeof(*n));

    e->is_up = true;
    *n = (struct news){.edge = e, .event = {.kind = SL_EDGE_EVENT_UP, .resumed = resumed}};
    n->number = e->link_of;
    post_back(e, on_news, n);
    sl_tunnels_publish("tunnelConnected", "edge", sl_str_c(e->name), 0);
}

static void on_config(void *user, struct sl_str json)
{
    struct sl_script_edge *e = user;

    keep_text(&e->config_there.text, json);
    e->config_there.is_kept = true;
    if (!e->config_there.is_on_way)
        post_config(e);
}

static void on_down(void *user, int code, const char *why)
{
    struct sl_script_edge *e = user;

    if (e->config_there.is_kept)
        post_config(e);
    post_news(e, SL_EDGE_EVENT_DOWN, code, sl_str_c(why != NULL ? why : sl_error_text(code)));
    if (e->is_up)
        sl_tunnels_publish("tunnelDisconnected", "edge", sl_str_c(e->name), 0);
    e->is_up = false;
}

static const struct sl_edge_handler handler = {on_answer, on_failed, on_up, on_config, on_down};

/* --- worker: what is asked for --- */

static void open_there(void *arg)
{
    struct sl_script_edge *e = arg;
    struct sl_worker *w = sl_tunnels_worker(e->of);

    if (w->proxy == NULL)
        return; /* the program ends */
    e->opts.loop = w->loop;
    e->opts.dns = w->dns;
    e->opts.handler = &handler;
    e->opts.user = e;
    e->edge = sl_edge_new(&e->opts);
    sl_list_append(&e->of->edges_there, &e->link_there);
}

static void end_there(struct sl_script_edge *e)
{
    if (e->edge == NULL)
        return;
    sl_link_remove(&e->link_there);
    sl_edge_free(e->edge);
    e->edge = NULL;
    sl_buf_clear(&e->config_there.text);
}

static void free_if_over(struct sl_script_edge *e)
{
    if (!e->is_gone || e->n_refs > 0)
        return;
    sl_link_remove(&e->link);
    sl_buf_clear(&e->answer);
    sl_buf_clear(&e->told);
    sl_buf_clear(&e->config);
    sl_free(e->name);
    sl_free(e);
}

static void on_gone(void *arg)
{
    struct sl_script_edge *e = arg;

    e->is_gone = true;
    free_if_over(e);
}

static void close_there(void *arg)
{
    struct sl_script_edge *e = arg;

    end_there(e);
    post_back(e, on_gone, e);
}

struct attempt {
    struct sl_script_edge *edge;
    uint64_t number;
    struct sl_edge_attempt what;
    uint8_t pin[32];
    struct sl_arena texts;
};

static void connect_there(void *arg)
{
    struct attempt *a = arg;
    struct sl_script_edge *e = a->edge;

    if (e->edge != NULL) {
        e->attempt_there = a->number;
        e->is_trying = true;
        e->is_answered = false;
        sl_edge_connect(e->edge, &a->what);
    }
    OPENSSL_cleanse((void *)a->what.secret.p, a->what.secret.len);
    sl_arena_clear(&a->texts);
    sl_free(a);
}

static void cancel_there(void *arg)
{
    struct sl_script_edge *e = arg;

    if (e->edge != NULL && e->is_trying)
        sl_edge_hang_up(e->edge);
    e->is_trying = e->is_answered = false;
}

struct acceptance {
    struct sl_script_edge *edge;
    struct sl_edge_terms terms;
};

/* An attempt that has failed meanwhile has said so. */
static void accept_there(void *arg)
{
    struct acceptance *a = arg;
    struct sl_script_edge *e = a->edge;

    if (e->edge != NULL && e->is_answered) {
        e->is_trying = e->is_answered = false;
        e->link_of = e->attempt_there;
        sl_edge_accept(e->edge, &a->terms);
    }
    sl_free(a);
}

static void hang_up_there(void *arg)
{
    struct sl_script_edge *e = arg;

    e->is_trying = e->is_answered = false;
    if (e->edge != NULL)
        sl_edge_hang_up(e->edge);
}

static void give_up_there(void *arg)
{
    struct sl_script_edge *e = arg;

    if (e->edge != NULL)
        sl_edge_give_up(e->edge);
}

struct question {
    struct sl_script_edge *edge;
    struct sl_script_edge_status status;
    void (*done)(void *arg, const struct sl_script_edge_status *status);
    void *arg;
};

static void answer_question(void *arg)
{
    struct question *q = arg;
    struct sl_script_edge *e = q->edge;

    if (sl_buf_len(&e->told) > 0)
        q->status.answer = sl_buf_str(&e->told);
    if (sl_buf_len(&e->config) > 0)
        q->status.config = sl_buf_str(&e->config);
    q->done(q->arg, &q->status);
    e->n_refs--;
    free_if_over(e);
    sl_free(q);
}

static void look_there(void *arg)
{
    struct question *q = arg;

    if (q->edge->edge != NULL)
        sl_edge_status(q->edge->edge, &q->status.tunnel);
    post_back(q->edge, answer_question, q);
}

/* --- control: the services --- */

static struct sl_script_edge *find(struct sl_tunnels *t, struct sl_str name)
{
    sl_list_each(&t->edges, it)
    {
        struct sl_script_edge *e = sl_container_of(it, struct sl_script_edge, link);

        if (!e->is_closed && sl_str_eq(sl_str_c(e->name), name))
            return e;
    }
    return NULL;
}

static struct sl_script_edge *new_edge(struct sl_tunnels *t, const struct sl_script_edge_opts *opts)
{
    struct sl_script_edge *e = sl_zalloc(sizeof(*e));

    e->of = t;
    e->name = sl_strndup(opts->name.p, opts->name.len);
    e->opts.max_streams = opts->max_streams;
    e->opts.max_sessions = opts->max_sessions;
    e->opts.dead_ms = opts->dead_ms;
    e->opts.hold_ms = opts->hold_ms;
    sl_list_append(&t->edges, &e->link);
    post_there(e, open_there, e);
    return e;
}

static struct sl_script_edge *edge_open(void *user, const struct sl_script_edge_opts *opts)
{
    struct sl_tunnels *t = user;
    struct sl_script_edge *e = find(t, opts->name);

    if (e == NULL)
        e = new_edge(t, opts);
    e->n_refs++;
    sl_tunnels_opened(t);
    return e;
}

/* Nobody listens any more; whoever did is told. */
static void lose_listener(struct sl_script_edge *e)
{
    static const struct sl_edge_event lost = {.kind = SL_EDGE_EVENT_LOST};
    void (*on_event)(void *arg, const struct sl_edge_event *event) = e->on_event;

    e->on_event = NULL;
    if (on_event != NULL)
        on_event(e->arg, &lost);
}

static void edge_listen(struct sl_script_edge *e,
                        void (*on_event)(void *arg, const struct sl_edge_event *event), void *arg)
{
    lose_listener(e);
    e->on_event = on_event;
    e->arg = arg;
}

static void edge_release(struct sl_script_edge *e, void *arg)
{
    if (e->arg == arg)
        e->on_event = NULL;
    e->n_refs--;
    free_if_over(e);
}

static struct attempt *copy_attempt(struct sl_script_edge *e, const struct sl_edge_attempt *from)
{
    struct attempt *a = sl_zalloc(sizeof(*a));

    a->edge = e;
    a->number = e->attempt;
    a->what = *from;
    a->what.host = sl_arena_dup(&a->texts, from->host);
    a->what.id = sl_arena_dup(&a->texts, from->id);
    a->what.secret = sl_arena_dup(&a->texts, from->secret);
    a->what.ca_file = sl_arena_dup(&a->texts, from->ca_file);
    a->what.server_name = sl_arena_dup(&a->texts, from->server_name);
    if (from->pin != NULL)
        a->what.pin = memcpy(a->pin, from->pin, sizeof(a->pin));
    return a;
}

static void edge_connect(struct sl_script_edge *e, const struct sl_edge_attempt *what)
{
    if (e->is_closed)
        return;
    e->attempt++;
    sl_buf_clear(&e->answer);
    post_there(e, connect_there, copy_attempt(e, what));
}

static void edge_cancel(struct sl_script_edge *e)
{
    if (!e->is_closed)
        post_there(e, cancel_there, e);
}

static void edge_accept(struct sl_script_edge *e, const struct sl_edge_terms *terms)
{
    struct acceptance *a;

    if (e->is_closed)
        return;
    a = sl_alloc(sizeof(*a));
    *a = (struct acceptance){e, *terms};
    e->accepted = e->attempt;
    keep_text(&e->told, sl_buf_str(&e->answer));
    sl_buf_clear(&e->answer);
    sl_buf_clear(&e->config);
    post_there(e, accept_there, a);
}

static void edge_hang_up(struct sl_script_edge *e)
{
    if (!e->is_closed)
        post_there(e, hang_up_there, e);
}

static void edge_give_up(struct sl_script_edge *e)
{
    if (!e->is_closed)
        post_there(e, give_up_there, e);
}

/* The question holds the edge. */
static void edge_status(struct sl_script_edge *e,
                        void (*done)(void *arg, const struct sl_script_edge_status *status),
                        void *arg)
{
    struct question *q = sl_zalloc(sizeof(*q));

    q->edge = e;
    q->done = done;
    q->arg = arg;
    e->n_refs++;
    post_there(e, look_there, q);
}

static void edge_close(struct sl_script_edge *e)
{
    if (e->is_closed)
        return;
    e->is_closed = true;
    post_there(e, close_there, e);
    lose_listener(e);
}

void sl_edges_fill(struct sl_script_tunnels *s)
{
    s->edge_open = edge_open;
    s->edge_listen = edge_listen;
    s->edge_release = edge_release;
    s->edge_connect = edge_connect;
    s->edge_cancel = edge_cancel;
    s->edge_accept = edge_accept;
    s->edge_hang_up = edge_hang_up;
    s->edge_give_up = edge_give_up;
    s->edge_status = edge_status;
    s->edge_close = edge_close;
}

/* --- the worker, and the end --- */

struct sl_edge *sl_edges_find(struct sl_tunnels *t, struct sl_str name)
{
    sl_list_each(&t->edges_there, it)
    {
        struct sl_script_edge *e = sl_container_of(it, struct sl_script_edge, link_there);

        if (sl_str_eq(sl_str_c(e->name), name))
            return e->edge;
    }
    return NULL;
}

void sl_edges_end_there(struct sl_tunnels *t)
{
    sl_list_each(&t->edges_there, it)
        end_there(sl_container_of(it, struct sl_script_edge, link_there));
}

void sl_edges_clear(struct sl_tunnels *t)
{
    sl_list_each(&t->edges, it)
    {
        struct sl_script_edge *e = sl_container_of(it, struct sl_script_edge, link);

        e->n_refs = 0;
        on_gone(e);
    }
}
