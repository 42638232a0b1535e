#include "tls/dial.h"

#include "net/tcp.h"
#include "tls/stream.h"

enum { MAX_UNIX_PATH = 108 };

static void try_next(struct sl_dial *d, int last_failure);

static void end(struct sl_dial *d)
{
    if (d->opts.loop == NULL)
        return;
    sl_deadline_stop(&d->deadline);
    sl_loop_unsoon(&d->failing);
    if (d->query != NULL)
        sl_dns_cancel(d->query);
    d->query = NULL;
    sl_free(d->answer);
    d->answer = NULL;
}

static void report(void *user)
{
    struct sl_dial *d = user;
    struct sl_stream *stream = d->stream; /* its reason lives as long as it does */

    d->stream = NULL;
    end(d);
    d->on_failed(d, d->failure, d->detail);
    sl_stream_free(&stream, SL_CLOSE_ABORT);
}

static void fail(struct sl_dial *d, int code, const char *detail)
{
    if (d->failure != 0)
        return;
    d->failure = code;
    d->detail = detail;
    sl_loop_soon(d->opts.loop, &d->failing, report, d);
}

static void succeed(struct sl_dial *d)
{
    struct sl_stream *stream = d->stream;

    d->stream = NULL;
    end(d);
    d->on_ready(d, &stream);
}

/* Nothing may come before we have spoken; the stream is paused, so only TLS could bring something.
 */
static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    fail(s->user, SL_E_PROTOCOL, "bytes before the handshake ended");
}

static void on_fin(struct sl_stream *s)
{
    fail(s->user, SL_E_CLOSED, NULL);
}

static void on_written(struct sl_stream *s)
{
    (void)s; /* the preface has left */
}

static void on_tcp_error(struct sl_stream *s, int code)
{
    try_next(s->user, code);
}

static void on_tls_error(struct sl_stream *s, int code)
{
    const char *reason = sl_tls_reason(s);

    fail(s->user, code, reason[0] != '\0' ? reason : NULL);
}

static void on_tls_ready(struct sl_stream *s)
{
    succeed(s->user);
}

static const struct sl_stream_handler tls_handler = {on_data, on_fin, on_written, on_tls_error,
                                                     on_tls_ready};

static void on_tcp_ready(struct sl_stream *s)
{
    struct sl_dial *d = s->user;
    struct sl_str name = d->opts.server_name.len > 0 ? d->opts.server_name : d->opts.host;

    if (d->opts.preface_len > 0)
        (void)sl_stream_write1(s, d->opts.preface, d->opts.preface_len, false);
    if (d->opts.tls == NULL) {
        succeed(d);
        return;
    }
    d->stream = sl_tls_connect(&d->stream, d->opts.tls, name, &tls_handler, d);
    if (d->stream == NULL)
        fail(d, SL_E_TLS, "cannot begin TLS");
}

static const struct sl_stream_handler tcp_handler = {on_data, on_fin, on_written, on_tcp_error,
                                                     on_tcp_ready};

static void try_next(struct sl_dial *d, int last_failure)
{
    sl_stream_free(&d->stream, SL_CLOSE_ABORT);
    while (d->next_addr < d->answer->n) {
        struct sl_addr *to = &d->answer->addrs[d->next_addr++];
        uint32_t share = d->opts.timeout_ms /
                         (uint32_t)d->answer->n; /* one dead address must not use up all the time */
        int rc;

        sl_addr_set_port(to, d->opts.port);
        rc = sl_tcp_connect(&d->stream, d->opts.loop, to, NULL, share, &tcp_handler, d);
        if (rc == 0)
            return;
        last_failure = rc;
    }
    fail(d, last_failure, NULL);
}

static void on_answer(struct sl_dial *d)
{
    d->is_resolving = false;
    if (d->answer->code != 0)
        fail(d, d->answer->code, "the name cannot be resolved");
    else
        try_next(d, SL_E_UNREACHABLE);
}

static void on_resolved(void *user, const struct sl_dns_answer *answer)
{
    struct sl_dial *d = user;

    d->query = NULL;
    *d->answer = *answer;
    on_answer(d);
}

static void on_deadline(struct sl_deadline *deadline)
{
    fail(deadline->user, SL_E_TIMEOUT, NULL);
}

static void dial_unix(struct sl_dial *d)
{
    char path[MAX_UNIX_PATH];
    int rc;

    if (d->opts.unix_path.len >= sizeof(path)) {
        fail(d, SL_E_CONFIG, "the path of the Unix socket is too long");
        return;
    }
    memcpy(path, d->opts.unix_path.p, d->opts.unix_path.len);
    path[d->opts.unix_path.len] = '\0';
    rc = sl_tcp_connect(&d->stream, d->opts.loop, NULL, path, d->opts.timeout_ms, &tcp_handler, d);
    if (rc < 0)
        fail(d, rc, NULL);
}

void sl_dial_start(struct sl_dial *d, const struct sl_dial_opts *opts, sl_on_dialled *on_ready,
                   sl_on_dial_failed *on_failed, void *user)
{
    *d =
        (struct sl_dial){.opts = *opts, .on_ready = on_ready, .on_failed = on_failed, .user = user};
    sl_deadline_init(&d->deadline, opts->loop, on_deadline, d);
    d->answer = sl_zalloc(sizeof(*d->answer));
    if (opts->timeout_ms > 0)
        sl_deadline_set(&d->deadline, opts->timeout_ms);
    if (opts->unix_path.len > 0) {
        dial_unix(d);
        return;
    }
    d->is_resolving = true;
    d->query = sl_dns_resolve(opts->dns, opts->host, on_resolved, d, d->answer);
    if (d->query == NULL)
        on_answer(d);
}

void sl_dial_cancel(struct sl_dial *d)
{
    end(d);
    sl_stream_free(&d->stream, SL_CLOSE_ABORT);
}
