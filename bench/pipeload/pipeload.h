/*
 * pipeload: both ends of a benchmark of something that carries bytes (a tunnel, a TCP proxy): an
 * origin, and clients that say how much came through, and how fast. Both cost so little beside what
 * is measured that they do not limit it: bytes are neither made nor looked at.
 *
 * The origin does what the first line of a connection says, after a PROXY v1 line if there is one:
 * "down" sends for ever, "echo" sends back what comes. It echoes datagrams on the same port, those
 * that are a PROXY v2 header left out.
 */
#ifndef SL_BENCH_PIPELOAD_H
#define SL_BENCH_PIPELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
    uint16_t port;
    unsigned n_bulk, n_echo; /* connections of each kind */
    unsigned every_ms;       /* an echo connection asks so often; 0: as soon as it has its answer */
    unsigned size;           /* bytes of an echo, or of a datagram */
    unsigned rate;           /* datagrams per second */
    double seconds;
    bool holds; /* each connection gets one echo; then all are kept until stdin ends */
};

/* Serves for ever. */
int serve(const struct options *o);
/* Puts streams on the port, prints one line of JSON. 0, or 1 when connections failed. */
int load_streams(const struct options *o);
/* The same with datagrams from n_echo sources. */
int load_datagrams(const struct options *o);

/* Ends the program with a message and errno. */
_Noreturn void die(const char *what);
/* A TCP or UDP socket that does not block: bound to, or connected to, the port of 127.0.0.1. */
int open_bound(int type, uint16_t port);
int open_connected(int type, uint16_t port);
void watch(int epoll, int op, int fd, uint32_t events, void *what);
uint64_t now_us(void);

#endif
