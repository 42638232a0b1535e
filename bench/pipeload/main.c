/*
 *     pipeload serve PORT
 *     pipeload streams PORT --bulk 1 --seconds 5
 *     pipeload streams PORT --bulk 16 --echo 1 --every 10 --size 100 --seconds 5
 *     pipeload streams PORT --echo 10000 --hold
 *     pipeload datagrams PORT --echo 1000 --rate 100000 --size 100 --seconds 5
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "pipeload.h"

void die(const char *what)
{
    fprintf(stderr, "pipeload: %s: %s\n", what, strerror(errno));
    exit(2);
}

uint64_t now_us(void)
{
    return sl_clock_ns() / 1000;
}

void watch(int epoll, int op, int fd, uint32_t events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};

    if (epoll_ctl(epoll, op, fd, &event) < 0)
        die("epoll_ctl");
}

static int open_socket(int type)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, room = 8 << 20;

    if (fd < 0)
        die("socket");
    if (type == SOCK_DGRAM) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
        return fd; /* two that share an address would get each other's answers */
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int open_bound(int type, uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = open_socket(type);

    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        die("bind");
    if (type == SOCK_STREAM && listen(fd, 4096) < 0)
        die("listen");
    return fd;
}

int open_connected(int type, uint16_t port)
{
    struct sockaddr_in at = loopback(port);
    int fd = open_socket(type);

    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 && errno != EINPROGRESS)
        die("connect");
    return fd;
}

static const struct option long_options[] = {
    {"bulk", required_argument, NULL, 'b'},    {"echo", required_argument, NULL, 'e'},
    {"every", required_argument, NULL, 'v'},   {"size", required_argument, NULL, 's'},
    {"rate", required_argument, NULL, 'r'},    {"hold", no_argument, NULL, 'h'},
    {"seconds", required_argument, NULL, 'D'}, {NULL, 0, NULL, 0},
};

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

static void take_option(struct options *o, int name)
{
    if (name == 'b')
        o->n_bulk = number(optarg);
    else if (name == 'e')
        o->n_echo = number(optarg);
    else if (name == 'v')
        o->every_ms = number(optarg);
    else if (name == 's')
        o->size = number(optarg);
    else if (name == 'r')
        o->rate = number(optarg);
    else if (name == 'h')
        o->holds = true;
    else if (name == 'D')
        o->seconds = strtod(optarg, NULL);
    else
        exit(2);
}

int main(int argc, char **argv)
{
    struct options o = {.size = 1, .rate = 1000, .seconds = 5};
    int name;

    signal(SIGPIPE, SIG_IGN);
    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        take_option(&o, name);
    if (argc - optind == 2) {
        o.port = (uint16_t)number(argv[optind + 1]);
        if (strcmp(argv[optind], "serve") == 0)
            return serve(&o);
        if (strcmp(argv[optind], "streams") == 0)
            return load_streams(&o);
        if (strcmp(argv[optind], "datagrams") == 0)
            return load_datagrams(&o);
    }
    fprintf(stderr, "usage: pipeload serve|streams|datagrams PORT [OPTIONS]\n");
    return 2;
}
