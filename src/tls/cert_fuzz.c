#include <stdint.h>
#include "tls/cert.h"

/* Two texts, split at the first NUL: what an operator may have put into a field of the
 * configuration. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_str all = sl_str((const char *)data, size), cert = all, key = all;
    const char *split = size > 0 ? memchr(data, '\0', size) : NULL;
    struct sl_err err = {0};
    struct sl_cert *c;

    if (split != NULL) {
        cert.len = (size_t)(split - all.p);
        key = sl_str(split + 1, all.len - cert.len - 1);
    }
    if (sl_cert_from_pem(&c, cert, key, &err) == 0)
        sl_cert_unref(c);
    else
        sl_assert(err.code == SL_E_CONFIG && err.text[0] != '\0');
    return 0;
}
