/* Any datagram, as the answer to a question whose id it begins with: never more than an address. */
#include "codec/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const uint8_t id[SL_STUN_ID_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    uint8_t ip[16], *copy;
    uint16_t port;
    int rc;

    if (len < SL_STUN_REQUEST_LEN || len > SL_STUN_RESPONSE_MAX + 1)
        return 0;
    copy = sl_alloc(len);
    memcpy(copy, bytes, len);
    sl_stun_request(copy, id); /* type and length stay the input's */
    memcpy(copy, bytes, 4);
    rc = sl_stun_response(copy, len, id, ip, &port);
    sl_assert(rc == 0 || rc == SL_E_NOT_FOUND || rc == SL_E_REFUSED || rc == SL_E_PROTOCOL);
    sl_free(copy);
    return 0;
}
