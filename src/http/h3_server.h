/*
 * HTTP/3 (RFC 9114) on a QUIC connection: exchanges as in exchange.h.
 */
#ifndef SL_HTTP_H3_SERVER_H
#define SL_HTTP_H3_SERVER_H

#include "http/exchange.h"
#include "quic/quic.h"

/* The error with which a connection ends that broke no rule. */
enum { SL_H3_NO_ERROR = 0x100 };

/* Takes the connection over, in its on_ready() or earlier: app and user are HTTP/3's from here on.
 * `peer` must live until service->on_closed(). */
struct sl_http_conn *sl_h3_serve(struct sl_quic_conn *quic, const struct sl_http_service *service,
                                 const struct sl_peer *peer);

#endif
