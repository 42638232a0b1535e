/*
 * Streams on a connection that the test plays: what they tell it, whose turn it is, and whom they
 * hold up. Real connections are in stream_conformance_test.c and stream_loss_test.c.
 */
#include "quic/stream.h"

#include "base/check.h"

static struct sl_loop *loop;

enum { MAX_STREAMS = 16 };

/* What the streams asked of the connection; by stream number / 4. */
static struct fake {
    struct sl_quic_conn conn;
    struct sl_quic_streams *streams;
    void *stream[MAX_STREAMS];
    size_t n_stream_credit[MAX_STREAMS], n_conn_credit;
    unsigned shut[MAX_STREAMS];
    int n_wakes;
    int64_t next_id;
    int may_open;
} fake;

void sl_quic_wake(struct sl_quic_conn *c)
{
    sl_check(c == &fake.conn);
    fake.n_wakes++;
}

int sl_quic_open(struct sl_quic_conn *c, bool is_uni, int64_t *id)
{
    sl_check(c == &fake.conn && !is_uni);
    if (fake.may_open == 0)
        return SL_E_AGAIN;
    fake.may_open--;
    *id = fake.next_id;
    fake.next_id += 4;
    return 0;
}

void sl_quic_set_stream(struct sl_quic_conn *c, int64_t id, void *stream)
{
    sl_check(c == &fake.conn);
    fake.stream[id / 4] = stream;
}

void sl_quic_consume(struct sl_quic_conn *c, int64_t id, size_t n)
{
    sl_check(c == &fake.conn);
    fake.n_conn_credit += n;
    if (id >= 0)
        fake.n_stream_credit[id / 4] += n;
}

void sl_quic_consume_stream(struct sl_quic_conn *c, int64_t id, size_t n)
{
    sl_check(c == &fake.conn && id >= 0);
    fake.n_stream_credit[id / 4] += n;
}

void sl_quic_shut(struct sl_quic_conn *c, int64_t id, unsigned which, uint64_t error)
{
    sl_check(c == &fake.conn && error == SL_QUIC_STREAM_ABORTED);
    fake.shut[id / 4] |= which;
}

/* --- the owner of the streams --- */

static struct owner {
    struct sl_stream *accepted[MAX_STREAMS];
    int n_accepted, n_ready, n_more, n_datagrams, n_migrated, n_closed;
    size_t n_in;
    int n_data, n_fin, n_written, n_error, code;
    bool frees_on_data, pauses;
} owner;

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    owner.n_in += len;
    owner.n_data++;
    sl_check(len > 0 && len <= SL_SCRATCH_LEN);
    if (owner.pauses)
        sl_stream_read(s, false);
    if (owner.frees_on_data)
        sl_stream_free(&s, SL_CLOSE_ABORT);
}

static void on_fin(struct sl_stream *s)
{
    (void)s;
    owner.n_fin++;
}

static void on_written(struct sl_stream *s)
{
    (void)s;
    owner.n_written++;
}

