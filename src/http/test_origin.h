/*
 * For tests: a target on the loopback that does what the test says, on the loop of the test. Each
 * connection keeps what it was sent; the test answers by hand, or the origin answers each request
 * head with the same bytes.
 *
 *     origin_begin(&o, loop);
 *     run_until(loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
 *     origin_say(&o, 0, "HTTP/1.1 204 No Content\r\n\r\n");
 *     origin_end(&o);
 */
#ifndef SL_HTTP_TEST_ORIGIN_H
#define SL_HTTP_TEST_ORIGIN_H

#include "base/buf.h"
#include "net/test_net.h"

enum { ORIGIN_CONNS = 64 };

struct origin;

struct origin_conn {
    struct origin *of;
    struct sl_stream *stream; /* NULL once the test has closed it */
    struct sl_buf got;
    size_t seen; /* of it: heads up to here were answered */
    int n_fin, n_error;
};

struct origin {
    struct sl_loop *loop;
    struct sl_listener *listener;
    struct sl_addr at;
    struct origin_conn conns[ORIGIN_CONNS];
    int n_conns;
    const char *answer; /* to each head, or NULL */
    bool starts_paused; /* new connections are not read */
};

static inline void origin_say(struct origin *o, int i, const char *text)
{
    if (o->conns[i].stream != NULL && o->conns[i].stream->error == 0)
        (void)sl_stream_write1(o->conns[i].stream, text, strlen(text), false);
}

static inline void origin_fin(struct origin *o, int i)
{
    if (o->conns[i].stream != NULL && o->conns[i].stream->error == 0)
        (void)sl_stream_write(o->conns[i].stream, NULL, 0, true);
}

static inline void origin_close(struct origin *o, int i, enum sl_close how)
{
    sl_stream_free(&o->conns[i].stream, how);
}

static inline bool origin_got(const struct origin *o, int i, const char *part)
{
    const struct sl_buf *got = &o->conns[i].got;

    return sl_buf_len(got) > 0 &&
           memmem(sl_buf_at(got), sl_buf_len(got), part, strlen(part)) != NULL;
}

static inline struct sl_str origin_text(const struct origin *o, int i)
{
    return sl_buf_len(&o->conns[i].got) > 0 ? sl_buf_str(&o->conns[i].got) : SL_STR("");
}

static inline void origin_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct origin_conn *c = s->user;
    const char *end;

    sl_buf_append(&c->got, bytes, len);
    while (c->of->answer != NULL && c->stream != NULL &&
           (end = memmem(sl_buf_at(&c->got) + c->seen, sl_buf_len(&c->got) - c->seen, "\r\n\r\n",
                         4)) != NULL) {
        c->seen = (size_t)(end + 4 - (char *)sl_buf_at(&c->got));
        origin_say(c->of, (int)(c - c->of->conns), c->of->answer);
    }
}

static inline void origin_on_fin(struct sl_stream *s)
{
    ((struct origin_conn *)s->user)->n_fin++;
}

static inline void origin_on_written(struct sl_stream *s)
{
    (void)s;
}

static inline void origin_on_error(struct sl_stream *s, int code)
{
    (void)code;
    ((struct origin_conn *)s->user)->n_error++;
}

static inline void origin_on_accept(void *user, int fd, const struct sl_addr *remote)
{
    static const struct sl_stream_handler handler = {origin_on_data, origin_on_fin,
                                                     origin_on_written, origin_on_error, NULL};
    struct origin *o = user;
    struct origin_conn *c = &o->conns[o->n_conns++];

    (void)remote;
    sl_assert(o->n_conns <= ORIGIN_CONNS);
    c->of = o;
    c->stream = sl_tcp_new(o->loop, fd);
    sl_stream_set_handler(c->stream, &handler, c);
    sl_stream_read(c->stream, !o->starts_paused);
}

static inline void origin_begin(struct origin *o, struct sl_loop *loop)
{
    *o = (struct origin){.loop = loop};
    o->listener = sl_listener_new(loop, listen_on_loopback(&o->at), origin_on_accept, o);
}

static inline void origin_begin_unix(struct origin *o, struct sl_loop *loop, const char *path)
{
    int fd = -1;

    *o = (struct origin){.loop = loop};
    sl_assert(sl_socket_listen_unix(&fd, path, 0600, NULL) == 0);
    o->listener = sl_listener_new(loop, fd, origin_on_accept, o);
}

static inline uint16_t origin_port(const struct origin *o)
{
    return sl_addr_port(&o->at);
}

static inline void origin_end(struct origin *o)
{
    sl_listener_free(o->listener);
    for (int i = 0; i < o->n_conns; i++) {
        sl_stream_free(&o->conns[i].stream, SL_CLOSE_ABORT);
        sl_buf_clear(&o->conns[i].got);
    }
    run_quiet(o->loop);
}

#endif
