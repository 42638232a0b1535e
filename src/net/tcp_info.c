/* Apart from tcp.c, because the kernel's header and the C library's cannot be included together. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "net/tcp.h"

/* 0 when the kernel knows all up to the byte `wanted`. */
static int get_info(const struct sl_stream *s, struct tcp_info *info, socklen_t wanted)
{
    socklen_t len = sizeof(*info);
    int fd = sl_tcp_fd(s);

    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) < 0 || len < wanted)
        return SL_E_SYSTEM;
    return 0;
}

int sl_tcp_acked(const struct sl_stream *s, uint64_t *bytes)
{
    struct tcp_info info = {0};

    if (get_info(s, &info,
                 offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked)) < 0)
        return SL_E_SYSTEM;
    *bytes = info.tcpi_bytes_acked > 0 ? info.tcpi_bytes_acked - 1 : 0; /* connecting counts, too */
    return 0;
}

int sl_tcp_rtt(const struct sl_stream *s, uint32_t *us)
{
    struct tcp_info info = {0};

    if (get_info(s, &info, offsetof(struct tcp_info, tcpi_rtt) + sizeof(info.tcpi_rtt)) < 0)
        return SL_E_SYSTEM;
    *us = info.tcpi_rtt;
    return 0;
}
