/*
 * The request body for a hook that asks for it: collected while the hook waits, kept, and forwarded
 * first afterwards; or given to it as it comes.
 */
#include "proxy/internal.h"

static struct sl_work *of(struct sl_hook_slot *slot)
{
    return sl_container_of(slot, struct sl_work, slot);
}

static void tell(struct sl_work *w, int code)
{
    void (*done)(struct sl_hook_slot *, int, struct sl_str) = w->on_collected;

    w->on_collected = NULL;
    if (done != NULL)
        done(&w->slot, code, code == 0 ? sl_buf_str(&w->body) : SL_STR_NONE);
}

static void tell_later(void *user)
{
    struct sl_work *w = user;

    if (w->body_failed || sl_buf_len(&w->body) > w->body_max)
        tell(w, SL_E_LIMIT);
    else if (w->body_complete)
        tell(w, 0);
}

void sl_hook_collect_body(struct sl_hook_slot *slot, size_t max,
                          void (*done)(struct sl_hook_slot *slot, int code, struct sl_str body))
{
    struct sl_work *w = of(slot);
    const struct sl_request *req = &w->ex->req;

    w->on_collected = done;
    w->body_max = SL_MIN(max, w->proxy->settings->max_body_hook);
    if (w->ex->request_ended && !w->is_collecting)
        w->body_complete = true;
    if (req->content_length != SL_LENGTH_UNKNOWN && req->content_length > w->body_max)
        w->body_failed = true; /* known before a byte was read */
    if (w->body_complete || w->body_failed || sl_buf_len(&w->body) > w->body_max) {
        sl_loop_soon(w->proxy->loop, &w->collected, tell_later, w);
        return;
    }
    w->is_collecting = true;
    sl_exchange_read(w->ex, true);
}

void sl_body_take(struct sl_work *w, const uint8_t *bytes, size_t len, bool fin)
{
    sl_buf_append(&w->body, bytes, len);
    if (fin || sl_buf_len(&w->body) > w->body_max) {
        /* What was read so far goes to the target first, whatever the hook says of it. */
        w->is_collecting = false;
        w->body_complete = fin;
        sl_exchange_read(w->ex, false);
        tell(w, sl_buf_len(&w->body) > w->body_max ? SL_E_LIMIT : 0);
    }
}

void sl_hook_stream_body(struct sl_hook_slot *slot,
                         void (*on_bytes)(struct sl_hook_slot *slot, const uint8_t *bytes,
                                          size_t len, bool fin))
{
    of(slot)->on_bytes = on_bytes;
    of(slot)->is_streamed = true;
}

void sl_body_decided(struct sl_work *w)
{
    if (w->on_bytes == NULL)
        return;
    w->on_bytes = NULL;
    sl_exchange_read(w->ex, false);
}

void sl_body_end(struct sl_work *w)
{
    w->on_collected = NULL;
    sl_loop_unsoon(&w->collected);
    sl_buf_clear(&w->body);
}
