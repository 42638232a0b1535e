/* An edge and a hub on the loopback of this machine: TLS and QUIC, streams, sessions, links that
   come and go. */
#include "tunnel/test_ends.h"

static const enum sl_edge_transport transports[] = {SL_EDGE_TLS, SL_EDGE_QUIC};

static void set_up(void)
{
    world_begin();
    world_hub(&(struct sl_hub_opts){.refusal_ms = 1});
    world_listen();
    world_edges(1, &(struct sl_edge_opts){0});
}

static void a_stream_goes_both_ways(enum sl_edge_transport transport)
{
    struct holder *h;

    set_up();
    world_up(&edges[0], transport);
    sl_check(!edges[0].resumed && sl_edge_is_up(edges[0].edge));
    sl_check_str(sl_str_c(calls[0]), SL_STR("up e0"));
    sl_check(memmem(sl_buf_at(&edges[0].answer), sl_buf_len(&edges[0].answer),
                    "{\"listenPorts\":[443],", 21) == sl_buf_at(&edges[0].answer));
    h = visit(&edges[0]);
    say(h, "hello", true);
    run_until(loop, n_taken == 1 && taken[0]->got_fin);
    sl_check(has(taken[0], "hello"));
    sl_check(last_from.has_addresses && last_from.to_port == 443 && last_from.from_port == 5555);
    say(taken[0], "and back", true);
    run_until(loop, h->got_fin);
    sl_check(has(h, "and back"));
    let_go(&h);
    let_go(&taken[0]);
    run_until(loop, n_closed == 1);
    sl_check(n_opened == 1);
    world_end();
}

int main(void)
{
    for (size_t i = 0; i < SL_COUNT(transports); i++) {
        a_stream_goes_both_ways(transports[i]);
    }
    return sl_check_done();
}
