/*
 * The c-ares channel of a resolver on our loop: asks one question, knows no cache. Private to
 * net/dns.c.
 *
 * Owner: the resolver, on the loop's thread. Answers may come inside sl_dns_channel_ask() (from the
 * hosts file), else from the loop; each question is answered exactly once, at the latest by
 * sl_dns_channel_free() with SL_E_CANCELLED. A callback must not free the channel.
 *
 *     sl_dns_channel_ask(channel, "example.com", on_answer, entry);
 */
#ifndef SL_NET_DNS_CHANNEL_H
#define SL_NET_DNS_CHANNEL_H

#include "net/dns.h"

struct sl_dns_channel;

/* `ttl_s` is the smallest of the records, 0 for those of the hosts file. */
typedef void sl_on_dns_answer(void *user, const struct sl_dns_answer *answer, uint32_t ttl_s);

/* 0 or SL_E_CONFIG. */
int sl_dns_channel_new(struct sl_dns_channel **out, struct sl_loop *loop,
                       const struct sl_dns_opts *opts);
void sl_dns_channel_free(struct sl_dns_channel *c);
void sl_dns_channel_ask(struct sl_dns_channel *c, const char *name, sl_on_dns_answer *fn,
                        void *user);

/* Copies what is used of an answer, which is mostly room. */
static inline void sl_dns_answer_copy(struct sl_dns_answer *to, const struct sl_dns_answer *from)
{
    memcpy(to, from,
           offsetof(struct sl_dns_answer, addrs) + (size_t)from->n * sizeof(from->addrs[0]));
}

#endif
