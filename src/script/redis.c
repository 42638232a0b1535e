#include "script/redis.h"

#include <hiredis/hiredis.h>
#include "base/buf.h"

struct sl_redis_ticket {
    struct sl_link link;   /* of r->tickets */
    sl_on_redis_reply *fn; /* NULL: forgotten */
    void *user;
    unsigned n_confirmations; /* that are still to come; 0: one reply */
};

struct sl_redis {
    struct sl_loop *loop;
    struct sl_stream *stream; /* NULL: over */
    struct sl_redis_parser *parser;
    const struct sl_redis_handler *handler;
    void *user;
    struct sl_list tickets; /* the oldest first */
    unsigned n_tickets;
    struct sl_buf out; /* not written yet */
    struct sl_task_link flushing, telling;
    struct sl_deadline deadline; /* of the next reply */
    uint64_t timeout_ms;
    int64_t n_subscribed; /* as the server counts */
    int error;            /* what ended it */
    bool is_writing, is_paused, is_freed;
};

/* --- the end --- */

static void free_redis(void *ptr)
{
    struct sl_redis *r = ptr;

    for (struct sl_link *it; (it = sl_list_pop(&r->tickets)) != NULL;)
        sl_free(sl_container_of(it, struct sl_redis_ticket, link));
    sl_redis_parser_free(r->parser);
    sl_buf_clear(&r->out);
    sl_free(r);
}

void sl_redis_free(struct sl_redis *r)
{
    if (r == NULL || r->is_freed)
        return;
    r->is_freed = true;
    sl_stream_free(&r->stream, SL_CLOSE_ABORT);
    sl_loop_unsoon(&r->flushing);
    sl_loop_unsoon(&r->telling);
    sl_deadline_stop(&r->deadline);
    sl_loop_defer(r->loop, r, free_redis);
}

static void reply_to(struct sl_redis *r, struct sl_redis_ticket *t,
                     const struct sl_redis_reply *reply)
{
    sl_on_redis_reply *fn = t->fn;
    void *user = t->user;

    sl_link_remove(&t->link);
    r->n_tickets--;
    sl_free(t);
    if (fn != NULL)
        fn(user, reply);
}

static void tell(void *user)
{
    struct sl_redis *r = user;

    while (!r->is_freed && !sl_list_is_empty(&r->tickets))
        reply_to(r, sl_container_of(sl_list_first(&r->tickets), struct sl_redis_ticket, link),
                 NULL);
    if (!r->is_freed)
        r->handler->on_end(r->user, r->error);
}

static void end(struct sl_redis *r, int code)
{
    if (r->error != 0)
        return;
    r->error = code;
    sl_stream_free(&r->stream, SL_CLOSE_ABORT);
    sl_loop_unsoon(&r->flushing);
    sl_deadline_stop(&r->deadline);
    sl_loop_soon(r->loop, &r->telling, tell, r);
}

void sl_redis_close(struct sl_redis *r)
{
    end(r, SL_E_CLOSED);
}

int sl_redis_error(const struct sl_redis *r)
{
    return r->error;
}

/* --- replies --- */

/* Moves on with every reply: what counts is silence. */
static void update_deadline(struct sl_redis *r)
{
    if (sl_list_is_empty(&r->tickets))
        sl_deadline_clear(&r->deadline);
    else
        sl_deadline_set(&r->deadline, r->timeout_ms);
}

static void on_due(struct sl_deadline *d)
{
    struct sl_redis *r = d->user;

    if (r->is_paused) /* it is we who do not listen */
        update_deadline(r);
    else
        end(r, SL_E_TIMEOUT);
}

static bool is_text(const struct sl_redis_reply *r, const char *text)
{
    return r->kind == SL_REDIS_TEXT && sl_str_eq(r->text, sl_str_c(text));
}

/* A server sends them to subscribers alone, who get no other arrays of this form. */
static bool is_message(const struct sl_redis *r, const struct sl_redis_reply *reply)
{
    return r->n_subscribed > 0 && reply->kind == SL_REDIS_ARRAY &&
           ((reply->n == 3 && is_text(&reply->items[0], "message")) ||
            (reply->n == 4 && is_text(&reply->items[0], "pmessage")));
}

static void take_message(struct sl_redis *r, const struct sl_redis_reply *reply)
{
    const struct sl_redis_reply *last = &reply->items[reply->n - 1];
    struct sl_redis_message m = {last->text, last[-1].text, SL_STR_NONE};

    if (reply->n == 4)
        m.pattern = reply->items[1].text;
    r->handler->on_message(r->user, &m);
}

