#include "net/dns_channel.h"

#include <ares.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/time.h>

enum {
    TRY_TIMEOUT_MS = 2000,
    TRIES = 3,
    CONF_CHECK_MS = 5000, /* how often a changed resolv.conf is looked for */
};

static const char default_resolv_conf[] = "/etc/resolv.conf";

/* A socket of c-ares, watched for it. Freed at the end of the turn in which c-ares closes the
 * descriptor. */
struct ares_sock {
    struct sl_link link; /* in channel.socks */
    struct sl_watch watch;
    struct sl_dns_channel *channel;
};

struct sl_dns_channel {
    struct sl_loop *loop;
    ares_channel_t *ares;
    struct sl_timer timer;
    struct sl_list socks;
    unsigned n_asking;
    char *servers, *hosts_file, *resolv_conf;
    uint32_t try_timeout_ms, tries;
    uint64_t check_conf_at_ms;
    struct timespec conf_changed; /* the file's mtime when it was read */
};

/* One question in flight. */
struct question {
    struct sl_dns_channel *channel;
    sl_on_dns_answer *fn;
    void *user;
};

static void set_timer(struct sl_dns_channel *c)
{
    struct timeval tv, *left = ares_timeout(c->ares, NULL, &tv);

    if (left == NULL)
        sl_timer_clear(&c->timer);
    else
        sl_timer_set(&c->timer, (double)left->tv_sec * 1e3 + (double)left->tv_usec / 1e3);
}

static void on_ready(struct sl_watch *w, unsigned what)
{
    struct sl_dns_channel *c = w->user;
    int fd = w->fd; /* the watch may be gone after the first call */

    ares_process_fd(c->ares, what & SL_READ ? fd : ARES_SOCKET_BAD,
                    what & SL_WRITE ? fd : ARES_SOCKET_BAD);
    set_timer(c);
}

static void on_due(struct sl_timer *t)
{
    struct sl_dns_channel *c = t->user;

    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(c);
}

static struct ares_sock *find_sock(struct sl_dns_channel *c, int fd)
{
    sl_list_each(&c->socks, it)
    {
        struct ares_sock *s = sl_container_of(it, struct ares_sock, link);

        if (s->watch.fd == fd)
            return s;
    }
    return NULL;
}

static void drop_sock(struct ares_sock *s)
{
    sl_watch_set(&s->watch, 0);
    sl_link_remove(&s->link);
    sl_loop_defer(s->channel->loop, s, sl_free);
}

static struct ares_sock *add_sock(struct sl_dns_channel *c, int fd)
{
    struct ares_sock *s = sl_zalloc(sizeof(*s));

    s->channel = c;
    sl_watch_init(&s->watch, c->loop, fd, on_ready, c);
    sl_list_append(&c->socks, &s->link);
    return s;
}

static void on_sock_state(void *user, ares_socket_t fd, int readable, int writable)
{
    struct sl_dns_channel *c = user;
    struct ares_sock *s = find_sock(c, fd);

    if (!readable && !writable) {
        if (s != NULL)
            drop_sock(s);
        return;
    }
    if (s == NULL)
        s = add_sock(c, fd);
    sl_watch_set(&s->watch, (readable ? SL_READ : 0) | (writable ? SL_WRITE : 0));
}

static void init_library(void)
{
    int rc = ares_library_init(ARES_LIB_INIT_ALL);

    sl_assert(rc == ARES_SUCCESS);
}

static const char *conf_path(const struct sl_dns_channel *c)
{
    return c->resolv_conf != NULL ? c->resolv_conf : default_resolv_conf;
}

static struct timespec conf_mtime(const struct sl_dns_channel *c)
{
    struct stat st;

    return stat(conf_path(c), &st) == 0 ? st.st_mtim : (struct timespec){0};
}

/* The query cache of c-ares is off: it knows no stale answers, ours does. */
static int open_ares(struct sl_dns_channel *c)
{
    struct ares_options o = {
        .timeout = (int)c->try_timeout_ms,
        .tries = (int)c->tries,
        .sock_state_cb = on_sock_state,
        .sock_state_cb_data = c,
        .hosts_path = c->hosts_file,
        .resolvconf_path = c->resolv_conf,
        .qcache_max_ttl = 0,
    };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_QUERY_CACHE;

    mask |= c->hosts_file != NULL ? ARES_OPT_HOSTS_FILE : 0;
    mask |= c->resolv_conf != NULL ? ARES_OPT_RESOLVCONF : 0;
    c->conf_changed = conf_mtime(c);
    if (ares_init_options(&c->ares, &o, mask) != ARES_SUCCESS) {
        c->ares = NULL;
        return SL_E_CONFIG;
    }
    if (c->servers != NULL && ares_set_servers_ports_csv(c->ares, c->servers) != ARES_SUCCESS)
        return SL_E_CONFIG;
    return 0;
}

