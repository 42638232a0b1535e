/*
 * The names that a certificate or a request is for: host names (also "*.example.com") and IP
 * addresses. For the files of this folder only.
 */
#ifndef SL_TLS_NAMES_H
#define SL_TLS_NAMES_H

#include <openssl/x509v3.h>
#include "base/error.h"
#include "base/str.h"

enum { SL_CERT_NAME_MAX = 253 };

/* The name as it stands in a certificate. 0, or SL_E_CONFIG when none can have it. */
int sl_name_clean(char text[SL_CERT_NAME_MAX + 1], struct sl_str name, bool *is_ip,
                  struct sl_err *err);
/* The subject alternative names, to be freed with GENERAL_NAMES_free(). 0, SL_E_CONFIG or SL_E_TLS.
 */
int sl_names_new(GENERAL_NAMES **out, const struct sl_str *names, size_t n, struct sl_err *err);

#endif
