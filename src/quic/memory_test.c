/* What an idle connection costs a server: the connection object, ngtcp2's and the keys. */
#include <malloc.h>
#include "quic/test_world.h"

enum { CONNS = 500, MOST = 34 * 1024 };

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

static void drop_client(struct test_world *w)
{
    test_node(w->client)->is_cut = true;
    sl_quic_endpoint_free(w->client);
    test_net_settle(&w->net);
    w->client = NULL;
}

static void test_idle_memory(void)
{
    struct test_world w;
    struct test_peer *peers = sl_zalloc(CONNS * sizeof(*peers));
    size_t before, each;

    test_world_init(&w, 1);
    w.server_settings.max_handshakes = w.server_settings.retry_above = CONNS + 1;
    w.server_settings.idle_timeout = w.client_settings.idle_timeout = 600 * 1000;
    test_world_begin(&w);
    sl_check(test_world_shake(&w) && test_world_echo(&w, 10000, 1000)); /* what is made once */
    before = in_use();
    for (int i = 0; i < CONNS; i++) {
        test_peer_init(&peers[i]);
        test_world_connect_as(&w, &peers[i], "a.test");
        sl_check(test_net_run(&w.net, 1000, test_is_done, &peers[i]));
        w.client_peer.conn = peers[i].conn;
    }
    (void)test_net_run(&w.net, 30000, NULL, NULL);
    drop_client(&w);
    sl_check(sl_quic_endpoint_conns(w.server) == CONNS + 1);
    each = (in_use() - before) / CONNS;
    fprintf(stderr, "%zu bytes for an idle connection\n", each);
#if !defined(SLUICE_ASAN) && !defined(SLUICE_TSAN)
    sl_check(each <= MOST);
#endif
    test_world_end(&w);
    for (int i = 0; i < CONNS; i++)
        test_peer_clear(&peers[i]);
    sl_free(peers);
}

int main(void)
{
    test_idle_memory();
    return sl_check_done();
}
