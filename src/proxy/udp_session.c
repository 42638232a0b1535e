/* UDP sessions of a hub. */
#include "proxy/udp.h"

void sl_proxy_take_session(struct sl_proxy *p SL_UNUSED, struct sl_session **session,
                           const struct sl_tunnelled *from SL_UNUSED)
{
    sl_session_free(session);
}
