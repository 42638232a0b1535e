/* Sockets on one port: which of them gets a datagram? They are so many that 10 is one of them,
 * which is the second byte of a PROXY header. */
#include "quic/steer.h"

#include <poll.h>
#include <unistd.h>
#include "base/check.h"
#include "net/udp.h"

enum { N = 12, WAIT_MS = 10000 };

static struct sl_addr at;
static int group[N], sender;

/* Sends one datagram; the number of the socket that got it, -1 for none. */
static int land(const void *bytes, size_t len)
{
    struct pollfd fds[N];
    uint8_t got[64];
    int n = -1;

    for (int i = 0; i < N; i++)
        fds[i] = (struct pollfd){.fd = group[i], .events = POLLIN};
    sl_check(sendto(sender, bytes, len, 0, &at.sa, sl_addr_len(&at)) == (ssize_t)len);
    sl_check(poll(fds, N, WAIT_MS) == 1);
    for (int i = 0; i < N; i++) {
        if (!(fds[i].revents & POLLIN))
            continue;
        sl_check(recv(group[i], got, sizeof(got), 0) == (ssize_t)len);
        sl_check(memcmp(got, bytes, len) == 0);
        n = i;
    }
    return n;
}

static int land_short(uint8_t flags, uint8_t worker)
{
    uint8_t p[32] = {flags, worker, 9, 9};

    return land(p, sizeof(p));
}

/* `type`: 0 Initial, 1 0-RTT, 2 Handshake, 3 Retry, as version 1 has them. */
static int land_long(uint8_t type, uint32_t version, uint8_t id_len, uint8_t worker)
{
    uint8_t p[48] = {(uint8_t)(0xc0 | type << 4),
                     (uint8_t)(version >> 24),
                     (uint8_t)(version >> 16),
                     (uint8_t)(version >> 8),
                     (uint8_t)version,
                     id_len,
                     worker};

    return land(p, sizeof(p));
}

static void our_ids_find_their_worker(void)
{
    for (uint8_t worker = 0; worker < N; worker++) {
        sl_check(land_short(0x40, worker) == worker);
        sl_check(land_short(0x7f, worker) == worker); /* protected bits are noise */
        sl_check(land_short(0x00, worker) == worker);
        sl_check(land_long(2, 1, 8, worker) == worker);
        sl_check(land_long(2, 1, 20, worker) == worker);
    }
}

/* Everything here lands on one socket, the one of the hash, whatever the byte says. */
static void the_rest_goes_by_the_hash(void)
{
    int hash = land_long(0, 1, 8, 0);

    for (int worker = 0; worker < 256; worker += worker < N ? 1 : 17) {
        for (uint8_t type = 0; type < 4; type++) {
            sl_check(type == 2 || land_long(type, 1, 8, (uint8_t)worker) == hash);
            sl_check(land_long(type, 0x6b3343cf, 8, (uint8_t)worker) == hash);
            sl_check(land_long(type, 0, 8, (uint8_t)worker) == hash);
        }
        sl_check(land_long(2, 1, 0, (uint8_t)worker) == hash);
        if (worker < N)
            continue;
        sl_check(land_short(0x40, (uint8_t)worker) == hash); /* no such worker */
        sl_check(land_long(2, 1, 8, (uint8_t)worker) == hash);
    }
}

/* With the Initial from the same address, which it is about. */
static void proxy_headers_go_by_the_hash(void)
{
    static const uint8_t header[28] = "\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c";

    sl_check(land(header, sizeof(header)) == land_long(0, 1, 8, 0));
}

static void what_is_too_short_goes_by_the_hash(void)
{
    int hash = land_long(0, 1, 8, 0);
    uint8_t p[7] = {0x40, 0};

    for (size_t len = 0; len < sizeof(p); len++) {
        for (p[1] = 0; p[1] < N; p[1]++) {
            p[0] = 0x40;
            sl_check(land(p, len) == hash);
            p[0] = 0xe0;
            sl_check(land(p, len) == hash);
        }
    }
    p[0] = 0x40;
    for (p[1] = 0; p[1] < N; p[1]++)
        sl_check(land(p, sizeof(p)) == p[1]);
}

/* With fewer workers than sockets (another program is binding the same port) only theirs count. */
static void workers_beyond_the_number_go_by_the_hash(void)
{
    int hash;

    sl_check(sl_quic_steer(group[0], 2) == 0);
    hash = land_long(0, 1, 8, 0);
    sl_check(land_short(0x40, 0) == 0 && land_short(0x40, 1) == 1);
    sl_check(land_short(0x40, 2) == hash && land_short(0x40, 3) == hash);
}

static void run(const char *ip)
{
    struct sl_addr from;

    sl_assert(sl_addr_parse(&at, sl_str_c(ip), 0) == 0);
    from = at;
    for (int i = 0; i < N; i++)
        sl_assert(sl_socket_bind_udp(&group[i], &at, true, NULL) == 0);
    sl_assert(sl_socket_bind_udp(&sender, &from, false, NULL) == 0);
    sl_check(sl_quic_steer(group[N - 1], N) == 0);
    our_ids_find_their_worker();
    the_rest_goes_by_the_hash();
    proxy_headers_go_by_the_hash();
    what_is_too_short_goes_by_the_hash();
    workers_beyond_the_number_go_by_the_hash();
    for (int i = 0; i < N; i++)
        close(group[i]);
    close(sender);
}

int main(void)
{
    int fd = -1;

    run("127.0.0.1");
    run("::1");
    sl_check(sl_quic_steer(fd, 1) < 0);
    return sl_check_done();
}
