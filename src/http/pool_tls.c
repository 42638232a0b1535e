/* What calls over TLS trust and offer: contexts, made on first use and shared. */
#include <sys/stat.h>
#include "http/pool.h"

enum { MAX_TRUSTS = 64 }; /* kept with roots of their own */

static const char *const offers[SL_ALPN_COUNT] = {"\x08http/1.1", "\x02h2", "\x02h2\x08http/1.1"};

static int make(struct sl_tls_client **out, bool verify, const char *ca_file,
                enum sl_pool_alpn alpn)
{
    struct sl_tls_client_opts opts = {.verify = verify, .ca_file = ca_file, .alpn = offers[alpn]};

    return sl_tls_client_new(out, &opts, NULL);
}

int sl_pool_tls(struct sl_pool *p, bool verify, struct sl_tls_client **out)
{
    return sl_pool_tls_for(p, verify, SL_ALPN_HTTP1, out);
}

int sl_pool_tls_for(struct sl_pool *p, bool verify, enum sl_pool_alpn alpn,
                    struct sl_tls_client **out)
{
    int rc = p->tls[verify][alpn] == NULL ? make(&p->tls[verify][alpn], verify, NULL, alpn) : 0;

    *out = p->tls[verify][alpn];
    return rc;
}

/* --- roots from a file --- */

static void destroy(struct sl_pool_trust *t)
{
    sl_tls_client_free(t->tls);
    sl_free(t->ca_file);
    sl_free(t);
}

static void leave(struct sl_pool *p, struct sl_pool_trust *t)
{
    sl_link_remove(&t->link);
    p->n_trusts--;
    if (t->n_users == 0)
        destroy(t);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct sl_pool_trust *find(struct sl_pool *p, bool verify, const char *ca_file,
                                  enum sl_pool_alpn alpn, const struct stat *file)
{
    sl_list_each(&p->trusts, it)
    {
        struct sl_pool_trust *t = sl_container_of(it, struct sl_pool_trust, link);

        if (t->verify != verify || t->alpn != alpn || strcmp(t->ca_file, ca_file) != 0)
            continue;
        if (is_same_file(&t->file, file))
            return t;
        leave(p, t); /* it was replaced by other roots */
    }
    return NULL;
}

int sl_pool_trust_get(struct sl_pool *p, const struct sl_call_target *target,
                      enum sl_pool_alpn alpn, struct sl_pool_trust **out)
{
    struct stat file = {0};
    struct sl_pool_trust *t;
    struct sl_tls_client *tls;
    int rc;

    (void)stat(target->ca_file, &file); /* what cannot be read fails below */
    t = find(p, target->tls_verify, target->ca_file, alpn, &file);
    if (t != NULL) {
        sl_link_remove(&t->link);
    } else {
        if ((rc = make(&tls, target->tls_verify, target->ca_file, alpn)) < 0)
            return rc;
        t = sl_zalloc(sizeof(*t));
        *t = (struct sl_pool_trust){.tls = tls,
                                    .verify = target->tls_verify,
                                    .alpn = alpn,
                                    .ca_file = sl_strdup(target->ca_file),
                                    .file = file};
        p->n_trusts++;
    }
    sl_list_prepend(&p->trusts, &t->link);
    t->n_users++;
    if (p->n_trusts > MAX_TRUSTS)
        leave(p, sl_container_of(p->trusts.head.prev, struct sl_pool_trust, link));
    *out = t;
    return 0;
}

void sl_pool_trust_put(struct sl_pool_trust *t)
{
    if (t != NULL && --t->n_users == 0 && !sl_link_is_on(&t->link))
        destroy(t);
}

void sl_pool_tls_clear(struct sl_pool *p)
{
    for (int verify = 0; verify < 2; verify++) {
        for (int alpn = 0; alpn < SL_ALPN_COUNT; alpn++)
            sl_tls_client_free(p->tls[verify][alpn]);
    }
    for (struct sl_link *it; (it = sl_list_first(&p->trusts)) != NULL;)
        leave(p, sl_container_of(it, struct sl_pool_trust, link));
}
