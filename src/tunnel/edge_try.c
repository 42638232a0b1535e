#include "tunnel/edge_try.h"

#include <openssl/crypto.h>
#include <openssl/x509_vfy.h>
#include "codec/tunnel_greeting.h"
#include "tunnel/hub.h"

enum {
    DEFAULT_TIMEOUT_MS = 10 * 1000,
    KEEP_ALIVE_MS = 10 * 1000, /* NATs remember the way, and a hub that has crashed is found out */
};

static bool is_another_key(const struct sl_edge_try *t, int code, const char *why)
{
    return t->has_pin && code == SL_E_TLS &&
           strcmp(why, X509_verify_cert_error_string(X509_V_ERR_CERT_REJECTED)) == 0;
}

/* SL_E_REFUSED is the hub's word, and not that of a machine where none listens. */
static void fail(struct sl_edge_try *t, int code, const char *why)
{
    const char *text = why != NULL && why[0] != '\0' ? why : sl_error_text(code);

    if (is_another_key(t, code, text))
        text = "the hub's key is another one than the fingerprint says";
    t->handler->on_failed(t, code == SL_E_REFUSED ? SL_E_UNREACHABLE : code, text);
}

/* --- greeting --- */

static void greet(struct sl_edge_try *t)
{
    struct sl_greeting greeting = {t->what.id, t->what.secret};
    uint8_t line[SL_GREETING_MAX];
    size_t n = sl_greeting_write(line, sizeof(line), &greeting);

    t->is_open = true;
    sl_greeter_say(&t->greeter, line, n, false);
    sl_greeter_read(&t->greeter, true);
}

static void on_open(struct sl_greeter *g)
{
    greet(sl_container_of(g, struct sl_edge_try, greeter));
}

static void refused(struct sl_edge_try *t, struct sl_str why)
{
    char *text = sl_strndup(why.p, SL_MIN(why.len, sizeof(t->err.text) - 1));

    t->handler->on_failed(t, SL_E_REFUSED, text);
    sl_free(text);
}

/* The line leaves the buffer first, since whoever hears of it may hand the connection over. */
static void answered(struct sl_edge_try *t, struct sl_str line, size_t n)
{
    char *text = sl_strndup(line.p, line.len);

    t->is_answered = true;
    sl_deadline_clear(&t->deadline);
    sl_greeter_read(&t->greeter, false);
    sl_buf_consume(&t->greeter.in, n);
    t->handler->on_answer(t, sl_str(text, line.len));
    sl_free(text);
}

static void on_bytes(struct sl_greeter *g)
{
    struct sl_edge_try *t = sl_container_of(g, struct sl_edge_try, greeter);
    struct sl_str line;
    int rc;

    if (t->is_answered)
        return; /* the rest of a batch */
    rc = sl_greeting_answer(sl_buf_at(&g->in), sl_buf_len(&g->in), &line);
    if (rc == SL_E_PARTIAL)
        return;
    if (rc == SL_E_REFUSED)
        refused(t, line);
    else if (rc < 0)
        fail(t, rc, "the hub's answer is too long");
    else
        answered(t, line, (size_t)rc);
}

/* --- TLS --- */

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct sl_edge_try *t = d->user;

    sl_greeter_use_tls(&t->greeter, stream);
    greet(t);
}

static void on_dial_failed(struct sl_dial *d, int code, const char *detail)
{
    fail(d->user, code, detail);
}

static int begin_tls(struct sl_edge_try *t, const struct sl_tls_client_opts *trust)
{
    int rc = sl_tls_client_new(&t->tls, trust, &t->err);

    if (rc < 0)
        return rc;
    sl_dial_start(&t->dial,
                  &(struct sl_dial_opts){.loop = t->loop,
                                         .dns = t->dns,
                                         .host = t->what.host,
                                         .port = t->what.port,
                                         .timeout_ms = t->what.timeout_ms,
                                         .tls = t->tls,
                                         .server_name = t->what.server_name},
                  on_dialled, on_dial_failed, t);
    return 0;
}

/* --- QUIC: one address after the other --- */

static void free_endpoint(void *ptr)
{
    sl_quic_endpoint_free(ptr);
}

/* Its connections may be calling us. */
static void drop_endpoint(struct sl_edge_try *t)
{
    sl_greeter_clear(&t->greeter);
    if (t->endpoint != NULL)
        sl_loop_defer(t->loop, t->endpoint, free_endpoint);
    t->endpoint = NULL;
}

static int connect_to(struct sl_edge_try *t, const struct sl_addr *to)
{
    struct sl_quic_settings settings = sl_greeter_quic_settings(t->idle_ms);
    struct sl_quic_endpoint_opts opts = {.loop = t->loop, .settings = &settings};
    struct sl_str name = t->what.server_name.len > 0 ? t->what.server_name : t->what.host;
    struct sl_quic_streams *streams;
    struct sl_quic_conn *conn;
    int rc;

    settings.handshake_timeout = t->what.timeout_ms / (uint32_t)t->addrs.n;
    settings.keep_alive = SL_MIN(KEEP_ALIVE_MS, t->idle_ms / 3);
    if ((rc = sl_quic_endpoint_new_client(&t->endpoint, to, &opts, &t->err)) < 0)
        return rc;
    streams = sl_greeter_use_quic(&t->greeter, true);
    rc = sl_quic_connect(&conn, t->endpoint, to, t->quic_tls, name, &sl_quic_streams_app, streams);
    if (rc == 0)
        sl_greeter_begin_quic(&t->greeter, conn);
    return rc;
}

