/*
 * Dialling: from a name and a port to a stream that is ready, by way of DNS, one address after the
 * other, an optional preface (a PROXY header) and optional TLS. Not for a stream that exists
 * already.
 *
 * Owner: whoever embeds it; one thread. on_ready() and on_failed() come from the loop, never inside
 * sl_dial_start(), and once. After sl_dial_cancel() neither comes. The timeout covers everything
 * from the name to the TLS handshake.
 *
 *     sl_dial_start(&d, &(struct sl_dial_opts){.loop = loop, .dns = dns, .host = SL_STR("app"),
 * .port = 80, .timeout_ms = 5000}, on_ready, on_failed, user);
 */
#ifndef SL_TLS_DIAL_H
#define SL_TLS_DIAL_H

#include "net/dns.h"
#include "net/stream.h"
#include "tls/context.h"

struct sl_dial;

typedef void sl_on_dialled(struct sl_dial *d, struct sl_stream **stream);
/* `detail`: a TLS reason or the like, or NULL; valid during the call. */
typedef void sl_on_dial_failed(struct sl_dial *d, int code, const char *detail);

/* Strings must live until the dialling ends. */
struct sl_dial_opts {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_str host, unix_path; /* unix_path instead of host and port */
    uint16_t port;
    uint32_t timeout_ms; /* 0: none */
    const void *preface;
    size_t preface_len;
    struct sl_tls_client *tls; /* NULL: no TLS */
    struct sl_str server_name; /* empty: host */
};

struct sl_dial {
    struct sl_dial_opts opts;
    sl_on_dialled *on_ready;
    sl_on_dial_failed *on_failed;
    void *user;
    struct sl_dns_query *query;
    struct sl_dns_answer *answer; /* while addresses are tried */
    int next_addr, failure;
    bool is_resolving;
    const char *detail;
    struct sl_stream *stream;
    struct sl_deadline deadline;
    struct sl_task_link failing;
};

void sl_dial_start(struct sl_dial *d, const struct sl_dial_opts *opts, sl_on_dialled *on_ready,
                   sl_on_dial_failed *on_failed, void *user);
/* At any time; also after the end. A zeroed struct is legal. */
void sl_dial_cancel(struct sl_dial *d);

#endif
