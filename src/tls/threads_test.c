/* Workers share contexts, certificates and ticket keys: several threads, each with a loop of its
 * own, shake hands at the same time. What goes wrong here shows under the thread sanitizer. */
#include <pthread.h>
#include "tls/test_link.h"

enum { THREADS = 4, CONNECTIONS = 25 };

static struct sl_tls_server *server;
static struct sl_tls_client *client;

/* One connection with a name that others use, too, and a byte both ways. True when all of it
 * worked. */
static bool connect_once(int i)
{
    struct link l;
    const struct sl_tls_accept accept = {link_on_hello, &l};
    char name[32];
    bool ok;

    link_begin(&l, 1 << 16);
    sl_cert_unref(l.cert);
    snprintf(name, sizeof(name), "n%d.example", i % 5);
    ok = sl_cert_self_signed(&l.cert, sl_str_c(name), NULL) == 0;
    l.server.stream = sl_tls_accept(&l.ends[0], server, &accept, &side_handler, &l.server, NULL, 0);
    l.client.stream = sl_tls_connect(&l.ends[1], client, sl_str_c(name), &side_handler, &l.client);
    settle(&l);
    ok = ok && l.server.n_ready == 1 && l.client.n_ready == 1;
    if (ok) {
        sl_stream_write1(l.client.stream, "ping", 4, true);
        settle(&l);
        ok = sl_str_eq(got(&l.server), SL_STR("ping")) && l.server.n_fin == 1;
    }
    link_end(&l);
    return ok;
}

static void *run(void *failed)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (!connect_once(i))
            return failed;
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    void *failed;

    sl_assert(sl_tls_server_new(&server, &(struct sl_tls_server_opts){0}, NULL) == 0);
    sl_assert(sl_tls_client_new(&client, &(struct sl_tls_client_opts){0}, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        sl_assert(pthread_create(&threads[i], NULL, run, threads) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &failed);
        sl_check(failed == NULL);
    }
    sl_tls_server_free(server);
    sl_tls_client_free(client);
    return sl_check_done();
}