static void try_next(struct sl_edge_try *t, int last_code, const char *last_why)
{
    while (t->next_addr < t->addrs.n) {
        struct sl_addr *to = &t->addrs.addrs[t->next_addr++];

        drop_endpoint(t);
        sl_addr_set_port(to, t->what.port);
        if ((last_code = connect_to(t, to)) == 0)
            return;
        last_why = t->err.text;
    }
    fail(t, last_code, last_why);
}

static void on_end(struct sl_greeter *g, int code, const char *why)
{
    struct sl_edge_try *t = sl_container_of(g, struct sl_edge_try, greeter);

    if (t->is_open)
        fail(t, code, why);
    else
        try_next(t, code, why);
}

static const struct sl_greeter_handler greeter_handler = {on_open, on_bytes, on_end};

static void on_addrs(struct sl_edge_try *t)
{
    if (t->addrs.code != 0)
        fail(t, t->addrs.code, "the name cannot be resolved");
    else
        try_next(t, SL_E_UNREACHABLE, NULL);
}

static void on_resolved(void *user, const struct sl_dns_answer *answer)
{
    struct sl_edge_try *t = user;

    t->query = NULL;
    t->addrs = *answer;
    on_addrs(t);
}

static void on_addrs_at_once(void *user)
{
    on_addrs(user);
}

static int begin_quic(struct sl_edge_try *t, const struct sl_tls_client_opts *trust)
{
    int rc = sl_quic_tls_client_new(&t->quic_tls, trust, &t->err);

    if (rc < 0)
        return rc;
    t->query = sl_dns_resolve(t->dns, t->what.host, on_resolved, t, &t->addrs);
    if (t->query == NULL)
        sl_loop_soon(t->loop, &t->later, on_addrs_at_once, t);
    return 0;
}

/* --- life --- */

static void on_late(struct sl_deadline *d)
{
    struct sl_edge_try *t = d->user;

    fail(t, SL_E_TIMEOUT, t->is_open ? "no answer from the hub" : NULL);
}

static void cannot_begin(void *user)
{
    struct sl_edge_try *t = user;

    fail(t, t->err.code, t->err.text);
}

static int begin(struct sl_edge_try *t)
{
    struct sl_greeting greeting = {t->what.id, t->what.secret};
    char *ca_file = t->what.ca_file.len > 0 ? (char *)t->what.ca_file.p : NULL; /* ends with NUL */
    struct sl_tls_client_opts trust = {
        .pin = t->what.pin, .verify = t->what.verify, .ca_file = ca_file, .alpn = SL_HUB_ALPN};

    if (!sl_greeting_ok(&greeting))
        return sl_err_set(&t->err, SL_E_CONFIG,
                          "the id or the secret of the edge cannot be said in a line");
    return t->what.transport == SL_EDGE_QUIC ? begin_quic(t, &trust) : begin_tls(t, &trust);
}

static struct sl_str copy(struct sl_str s)
{
    return sl_str(sl_strndup(s.len > 0 ? s.p : "", s.len), s.len);
}

struct sl_edge_try *sl_edge_try_new(struct sl_loop *loop, struct sl_dns *dns,
                                    const struct sl_edge_attempt *what, uint32_t idle_ms,
                                    const struct sl_edge_try_handler *handler, void *user)
{
    struct sl_edge_try *t = sl_zalloc(sizeof(*t));

    t->handler = handler;
    t->user = user;
    t->loop = loop;
    t->dns = dns;
    t->idle_ms = idle_ms;
    t->what = *what;
    t->what.host = copy(what->host);
    t->what.id = copy(what->id);
    t->what.secret = copy(what->secret);
    t->what.ca_file = copy(what->ca_file);
    t->what.server_name = copy(what->server_name);
    if (what->timeout_ms == 0)
        t->what.timeout_ms = DEFAULT_TIMEOUT_MS;
    sl_greeter_init(&t->greeter, loop, &greeter_handler);
    sl_deadline_init(&t->deadline, loop, on_late, t);
    sl_deadline_set(&t->deadline, t->what.timeout_ms);
    if (begin(t) < 0)
        sl_loop_soon(loop, &t->later, cannot_begin, t);
    t->has_pin = what->pin != NULL;
    t->what.pin = NULL; /* the context has it; the caller's bytes may go */
    return t;
}

static void destroy(void *ptr)
{
    struct sl_edge_try *t = ptr;

    sl_free((char *)t->what.host.p);
    sl_free((char *)t->what.id.p);
    OPENSSL_cleanse((char *)t->what.secret.p, t->what.secret.len);
    sl_free((char *)t->what.secret.p);
    sl_free((char *)t->what.ca_file.p);
    sl_free((char *)t->what.server_name.p);
    sl_tls_client_free(t->tls);
    sl_quic_tls_free(t->quic_tls);
    sl_free(t);
}

void sl_edge_try_free(struct sl_edge_try *t)
{
    if (t == NULL)
        return;
    if (t->query != NULL)
        sl_dns_cancel(t->query);
    t->query = NULL;
    sl_dial_cancel(&t->dial);
    sl_deadline_stop(&t->deadline);
    sl_loop_unsoon(&t->later);
    drop_endpoint(t);
    sl_loop_defer(t->loop, t, destroy);
}
