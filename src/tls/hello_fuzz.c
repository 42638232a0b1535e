#include <stdlib.h>
#include "tls/hello.h"

/* A name that was taken is lower case without the trailing dot, and is taken again as it is. */
static void check_name(const char *name, size_t len)
{
    char ext[SL_HELLO_NAME_MAX + 6], again[SL_HELLO_NAME_MAX + 1];
    size_t n_again;

    sl_assert(len > 0 && len <= SL_HELLO_NAME_MAX && name[len] == '\0');
    for (size_t i = 0; i < len; i++)
        sl_assert(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", name[i]) != NULL);
    if (name[len - 1] == '.') /* there were two; only one is dropped */
        return;
    ext[0] = 0;
    ext[1] = (char)(len + 3);
    if (len + 3 > 255) {
        ext[0] = 1;
        ext[1] = (char)(len + 3 - 256);
    }
    ext[2] = ext[3] = 0;
    ext[4] = (char)len;
    memcpy(ext + 5, name, len);
    sl_assert(sl_hello_name(sl_str(ext, len + 5), again, &n_again) == 0);
    sl_assert(n_again == len && memcmp(again, name, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_str ext = sl_str((const char *)data, size), alpn;
    char name[SL_HELLO_NAME_MAX + 1];
    size_t len;

    if (sl_hello_name(ext, name, &len) == 0)
        check_name(name, len);
    alpn = sl_hello_alpn(ext);
    sl_assert(alpn.len <= size);
    sl_hello_offers(ext, 0x0304);
    return 0;
}
