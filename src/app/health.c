#include "app/health.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_S = 5 };

struct parts {
    char host[256], port[8], path[512];
};

static int split(const char *url, struct parts *out)
{
    int used = 0;

    if (strncmp(url, "http://", 7) != 0 || sscanf(url + 7, "%255[^:/]%n", out->host, &used) != 1)
        return -1;
    url += 7 + used;
    snprintf(out->port, sizeof(out->port), "80");
    if (*url == ':') {
        if (sscanf(url, ":%7[0-9]%n", out->port, &used) != 1)
            return -1;
        url += used;
    }
    return snprintf(out->path, sizeof(out->path), "%s", *url == '/' ? url : "/") <
                   (int)sizeof(out->path)
               ? 0
               : -1;
}

static int connect_to(const struct parts *to)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval timeout = {TIMEOUT_S, 0};
    int fd = -1;

    if (getaddrinfo(to->host, to->port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

/* The status of the answer, or -1. */
static int ask(int fd, const struct parts *what)
{
    char text[1024];
    int status, n = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", what->path,
                             what->host);
    ssize_t got;

    if (n >= (int)sizeof(text) || send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        return -1;
    got = recv(fd, text, sizeof(text) - 1, MSG_WAITALL);
    if (got <= 0)
        return -1;
    text[got] = '\0';
    return sscanf(text, "HTTP/1.%*d %d", &status) == 1 ? status : -1;
}

int sl_health(const char *url)
{
    struct parts parts;
    int fd, status;

    if (split(url, &parts) < 0) {
        fprintf(stderr, "sluice health: %s is not a URL like http://127.0.0.1:3000/health\n", url);
        return 1;
    }
    fd = connect_to(&parts);
    if (fd < 0) {
        fprintf(stderr, "sluice health: cannot connect to %s port %s\n", parts.host, parts.port);
        return 1;
    }
    status = ask(fd, &parts);
    close(fd);
    if (status >= 200 && status < 300)
        return 0;
    fprintf(stderr, "sluice health: %s answered %d\n", url, status);
    return 1;
}