/* Of a subscription: one for each channel. True when it was the last. */
static bool take_confirmation(struct sl_redis *r, struct sl_redis_ticket *t,
                              const struct sl_redis_reply *reply)
{
    if (reply->kind == SL_REDIS_ERROR)
        return true;
    if (reply->kind != SL_REDIS_ARRAY || reply->n != 3 ||
        reply->items[2].kind != SL_REDIS_INTEGER) {
        end(r, SL_E_PROTOCOL);
        return false;
    }
    r->n_subscribed = reply->items[2].integer;
    return --t->n_confirmations == 0;
}

static void take(struct sl_redis *r, const struct sl_redis_reply *reply)
{
    struct sl_redis_ticket *t;

    if (is_message(r, reply)) {
        take_message(r, reply);
        return;
    }
    if (sl_list_is_empty(&r->tickets)) {
        end(r, SL_E_PROTOCOL);
        return;
    }
    t = sl_container_of(sl_list_first(&r->tickets), struct sl_redis_ticket, link);
    if (t->n_confirmations > 0 && !take_confirmation(r, t, reply))
        return;
    reply_to(r, t, reply);
}

static void on_data(struct sl_stream *stream, const uint8_t *bytes, size_t len)
{
    struct sl_redis *r = stream->user;
    const struct sl_redis_reply *reply;
    int rc;

    sl_redis_parser_feed(r->parser, bytes, len);
    while ((rc = sl_redis_parser_next(r->parser, &reply)) > 0) {
        take(r, reply);
        if (r->is_freed || r->error != 0)
            return;
    }
    if (rc < 0)
        end(r, rc);
    else
        update_deadline(r);
}

static void on_fin(struct sl_stream *stream)
{
    end(stream->user, SL_E_CLOSED);
}

static void on_error(struct sl_stream *stream, int code)
{
    end(stream->user, code);
}

/* --- commands --- */

static void flush(void *user)
{
    struct sl_redis *r = user;
    size_t len = sl_buf_len(&r->out);
    int rc;

    if (r->is_writing || len == 0)
        return;
    rc = sl_stream_write1(r->stream, sl_buf_at(&r->out), len, false);
    sl_buf_clear(&r->out);
    r->is_writing = rc == SL_E_AGAIN; /* another failure comes as on_error() */
}

static void on_written(struct sl_stream *stream)
{
    struct sl_redis *r = stream->user;

    r->is_writing = false;
    flush(r);
}

static void append(struct sl_redis *r, const struct sl_redis_words *words)
{
    char *wire;
    long long len = redisFormatCommandArgv(&wire, words->n, words->at, words->lens);

    sl_assert(len > 0);
    sl_buf_append(&r->out, wire, (size_t)len);
    redisFreeCommand(wire);
}

int sl_redis_send(struct sl_redis *r, const struct sl_redis_words *words, unsigned n_channels,
                  sl_on_redis_reply *fn, void *user, struct sl_redis_ticket **out)
{
    struct sl_redis_ticket *t;
    size_t len = 0;

    if (r->error != 0)
        return SL_E_CLOSED;
    for (int i = 0; i < words->n; i++)
        len += words->lens[i] + 32;
    if (r->n_tickets >= SL_REDIS_MAX_COMMANDS || len > SL_REDIS_MAX_COMMAND ||
        sl_buf_len(&r->out) + len > SL_REDIS_MAX_UNSENT)
        return SL_E_LIMIT;
    append(r, words);
    t = sl_zalloc(sizeof(*t));
    t->fn = fn;
    t->user = user;
    t->n_confirmations = n_channels;
    if (sl_list_is_empty(&r->tickets))
        sl_deadline_set(&r->deadline, r->timeout_ms);
    sl_list_append(&r->tickets, &t->link);
    r->n_tickets++;
    sl_loop_soon(r->loop, &r->flushing, flush, r); /* many commands of a turn are one write */
    *out = t;
    return 0;
}

void sl_redis_forget(struct sl_redis_ticket *ticket)
{
    ticket->fn = NULL;
}

void sl_redis_pause(struct sl_redis *r, bool on)
{
    r->is_paused = on;
    if (r->stream != NULL)
        sl_stream_read(r->stream, !on);
}

struct sl_redis *sl_redis_new(struct sl_stream **stream, uint64_t timeout_ms,
                              const struct sl_redis_handler *handler, void *user)
{
    static const struct sl_stream_handler ops = {
        .on_data = on_data, .on_fin = on_fin, .on_written = on_written, .on_error = on_error};
    struct sl_redis *r = sl_zalloc(sizeof(*r));

    r->loop = (*stream)->loop;
    r->stream = *stream;
    *stream = NULL;
    r->parser = sl_redis_parser_new();
    r->timeout_ms = timeout_ms;
    r->handler = handler;
    r->user = user;
    sl_list_init(&r->tickets);
    sl_deadline_init(&r->deadline, r->loop, on_due, r);
    sl_stream_set_handler(r->stream, &ops, r);
    sl_stream_read(r->stream, true);
    return r;
}
