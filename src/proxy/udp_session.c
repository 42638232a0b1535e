#include "proxy/udp.h"

static void on_datagram(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    sl_flow_from_visitor(s->user, &(struct sl_datagrams){bytes, len, len});
}

static void on_closed(struct sl_session *s)
{
    sl_flow_end(s->user, NULL);
}

static const struct sl_session_handler session_handler = {on_datagram, on_closed};

void sl_proxy_take_session(struct sl_proxy *p, struct sl_session **session,
                           const struct sl_tunnelled *from)
{
    struct sl_flow *f = sl_flow_new(p->flows, from);

    f->visitor.session = *session;
    *session = NULL;
    f->visitor.session->handler = &session_handler;
    f->visitor.session->user = f;
    (void)sl_flow_begin(f);
}
