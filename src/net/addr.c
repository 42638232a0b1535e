#include "net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

static int parse4(struct sl_addr *out, const char *text, uint16_t port)
{
    if (inet_pton(AF_INET, text, &out->in4.sin_addr) != 1)
        return SL_E_CONFIG;
    out->in4.sin_family = AF_INET;
    out->in4.sin_port = htons(port);
    return 0;
}

int sl_addr_parse(struct sl_addr *out, struct sl_str ip, uint16_t port)
{
    char text[INET6_ADDRSTRLEN];

    if (ip.len >= 2 && ip.p[0] == '[' && ip.p[ip.len - 1] == ']')
        ip = sl_str(ip.p + 1, ip.len - 2);
    if (ip.len == 0 || ip.len >= sizeof(text) || memchr(ip.p, '\0', ip.len) != NULL)
        return SL_E_CONFIG;
    memcpy(text, ip.p, ip.len);
    text[ip.len] = '\0';
    memset(out, 0, sizeof(*out));
    if (parse4(out, text, port) == 0)
        return 0;
    if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) != 1)
        return SL_E_CONFIG;
    out->in6.sin6_family = AF_INET6;
    out->in6.sin6_port = htons(port);
    return 0;
}

int sl_addr_from_sockaddr(struct sl_addr *out, const struct sockaddr *sa, socklen_t len)
{
    memset(out, 0, sizeof(*out));
    if (sa->sa_family == AF_INET && len >= sizeof(out->in4))
        memcpy(&out->in4, sa, sizeof(out->in4));
    else if (sa->sa_family == AF_INET6 && len >= sizeof(out->in6))
        memcpy(&out->in6, sa, sizeof(out->in6));
    else if (sa->sa_family == AF_UNIX)
        out->sa.sa_family = AF_UNIX;
    else
        return SL_E_CONFIG;
    return 0;
}

socklen_t sl_addr_len(const struct sl_addr *a)
{
    return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in4);
}

uint16_t sl_addr_port(const struct sl_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohs(a->in4.sin_port);
    return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void sl_addr_set_port(struct sl_addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET)
        a->in4.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

bool sl_addr_eq(const struct sl_addr *a, const struct sl_addr *b)
{
    uint8_t ip_a[16], ip_b[16];

    if (a->sa.sa_family != b->sa.sa_family || sl_addr_port(a) != sl_addr_port(b))
        return false;
    sl_addr_to_ip16(a, ip_a);
    sl_addr_to_ip16(b, ip_b);
    return memcmp(ip_a, ip_b, sizeof(ip_a)) == 0;
}

const char *sl_addr_ip(const struct sl_addr *a, char *out)
{
    if (a->sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &a->in4.sin_addr, out, SL_ADDR_TEXT_LEN);
    else if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        inet_ntop(AF_INET, a->in6.sin6_addr.s6_addr + 12, out, SL_ADDR_TEXT_LEN);
    else if (a->sa.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, out, SL_ADDR_TEXT_LEN);
    else
        snprintf(out, SL_ADDR_TEXT_LEN, "%s", a->sa.sa_family == AF_UNIX ? "unix" : "unknown");
    return out;
}

const char *sl_addr_text(const struct sl_addr *a, char *out)
{
    char ip[SL_ADDR_TEXT_LEN];

    sl_addr_ip(a, ip);
    if (a->sa.sa_family == AF_UNIX || a->sa.sa_family == AF_UNSPEC)
        snprintf(out, SL_ADDR_TEXT_LEN, "%s", ip);
    else
        snprintf(out, SL_ADDR_TEXT_LEN, strchr(ip, ':') ? "[%.48s]:%u" : "%.48s:%u", ip,
                 sl_addr_port(a));
    return out;
}

void sl_addr_to_ip16(const struct sl_addr *a, uint8_t out[16])
{
    memset(out, 0, 16);
    if (a->sa.sa_family == AF_INET6) {
        memcpy(out, a->in6.sin6_addr.s6_addr, 16);
    } else if (a->sa.sa_family == AF_INET) {
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &a->in4.sin_addr, 4);
    }
}

void sl_addr_from_ip16(struct sl_addr *out, const uint8_t ip[16], uint16_t port)
{
    struct in6_addr in6;

    memcpy(in6.s6_addr, ip, 16);
    memset(out, 0, sizeof(*out));
    if (IN6_IS_ADDR_V4MAPPED(&in6)) {
        out->in4.sin_family = AF_INET;
        memcpy(&out->in4.sin_addr, ip + 12, 4);
    } else {
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_addr = in6;
    }
    sl_addr_set_port(out, port);
}

bool sl_addr_is_loopback(const struct sl_addr *a)
{
    uint8_t ip[16];

    sl_addr_to_ip16(a, ip);
    if (a->sa.sa_family == AF_UNIX)
        return true;
    if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr))
        return true;
    return ip[10] == 0xff && ip[11] == 0xff && ip[12] == 127;
}
