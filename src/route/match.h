/*
 * Patterns: domain globs and path patterns, and how specific they are. Pure functions of strings,
 * any thread. The two that answer "does it match" are public and declared in route/snapshot.h.
 */
#ifndef SL_ROUTE_MATCH_H
#define SL_ROUTE_MATCH_H

#include <netinet/in.h>
#include "base/str.h"

/* The name as it is compared: without blanks around it and without a trailing dot. */
struct sl_str sl_domain_trim(struct sl_str name);
/* Is it an IPv6 address, in brackets or without? Then writes it as requests have it in their host:
   without brackets, in the one form that is canonical (RFC 5952). */
bool sl_domain_ipv6(struct sl_str name, char out[INET6_ADDRSTRLEN]);
/* Does the glob match the whole text? "*" is any run of characters; ASCII case is ignored. */
bool sl_glob_matches(struct sl_str glob, struct sl_str text);
/* Orders paths: 0 for a pattern that matches every path ("", "/", "*"), more for each literal
   character, and for one that has to match to the end. */
unsigned sl_path_specificity(struct sl_str pattern);

#endif
