/*
 * What waits to be sent on a stream: blocks that are filled at the end, sent, and freed when they
 * were acknowledged.
 */
#include "http/mux_internal.h"

struct sl_mux_block {
    struct sl_link link;
    size_t cap, len, sent, acked;
    bool is_in_arena;
    uint8_t bytes[];
};

/* A small answer fits, and so do many small pieces of a slow one. */
enum { BLOCK_MIN = 960, BLOCK_MAX = 16 * 1024 };

static struct sl_mux_block *block_of(struct sl_link *link)
{
    return sl_container_of(link, struct sl_mux_block, link);
}

static struct sl_mux_block *last_block(const struct sl_mux_stream *s)
{
    return sl_list_is_empty(&s->out) ? NULL : block_of(s->out.head.prev);
}

/* A small answer needs one small block, and has it where its head is. A second one would make the
 * arena of a long stream grow. */
static struct sl_mux_block *new_block(struct sl_mux_stream *s, size_t cap)
{
    bool is_in_arena = cap == BLOCK_MIN && !s->has_small_block;
    size_t len = sizeof(struct sl_mux_block) + cap;
    struct sl_mux_block *b = is_in_arena ? sl_arena_alloc(&s->ex.arena, len) : sl_alloc(len);

    *b = (struct sl_mux_block){.cap = cap, .is_in_arena = is_in_arena};
    s->has_small_block |= is_in_arena;
    return b;
}

static void free_block(struct sl_mux_block *b)
{
    if (!b->is_in_arena)
        sl_free(b);
}

/* The block that takes the next bytes. */
static struct sl_mux_block *room(struct sl_mux_stream *s, size_t want)
{
    struct sl_mux_block *b = last_block(s);
    size_t cap = SL_MAX(SL_MIN(want, (size_t)BLOCK_MAX), (size_t)BLOCK_MIN);

    if (b != NULL && b->len < b->cap)
        return b;
    b = new_block(s, cap);
    sl_list_append(&s->out, &b->link);
    return b;
}

static void append(struct sl_mux_stream *s, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        struct sl_mux_block *b = room(s, len);
        size_t n = SL_MIN(len, b->cap - b->len);

        if (s->unsent == NULL)
            s->unsent = b;
        memcpy(b->bytes + b->len, bytes, n);
        b->len += n;
        bytes += n;
        len -= n;
        s->n_unsent += n;
    }
}

void sl_mux_queue(struct sl_mux_stream *s, const struct iovec *iov, int n_iov, size_t skip)
{
    for (int i = 0; i < n_iov; i++) {
        size_t skipped = SL_MIN(skip, iov[i].iov_len);

        append(s, (const uint8_t *)iov[i].iov_base + skipped, iov[i].iov_len - skipped);
        skip -= skipped;
    }
}

int sl_mux_peek(const struct sl_mux_stream *s, struct iovec *iov, int n_iov, size_t max)
{
    struct sl_mux_block *b = s->unsent;
    int n = 0;

    while (b != NULL && n < n_iov && max > 0) {
        size_t len = SL_MIN(max, b->len - b->sent);

        if (len > 0)
            iov[n++] = (struct iovec){b->bytes + b->sent, len};
        max -= len;
        b = b->link.next == &s->out.head ? NULL : block_of(b->link.next);
    }
    return n;
}

void sl_mux_sent(struct sl_mux_stream *s, size_t n)
{
    sl_assert(n <= s->n_unsent);
    s->n_unsent -= n;
    s->n_unacked += n;
    s->n_progress += n;
    while (n > 0) {
        struct sl_mux_block *b = s->unsent;
        size_t len = SL_MIN(n, b->len - b->sent);

        b->sent += len;
        n -= len;
        if (b->sent == b->len)
            s->unsent = b->link.next == &s->out.head ? NULL : block_of(b->link.next);
    }
    sl_mux_moved(s);
}

/* The last block is kept while it may take more bytes that follow sent ones. */
void sl_mux_acked(struct sl_mux_stream *s, size_t n)
{
    sl_assert(n <= s->n_unacked);
    s->n_unacked -= n;
    while (n > 0) {
        struct sl_mux_block *b = block_of(sl_list_first(&s->out));
        size_t len = SL_MIN(n, b->sent - b->acked);

        b->acked += len;
        n -= len;
        if (b->acked == b->len) {
            sl_link_remove(&b->link);
            free_block(b);
        }
    }
}

void sl_mux_drop_out(struct sl_mux_stream *s)
{
    for (struct sl_link *it; (it = sl_list_pop(&s->out)) != NULL;)
        free_block(block_of(it));
    s->unsent = NULL;
}