static void on_error(struct sl_stream *s, int code)
{
    (void)s;
    owner.n_error++;
    owner.code = code;
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

static void on_ready(void *user)
{
    sl_check(user == &owner);
    owner.n_ready++;
}

static void on_stream(void *user, struct sl_stream *s)
{
    sl_check(user == &owner && !s->is_reading);
    sl_stream_set_handler(s, &stream_handler, NULL);
    owner.accepted[owner.n_accepted++] = s;
}

static void on_more_streams(void *user)
{
    (void)user;
    owner.n_more++;
}

static void on_datagram(void *user, const uint8_t *bytes, size_t len)
{
    (void)user;
    sl_check(len == 3 && memcmp(bytes, "abc", 3) == 0);
    owner.n_datagrams++;
}

static void on_migrated(void *user)
{
    (void)user;
    owner.n_migrated++;
}

static void on_closed(void *user, const struct sl_quic_end *end)
{
    (void)user;
    sl_check(end->code == SL_E_TIMEOUT);
    owner.n_closed++;
}

static const struct sl_quic_streams_handler handler = {on_ready,    on_stream,   on_more_streams,
                                                       on_datagram, on_migrated, on_closed};

static const struct sl_quic_app *const app = &sl_quic_streams_app;

static void begin(const struct sl_quic_streams_handler *h)
{
    memset(&fake, 0, sizeof(fake));
    memset(&owner, 0, sizeof(owner));
    fake.conn.loop = loop;
    fake.conn.user = fake.streams = sl_quic_streams_new(h, &owner);
    fake.may_open = MAX_STREAMS;
    sl_check(sl_quic_streams_conn(fake.streams) == NULL);
    app->on_ready(&fake.conn);
    sl_check(sl_quic_streams_conn(fake.streams) == &fake.conn);
}

static void turn(void)
{
    for (int i = 0; i < 5; i++)
        sl_loop_turn(loop, false);
}

/* The connection ends; then the streams that the test holds are freed. */
static void end(struct sl_stream **held, int n)
{
    struct sl_quic_end how = {.code = SL_E_TIMEOUT, .reason = "idle"};

    app->on_closed(&fake.conn, &how);
    turn();
    sl_check(owner.n_closed <= 1);
    for (int i = 0; i < n; i++)
        sl_stream_free(&held[i], SL_CLOSE_ABORT);
    turn();
}

static struct sl_stream *open_one(void)
{
    struct sl_stream *s = NULL;

    sl_check(sl_quic_stream_open(&s, fake.streams) == 0);
    sl_stream_set_handler(s, &stream_handler, NULL);
    return s;
}

static void arrive(struct sl_stream *s, size_t len, bool fin)
{
    static const uint8_t bytes[1 << 20];
    int64_t id = sl_quic_stream_id(s);

    app->on_stream_data(&fake.conn, id, fake.stream[id / 4], bytes, len, fin);
}

static void write_some(struct sl_stream *s, size_t len, bool fin, int want)
{
    static const uint8_t bytes[1 << 20];

    sl_check(sl_stream_write1(s, bytes, len, fin) == want);
}

/* One packet of at most `max` bytes is written; the stream it was of, -1 for none. */
static int64_t send_packet(size_t max, size_t *n, bool *fin)
{
    struct sl_quic_chunk chunk = {0};
    size_t len = 0;

    *n = 0;
    *fin = false;
    if (!app->next(&fake.conn, &chunk))
        return -1;
    for (int i = 0; i < chunk.n_iov; i++)
        len += chunk.iov[i].iov_len;
    *n = SL_MIN(len, max);
    *fin = chunk.fin && len <= max;
    app->wrote(&fake.conn, chunk.stream_id, fake.stream[chunk.stream_id / 4], *n, *fin);
    return chunk.stream_id;
}

/* --- what is passed on --- */

static void events_of_the_connection_reach_the_owner(void)
{
    begin(&handler);
    sl_check(owner.n_ready == 1);
    app->on_more_streams(&fake.conn);
    app->on_datagram(&fake.conn, (const uint8_t *)"abc", 3);
    app->on_migrated(&fake.conn);
    sl_check(owner.n_more == 1 && owner.n_datagrams == 1 && owner.n_migrated == 1);
    fake.may_open = 0;
    {
        struct sl_stream *s;

        sl_check(sl_quic_stream_open(&s, fake.streams) == SL_E_AGAIN);
    }
    end(NULL, 0);
    sl_check(owner.n_closed == 1);
}

static void an_owner_that_wants_no_streams_refuses_them(void)
{
    static const struct sl_quic_streams_handler deaf = {.on_closed = on_closed};

    begin(&deaf);
    app->on_stream_open(&fake.conn, 4);
    sl_check(fake.shut[1] == (SL_QUIC_READ | SL_QUIC_WRITE) && fake.stream[1] == NULL);
    app->on_stream_data(&fake.conn, 4, NULL, (const uint8_t *)"abc", 3, true);
    sl_check(fake.n_conn_credit == 3);
    app->on_stream_stop(&fake.conn, 4, NULL, 1);
    app->on_stream_reset(&fake.conn, 4, NULL, 1);
    app->on_stream_closed(&fake.conn, 4, NULL, 1);
    app->on_more_streams(&fake.conn);
    app->on_datagram(&fake.conn, (const uint8_t *)"abc", 3);
    app->on_migrated(&fake.conn);
    end(NULL, 0);
}

static void streams_in_one_direction_are_refused(void)
{
    begin(&handler);
    app->on_stream_open(&fake.conn, 2);
    sl_check(fake.shut[0] == SL_QUIC_READ && owner.n_accepted == 0);
    end(NULL, 0);
}

static void never_connected(void)
{
    sl_quic_streams_free(sl_quic_streams_new(&handler, &owner));
    sl_quic_streams_free(NULL);
}

/* --- reading --- */

static void what_arrives_in_a_turn_comes_at_once(void)
{
    begin(&handler);
    app->on_stream_open(&fake.conn, 0);
    sl_check(owner.n_accepted == 1);
    sl_stream_read(owner.accepted[0], true);
    for (int i = 0; i < 10; i++)
        arrive(owner.accepted[0], 1000, i == 9);
    sl_check(owner.n_data == 0);
    turn();
    sl_check(owner.n_data == 1 && owner.n_in == 10000 && owner.n_fin == 1);
    sl_check(fake.n_stream_credit[0] == 10000 && fake.n_conn_credit == 10000);
    end(owner.accepted, 1);
}

static void a_paused_reader_keeps_its_own_window_alone(void)
{
    struct sl_stream *s;

    begin(&handler);
    s = open_one();
    arrive(s, 100000, false);
    turn();
    sl_check(fake.n_stream_credit[0] == 0); /* the peer may send no more on this one */
    sl_check(fake.n_conn_credit == 100000); /* but on the others */
    sl_stream_read(s, true);
    turn();
    sl_check(owner.n_in == 100000 && fake.n_stream_credit[0] == 100000);
    sl_check(fake.n_conn_credit == 100000);
    end(&s, 1);
}

/* Where all streams together hold too much, the window of the connection stays shut as well. */
static void what_all_hold_is_bounded(void)
{
    struct sl_stream *s[2];
    size_t total = 0;

    begin(&handler);
    for (int i = 0; i < 2; i++)
        s[i] = open_one();
    for (int i = 0; i < 30; i++, total += 1 << 20)
        arrive(s[i % 2], 1 << 20, false);
    sl_check(fake.n_conn_credit == SL_QUIC_STREAMS_HELD);
    sl_stream_read(s[0], true);
    turn();
    while (owner.n_in < total / 2)
        sl_loop_turn(loop, false);
    sl_check(fake.n_stream_credit[0] == total / 2 && fake.n_stream_credit[1] == 0);
    sl_check(fake.n_conn_credit > SL_QUIC_STREAMS_HELD && fake.n_conn_credit <= total);
    sl_stream_free(&s[0], SL_CLOSE_ABORT);
    sl_stream_free(&s[1], SL_CLOSE_ABORT); /* its bytes are thrown away, and paid */
    sl_check(fake.n_conn_credit == total && fake.n_stream_credit[1] == total / 2);
    end(NULL, 0);
}

static void freed_by_the_reader_the_rest_is_paid(void)
{
    struct sl_stream *s;

    begin(&handler);
    s = open_one();
    owner.frees_on_data = true;
    sl_stream_read(s, true);
    arrive(s, 300000, false);
    turn();
    sl_check(owner.n_data == 1 && owner.n_in < 300000);
    sl_check(fake.n_stream_credit[0] == 300000 && fake.n_conn_credit == 300000);
    sl_check(fake.shut[0] == (SL_QUIC_READ | SL_QUIC_WRITE));
    app->on_stream_data(&fake.conn, 0, fake.stream[0], (const uint8_t *)"late", 4, false);
    sl_check(fake.n_stream_credit[0] == 300004);
    app->on_stream_closed(&fake.conn, 0, fake.stream[0], 1);
    turn();
    end(NULL, 0);
}

static void a_long_batch_stops_when_the_reader_pauses(void)
{
    struct sl_stream *s;

    begin(&handler);
    s = open_one();
    owner.pauses = true;
    sl_stream_read(s, true);
    arrive(s, 300000, true);
    turn();
    sl_check(owner.n_data == 1 && owner.n_in == SL_SCRATCH_LEN && owner.n_fin == 0);
    sl_stream_read(s, true);
    turn();
    sl_stream_read(s, true);
    turn();
    sl_check(owner.n_data == 3 && owner.n_in == 300000 && owner.n_fin == 0);
    sl_stream_read(s, true);
    turn();
    sl_check(owner.n_fin == 1);
    end(&s, 1);
}

static void what_arrived_in_full_outlives_the_connection(void)
{
    struct sl_stream *s;
    size_t n;
    bool fin;

    begin(&handler);
    s = open_one();
    write_some(s, 10, true, 0);
    sl_check(send_packet(1200, &n, &fin) == 0 && fin);
    arrive(s, 5000, true);
    app->on_acked(&fake.conn, 0, fake.stream[0], 10);
    app->on_stream_closed(&fake.conn, 0, fake.stream[0], 0);
    end(NULL, 0);
    sl_check(owner.n_error == 0 && owner.n_in == 0);
    sl_stream_read(s, true);
    turn();
    sl_check(owner.n_in == 5000 && owner.n_fin == 1 && owner.n_error == 0);
    sl_stream_free(&s, SL_CLOSE_ABORT);
    turn();
}

/* --- writing --- */

static void streams_take_turns(void)
{
    struct sl_stream *s[3];
    int64_t last = -1;
    size_t n, sent[3] = {0};
    bool fin;
    int n_changes = 0;

    begin(&handler);
    for (int i = 0; i < 3; i++) {
        s[i] = open_one();
        write_some(s[i], 60000, true, 0);
    }
    for (int64_t id; (id = send_packet(1200, &n, &fin)) >= 0; last = id) {
        size_t least = SL_MIN(sent[0], SL_MIN(sent[1], sent[2]));

        n_changes += id != last;
        sent[id / 4] += n;
        sl_check(sent[id / 4] <= least + 2 * (16 * 1024 + 1200));
        sl_check(fin == (sent[id / 4] == 60000));
    }
    sl_check(sent[0] == 60000 && sent[1] == 60000 && sent[2] == 60000);
    sl_check(n_changes >= 9 && n_changes <= 15); /* fair, but not packet by packet */
    end(s, 3);
}

static void a_blocked_stream_is_passed_over(void)
{
    struct sl_stream *s[2];
    struct sl_quic_chunk chunk;
    size_t n;
    bool fin;

    begin(&handler);
    for (int i = 0; i < 2; i++) {
        s[i] = open_one();
        write_some(s[i], 100, false, 0);
    }
    sl_check(app->next(&fake.conn, &chunk) && chunk.stream_id == 0);
    app->blocked(&fake.conn, 0, fake.stream[0], false);
    sl_check(send_packet(1200, &n, &fin) == 4 && n == 100 && !fin);
    sl_check(send_packet(1200, &n, &fin) == -1);
    write_some(s[0], 50, false, 0);
    sl_check(send_packet(1200, &n, &fin) == -1);
    app->on_unblocked(&fake.conn, 0, fake.stream[0]);
    sl_check(send_packet(1200, &n, &fin) == 0 && n == 150);
    end(s, 2);
}

static void a_writer_waits_at_the_mark(void)
{
    struct sl_stream *s;
    size_t n;
    bool fin;

    begin(&handler);
    s = open_one();
    write_some(s, 0, false, 0);
    sl_check(fake.n_wakes == 0);
    write_some(s, SL_QUIC_STREAM_HIGH, false, 0);
    sl_check(fake.n_wakes == 1);
    write_some(s, 1, false, SL_E_AGAIN);
    while (owner.n_written == 0 && send_packet(1200, &n, &fin) == 0)
        turn();
    sl_check(owner.n_written == 1 && !s->is_writing);
    sl_check(send_packet(1200, &n, &fin) == 0); /* before all had left */
    write_some(s, 1000, true, 0);
    while (!fin && send_packet(1200, &n, &fin) == 0)
        turn();
    sl_check(fin && owner.n_written == 1);
    app->on_acked(&fake.conn, 0, fake.stream[0], SL_QUIC_STREAM_HIGH + 1001);
    end(&s, 1);
}

static void a_fin_alone_is_sent(void)
{
    struct sl_stream *s;
    size_t n;
    bool fin;

    begin(&handler);
    s = open_one();
    write_some(s, 10, false, 0);
    sl_check(send_packet(1200, &n, &fin) == 0 && !fin);
    write_some(s, 0, true, 0);
    sl_check(send_packet(1200, &n, &fin) == 0 && n == 0 && fin);
    sl_check(send_packet(1200, &n, &fin) == -1);
    end(&s, 1);
}

/* --- ends --- */

static void a_reset_is_an_error(void)
{
    struct sl_stream *s;

    begin(&handler);
    s = open_one();
    arrive(s, 100, false);
    app->on_stream_reset(&fake.conn, 0, fake.stream[0], 7);
    sl_check(owner.n_error == 0); /* not inside the call */
    turn();
    sl_check(owner.n_error == 1 && owner.code == SL_E_RESET);
    sl_check(fake.n_stream_credit[0] == 100);
    write_some(s, 1, false, SL_E_RESET);
    sl_stream_free(&s, SL_CLOSE_LINGER);
    sl_check(fake.shut[0] == (SL_QUIC_READ | SL_QUIC_WRITE));
    app->on_stream_closed(&fake.conn, 0, fake.stream[0], 7);
    turn();
    end(NULL, 0);
    sl_check(owner.n_error == 1);
}

static void who_is_stopped_cannot_write(void)
{
    struct sl_stream *s[2];

    begin(&handler);
    for (int i = 0; i < 2; i++)
        s[i] = open_one();
    write_some(s[0], 100, false, 0);
    write_some(s[1], 100, true, 0);
    app->on_stream_stop(&fake.conn, 0, fake.stream[0], 7);
    app->on_stream_stop(&fake.conn, 4, fake.stream[1], 7); /* has said all: hears the rest */
    turn();
    sl_check(owner.n_error == 1 && s[0]->error == SL_E_RESET && s[1]->error == 0);
    arrive(s[1], 10, true);
    sl_stream_read(s[1], true);
    turn();
    sl_check(owner.n_in == 10 && owner.n_fin == 1);
    end(s, 2);
}

static void the_end_of_the_connection_ends_what_is_open(void)
{
    struct sl_stream *s[3];

    begin(&handler);
    for (int i = 0; i < 3; i++)
        s[i] = open_one();
    write_some(s[0], 100, false, 0);
    arrive(s[1], 100, true);
    sl_stream_free(&s[2], SL_CLOSE_LINGER);
    end(s, 2);
    sl_check(owner.n_error == 2 && owner.code == SL_E_TIMEOUT);
}

static void who_lingers_is_patient_for_a_while(void)
{
    struct sl_stream *s;
    size_t n;
    bool fin;

    begin(&handler);
    s = open_one();
    write_some(s, 100, false, 0);
    arrive(s, 50, false);
    sl_stream_free(&s, SL_CLOSE_LINGER);
    sl_check(fake.shut[0] == 0 && fake.n_stream_credit[0] == 50);
    sl_check(send_packet(1200, &n, &fin) == 0 && n == 100 && fin);
    for (int i = 0; i < 2; i++) {
        static const uint8_t bytes[1 << 20];

        app->on_stream_data(&fake.conn, 0, fake.stream[0], bytes, sizeof(bytes), false);
    }
    sl_check(fake.shut[0] == SL_QUIC_READ && fake.n_stream_credit[0] == 50 + (2 << 20));
    sl_loop_skip(loop, 3000);
    app->on_acked(&fake.conn, 0, fake.stream[0], 60); /* it takes some: wait on */
    sl_loop_skip(loop, 4000);
    sl_check(fake.shut[0] == SL_QUIC_READ);
    sl_loop_skip(loop, 4000);
    sl_check(fake.shut[0] == (SL_QUIC_READ | SL_QUIC_WRITE));
    app->on_stream_closed(&fake.conn, 0, fake.stream[0], 1);
    turn();
    end(NULL, 0);
}

static void what_was_closed_by_both_is_no_error(void)
{
    struct sl_stream *s;
    size_t n;
    bool fin;

    begin(&handler);
    s = open_one();
    write_some(s, 100, true, 0);
    arrive(s, 100, true);
    sl_stream_read(s, true);
    turn();
    sl_check(owner.n_fin == 1);
    sl_stream_free(&s, SL_CLOSE_ABORT); /* what was said still goes out */
    sl_check(fake.shut[0] == 0);
    sl_check(send_packet(1200, &n, &fin) == 0 && n == 100 && fin);
    app->on_acked(&fake.conn, 0, fake.stream[0], 100);
    app->on_stream_closed(&fake.conn, 0, fake.stream[0], 0);
    turn();
    end(NULL, 0);
    sl_check(owner.n_error == 0);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    events_of_the_connection_reach_the_owner();
    an_owner_that_wants_no_streams_refuses_them();
    streams_in_one_direction_are_refused();
    never_connected();
    what_arrives_in_a_turn_comes_at_once();
    a_paused_reader_keeps_its_own_window_alone();
    what_all_hold_is_bounded();
    freed_by_the_reader_the_rest_is_paid();
    a_long_batch_stops_when_the_reader_pauses();
    what_arrived_in_full_outlives_the_connection();
    streams_take_turns();
    a_blocked_stream_is_passed_over();
    a_writer_waits_at_the_mark();
    a_fin_alone_is_sent();
    a_reset_is_an_error();
    who_is_stopped_cannot_write();
    the_end_of_the_connection_ends_what_is_open();
    who_lingers_is_patient_for_a_while();
    what_was_closed_by_both_is_no_error();
    sl_loop_free(loop);
    return sl_check_done();
}
