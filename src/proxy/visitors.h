/*
 * Connections per visitor address, over all workers: the limits of the global policy on how many
 * one address may hold and how fast it may open them. A sharded table; any thread.
 */
#ifndef SL_PROXY_VISITORS_H
#define SL_PROXY_VISITORS_H

#include "route/access.h"

/* May this visitor connect, by the access lists of the policy and by its limits? `*is_counted`: the
 * caller owes one sl_visitor_leave(). */
bool sl_visitor_admit(const uint8_t ip[16], const struct sl_policy *policy, uint64_t now_ms,
                      bool *is_counted);
/* Counts a new connection. True: within the limits of the policy; the caller owes one
 * sl_visitor_leave(). */
bool sl_visitor_enter(const uint8_t ip[16], const struct sl_policy *policy, uint64_t now_ms);
void sl_visitor_leave(const uint8_t ip[16]);

#endif
