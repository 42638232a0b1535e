/*
 * Takes an absolute http or https URL apart, for clients. A pure function of the text; nothing is
 * copied or decoded.
 *
 *     if (sl_url_parse(SL_STR("https://example.com/a?b"), &url) == 0)
 *         connect(url.host, url.port);
 */
#ifndef SL_SCRIPT_URL_H
#define SL_SCRIPT_URL_H

#include "base/error.h"
#include "base/str.h"

struct sl_url {
    bool is_tls;
    struct sl_str authority; /* as written: host and port */
    struct sl_str host;      /* without port and brackets */
    uint16_t port;           /* 80 or 443 where none is written */
    struct sl_str path;      /* at least "/" */
    struct sl_str query;     /* without "?"; p == NULL when there is none */
};

/* 0, or SL_E_CONFIG: another scheme, user information, a bad host or port, blanks or control bytes.
 * A fragment is dropped. */
int sl_url_parse(struct sl_str text, struct sl_url *out);

#endif
