/*
 * A protocol over QUIC for tests: each side keeps what came on each stream; a server may echo it.
 *
 *     struct test_peer client = {.name = "client"};
 *     sl_quic_connect(&client.conn, e, &addr, tls, SL_STR("a.test"), &test_app, &client);
 *     test_peer_send(&client, test_peer_open(&client, false), "hello", 5, true);
 */
#ifndef SL_QUIC_TEST_APP_H
#define SL_QUIC_TEST_APP_H

#include "base/buf.h"
#include "base/list.h"
#include "quic/quic.h"

/* Bytes to be sent stay where they are until they are acknowledged, so they lie in blocks. */
struct test_block {
    struct sl_link link;
    size_t len, n_sent, n_acked;
    uint8_t bytes[];
};

struct test_stream {
    struct sl_link link;
    int64_t id;
    struct sl_buf in;
    struct sl_list out;
    bool wants_fin, sent_fin, got_fin, is_blocked;
    bool got_reset, got_stop, is_closed;
    uint64_t error;
};

struct test_peer {
    struct sl_quic_conn *conn; /* NULL after on_closed() */
    struct sl_list streams;
    bool echoes; /* what comes is sent back */
    bool hoards; /* consumes nothing */
    int n_ready, n_done, n_closed, n_datagrams, n_migrated, n_more, n_opened;
    size_t n_in;
    struct sl_buf datagram; /* the last one */
    struct sl_quic_end end;
    char reason[300];
    struct sl_addr remote; /* at the last on_migrated() */
    void (*on_ready)(struct test_peer *p);
};

static inline void test_peer_init(struct test_peer *p)
{
    *p = (struct test_peer){0};
    sl_list_init(&p->streams);
}

static inline struct test_peer *test_peer_of(struct sl_quic_conn *c)
{
    return c->user;
}

static inline void test_stream_free(struct test_stream *s)
{
    sl_list_each(&s->out, it)
    {
        sl_free(sl_container_of(it, struct test_block, link));
    }
    sl_link_remove(&s->link);
    sl_buf_clear(&s->in);
    sl_free(s);
}

static inline void test_peer_clear(struct test_peer *p)
{
    sl_list_each(&p->streams, it)
    {
        test_stream_free(sl_container_of(it, struct test_stream, link));
    }
    sl_buf_clear(&p->datagram);
}

static inline struct test_stream *test_peer_find(struct test_peer *p, int64_t id)
{
    sl_list_each(&p->streams, it)
    {
        struct test_stream *s = sl_container_of(it, struct test_stream, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

static inline struct test_stream *test_peer_add(struct test_peer *p, int64_t id)
{
    struct test_stream *s = sl_zalloc(sizeof(*s));

    s->id = id;
    sl_list_init(&s->out);
    sl_list_append(&p->streams, &s->link);
    sl_quic_set_stream(p->conn, id, s);
    return s;
}

/* NULL when the peer allows no more. */
static inline struct test_stream *test_peer_open(struct test_peer *p, bool is_uni)
{
    int64_t id;

    return sl_quic_open(p->conn, is_uni, &id) == 0 ? test_peer_add(p, id) : NULL;
}

static inline void test_peer_send(struct test_peer *p, struct test_stream *s, const void *bytes,
                                  size_t len, bool fin)
{
    if (len > 0) {
        struct test_block *b = sl_alloc(sizeof(*b) + len);

        *b = (struct test_block){.len = len};
        memcpy(b->bytes, bytes, len);
        sl_list_append(&s->out, &b->link);
    }
    s->wants_fin = fin;
    sl_quic_wake(p->conn);
}

/* --- the app --- */

static inline void test_on_ready(struct sl_quic_conn *c)
{
    struct test_peer *p = test_peer_of(c);

    p->n_ready++;
    if (p->on_ready != NULL)
        p->on_ready(p);
}

static inline void test_on_done(struct sl_quic_conn *c)
{
    test_peer_of(c)->n_done++;
}

static inline void test_on_open(struct sl_quic_conn *c, int64_t id)
{
    test_peer_of(c)->n_opened++;
    (void)test_peer_add(test_peer_of(c), id);
}

static inline void test_on_data(struct sl_quic_conn *c, int64_t id, void *stream,
                                const uint8_t *bytes, size_t len, bool fin)
{
    struct test_peer *p = test_peer_of(c);
    struct test_stream *s = stream;

    sl_assert(s != NULL && s->id == id && !s->got_fin);
    p->n_in += len;
    s->got_fin = fin;
    if (p->echoes && (id & 2) == 0)
        test_peer_send(p, s, bytes, len, fin);
    else if (len > 0)
        sl_buf_append(&s->in, bytes, len);
    if (!p->hoards)
        sl_quic_consume(c, id, len);
}

static inline void test_on_reset(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    s->got_reset = true;
    s->error = error;
}

static inline void test_on_stop(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    s->got_stop = true;
    s->error = error;
}

static inline void test_on_stream_closed(struct sl_quic_conn *c, int64_t id, void *stream,
                                         uint64_t error)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    (void)error;
    s->is_closed = true;
}

static inline void test_on_acked(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t n)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    sl_list_each(&s->out, it)
    {
        struct test_block *b = sl_container_of(it, struct test_block, link);
        size_t now = (size_t)SL_MIN(n, (uint64_t)(b->len - b->n_acked));

        sl_assert(b->n_acked + now <= b->n_sent);
        b->n_acked += now;
        n -= now;
        if (b->n_acked == b->len) {
            sl_link_remove(it);
            sl_free(b);
        }
        if (n == 0)
            return;
    }
    sl_assert(n == 0);
}

static inline void test_on_unblocked(struct sl_quic_conn *c, int64_t id, void *stream)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    if (s != NULL)
        s->is_blocked = false;
}

