/*
 * Socket addresses: IPv4, IPv6 and Unix paths, by value. No name resolution (net/dns.h).
 */
#ifndef SL_NET_ADDR_H
#define SL_NET_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include "base/error.h"
#include "base/str.h"

struct sl_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
};

enum { SL_ADDR_TEXT_LEN = 64 };

/* A literal IPv4 or IPv6 address (brackets allowed) and a port. 0, or SL_E_CONFIG when `ip` is not
 * one. */
int sl_addr_parse(struct sl_addr *out, struct sl_str ip, uint16_t port);
int sl_addr_from_sockaddr(struct sl_addr *out, const struct sockaddr *sa, socklen_t len);
socklen_t sl_addr_len(const struct sl_addr *a);
uint16_t sl_addr_port(const struct sl_addr *a);
void sl_addr_set_port(struct sl_addr *a, uint16_t port);
bool sl_addr_eq(const struct sl_addr *a, const struct sl_addr *b);
/* The IP alone, IPv4-mapped IPv6 as IPv4; returns `out` (SL_ADDR_TEXT_LEN bytes). */
const char *sl_addr_ip(const struct sl_addr *a, char *out);
/* "1.2.3.4:80", "[::1]:80". */
const char *sl_addr_text(const struct sl_addr *a, char *out);
/* The 16 bytes of the address, IPv4 as ::ffff:a.b.c.d: the form in which access lists compare. */
void sl_addr_to_ip16(const struct sl_addr *a, uint8_t out[16]);
/* The reverse: ::ffff:a.b.c.d becomes IPv4. */
void sl_addr_from_ip16(struct sl_addr *out, const uint8_t ip[16], uint16_t port);
bool sl_addr_is_loopback(const struct sl_addr *a);

#endif