static void close_ares(struct sl_dns_channel *c)
{
    if (c->ares != NULL)
        ares_destroy(c->ares); /* answers what is in flight and reports every socket as closed */
    c->ares = NULL;
    sl_timer_clear(&c->timer);
}

int sl_dns_channel_new(struct sl_dns_channel **out, struct sl_loop *loop,
                       const struct sl_dns_opts *opts)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct sl_dns_channel *c = sl_zalloc(sizeof(*c));
    int rc;

    pthread_once(&once, init_library);
    c->loop = loop;
    c->servers = opts->servers != NULL ? sl_strdup(opts->servers) : NULL;
    c->hosts_file = opts->hosts_file != NULL ? sl_strdup(opts->hosts_file) : NULL;
    c->resolv_conf = opts->resolv_conf != NULL ? sl_strdup(opts->resolv_conf) : NULL;
    c->try_timeout_ms = opts->try_timeout_ms > 0 ? opts->try_timeout_ms : TRY_TIMEOUT_MS;
    c->tries = opts->tries > 0 ? opts->tries : TRIES;
    sl_list_init(&c->socks);
    sl_timer_init(&c->timer, loop, on_due, c);
    if ((rc = open_ares(c)) < 0) {
        sl_dns_channel_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void sl_dns_channel_free(struct sl_dns_channel *c)
{
    if (c == NULL)
        return;
    close_ares(c);
    sl_assert(sl_list_is_empty(&c->socks));
    sl_free(c->servers);
    sl_free(c->hosts_file);
    sl_free(c->resolv_conf);
    sl_free(c);
}

/* Takes a new resolv.conf by beginning anew, while nothing is in flight. (ares_reinit() would do it
   from a thread of its own and call on_sock_state() there.) A file that cannot be used leaves the
   channel closed until it can. */
static void follow_conf(struct sl_dns_channel *c)
{
    uint64_t now = sl_loop_now_ms(c->loop);
    struct timespec changed;

    if (c->ares != NULL && (c->servers != NULL || c->n_asking > 0 || now < c->check_conf_at_ms))
        return;
    c->check_conf_at_ms = now + CONF_CHECK_MS;
    changed = conf_mtime(c);
    if (c->ares != NULL && changed.tv_sec == c->conf_changed.tv_sec &&
        changed.tv_nsec == c->conf_changed.tv_nsec)
        return;
    close_ares(c);
    open_ares(c);
}

static int code_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return SL_E_NOT_FOUND; /* a success without an address ends here, too */
    case ARES_ETIMEOUT:
        return SL_E_TIMEOUT;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return SL_E_CANCELLED;
    default:
        return SL_E_UNREACHABLE;
    }
}

static uint32_t take_nodes(struct sl_dns_answer *answer, const struct ares_addrinfo *res)
{
    uint32_t ttl = UINT32_MAX;

    for (const struct ares_addrinfo_cname *c = res->cnames; c != NULL; c = c->next)
        ttl = SL_MIN(ttl, (uint32_t)SL_MAX(c->ttl, 0));
    for (const struct ares_addrinfo_node *n = res->nodes; n != NULL && answer->n < SL_DNS_MAX_ADDRS;
         n = n->ai_next) {
        if (sl_addr_from_sockaddr(&answer->addrs[answer->n], n->ai_addr, (socklen_t)n->ai_addrlen) <
            0)
            continue;
        answer->n++;
        ttl = SL_MIN(ttl, (uint32_t)SL_MAX(n->ai_ttl, 0));
    }
    return ttl;
}

static void on_addrinfo(void *arg, int status, int timeouts SL_UNUSED, struct ares_addrinfo *res)
{
    struct question q = *(struct question *)arg;
    struct sl_dns_answer answer = {.n = 0};
    uint32_t ttl = 0;

    sl_free(arg);
    q.channel->n_asking--;
    if (res != NULL) {
        if (status == ARES_SUCCESS)
            ttl = take_nodes(&answer, res);
        ares_freeaddrinfo(res);
    }
    answer.code = answer.n > 0 ? 0 : code_of(status);
    q.fn(q.user, &answer, ttl);
}

void sl_dns_channel_ask(struct sl_dns_channel *c, const char *name, sl_on_dns_answer *fn,
                        void *user)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};
    struct question *q;

    follow_conf(c);
    if (c->ares == NULL) {
        fn(user, &(struct sl_dns_answer){.code = SL_E_UNREACHABLE}, 0);
        return;
    }
    q = sl_alloc(sizeof(*q));
    *q = (struct question){c, fn, user};
    c->n_asking++;
    ares_getaddrinfo(c->ares, name, NULL, &hints, on_addrinfo, q);
    set_timer(c);
}