static inline void test_on_more(struct sl_quic_conn *c)
{
    test_peer_of(c)->n_more++;
}

static inline void test_on_datagram(struct sl_quic_conn *c, const uint8_t *bytes, size_t len)
{
    struct test_peer *p = test_peer_of(c);

    p->n_datagrams++;
    sl_buf_reset(&p->datagram);
    sl_buf_append(&p->datagram, bytes, len);
    if (p->echoes)
        (void)sl_quic_send_datagram(c, bytes, len);
}

static inline void test_on_migrated(struct sl_quic_conn *c)
{
    test_peer_of(c)->n_migrated++;
    test_peer_of(c)->remote = c->remote;
}

/* What is still to be sent, as far as it fits: is that all? */
static inline bool test_stream_collect(struct test_stream *s, struct sl_quic_chunk *chunk)
{
    sl_list_each(&s->out, it)
    {
        struct test_block *b = sl_container_of(it, struct test_block, link);

        if (b->n_sent == b->len)
            continue;
        if (chunk->n_iov == SL_QUIC_IOV)
            return false;
        chunk->iov[chunk->n_iov++] = (struct iovec){b->bytes + b->n_sent, b->len - b->n_sent};
    }
    return true;
}

static inline bool test_next(struct sl_quic_conn *c, struct sl_quic_chunk *chunk)
{
    sl_list_each(&test_peer_of(c)->streams, it)
    {
        struct test_stream *s = sl_container_of(it, struct test_stream, link);

        if (s->is_blocked || s->is_closed)
            continue;
        chunk->n_iov = 0;
        chunk->fin = test_stream_collect(s, chunk) && s->wants_fin;
        if (chunk->n_iov == 0 && (!chunk->fin || s->sent_fin))
            continue;
        chunk->stream_id = s->id;
        return true;
    }
    return false;
}

static inline void test_wrote(struct sl_quic_conn *c, int64_t id, void *stream, size_t n, bool fin)
{
    struct test_stream *s = stream;

    (void)c;
    sl_assert(s->id == id);
    sl_list_each(&s->out, it)
    {
        struct test_block *b = sl_container_of(it, struct test_block, link);
        size_t now = SL_MIN(n, b->len - b->n_sent);

        b->n_sent += now;
        n -= now;
    }
    sl_assert(n == 0);
    s->sent_fin = s->sent_fin || fin;
}

static inline void test_blocked(struct sl_quic_conn *c, int64_t id, void *stream, bool is_shut)
{
    struct test_stream *s = stream;

    (void)c;
    (void)id;
    (void)is_shut;
    s->is_blocked = true;
}

static inline void test_on_closed(struct sl_quic_conn *c, const struct sl_quic_end *end)
{
    struct test_peer *p = test_peer_of(c);

    p->n_closed++;
    p->end = *end;
    (void)snprintf(p->reason, sizeof(p->reason), "%s", end->reason);
    p->end.reason = p->reason;
    p->conn = NULL;
}

static const struct sl_quic_app test_app SL_UNUSED = {
    .on_ready = test_on_ready,
    .on_handshake_done = test_on_done,
    .on_stream_open = test_on_open,
    .on_stream_data = test_on_data,
    .on_stream_reset = test_on_reset,
    .on_stream_stop = test_on_stop,
    .on_stream_closed = test_on_stream_closed,
    .on_acked = test_on_acked,
    .on_unblocked = test_on_unblocked,
    .on_more_streams = test_on_more,
    .on_datagram = test_on_datagram,
    .on_migrated = test_on_migrated,
    .next = test_next,
    .wrote = test_wrote,
    .blocked = test_blocked,
    .on_closed = test_on_closed,
};

#endif
