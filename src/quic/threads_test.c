/* Workers share contexts, secrets, certificates and tickets. For the thread sanitizer. */
#include <pthread.h>
#include "quic/test_world.h"

enum { THREADS = 4, ROUNDS = 5 };

static struct sl_quic_tls *server_tls, *client_tls;

static void *work(void *arg)
{
    struct test_world w;
    bool *ok = arg;

    for (int i = 0; i < ROUNDS; i++) {
        test_world_init(&w, (uint64_t)i + 1);
        w.server_settings.retry_above = (uint32_t)(i % 2) * 100;
        test_world_begin_with(&w, sl_quic_tls_ref(server_tls), sl_quic_tls_ref(client_tls));
        *ok = test_world_shake(&w) && test_world_echo(&w, 10000, 5000) && *ok;
        test_world_end(&w);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    bool ok[THREADS];

    test_world_make_tls(&server_tls, &client_tls, false);
    for (int i = 0; i < THREADS; i++) {
        ok[i] = true;
        sl_assert(pthread_create(&threads[i], NULL, work, &ok[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        sl_check(ok[i]);
    }
    sl_quic_tls_free(server_tls);
    sl_quic_tls_free(client_tls);
    return sl_check_done();
}
