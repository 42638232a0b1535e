#include "net/udp_batch.h"

enum { BATCH_LEN = 4 * SL_UDP_SEND_MAX, BATCH_MSGS = 128 };

struct sl_udp_batch {
    struct sl_loop *loop;
    struct sl_task_link task;
    uint8_t *bytes; /* BATCH_LEN of them, from the first datagram on */
    size_t len;
    int n;
    struct sl_udp *sockets[BATCH_MSGS];
    struct sl_udp_send msgs[BATCH_MSGS];
    struct {
        struct sl_addr remote, local;
    } addrs[BATCH_MSGS]; /* what the messages point to */
    uint64_t n_dropped;
};

struct sl_udp_batch *sl_udp_batch_new(struct sl_loop *loop)
{
    struct sl_udp_batch *b = sl_zalloc(sizeof(*b));

    b->loop = loop;
    return b;
}

void sl_udp_batch_free(struct sl_udp_batch *b)
{
    if (b == NULL)
        return;
    sl_udp_batch_flush(b);
    sl_free(b->bytes);
    sl_free(b);
}

static uint64_t count(const struct sl_udp_send *m)
{
    return m->segment > 0 ? (m->len + m->segment - 1) / m->segment : 1;
}

/* The messages from `first` to before `end` are for one socket. */
static void send_run(struct sl_udp_batch *b, int first, int end)
{
    int n = sl_udp_send(b->sockets[first], b->msgs + first, end - first, NULL);

    for (int i = first + n; i < end; i++)
        b->n_dropped += count(&b->msgs[i]);
}

void sl_udp_batch_flush(struct sl_udp_batch *b)
{
    int first = 0;

    sl_loop_unsoon(&b->task);
    for (int i = 1; i <= b->n; i++) {
        if (i == b->n || b->sockets[i] != b->sockets[first]) {
            send_run(b, first, i);
            first = i;
        }
    }
    b->n = 0;
    b->len = 0;
}

static void on_turn_end(void *user)
{
    sl_udp_batch_flush(user);
}

static bool is_same_place(const struct sl_addr *a, const struct sl_addr *b)
{
    return a == NULL || b == NULL ? a == b : sl_addr_eq(a, b);
}

/* Can the kernel cut both from one run of bytes? Only the last datagram of it may be shorter. */
static bool may_extend(const struct sl_udp_batch *b, const struct sl_udp *u,
                       const struct sl_udp_send *msg)
{
    const struct sl_udp_send *last;

    if (b->n == 0 || b->sockets[b->n - 1] != u)
        return false;
    last = &b->msgs[b->n - 1];
    if (last->segment == 0 || msg->len == 0)
        return false;
    return last->len % last->segment == 0 && last->ecn == msg->ecn &&
           (msg->segment == last->segment ||
            (msg->len < last->segment && msg->len <= msg->segment)) &&
           last->len + msg->len <= SL_MIN(SL_UDP_SEND_MAX, last->segment * SL_UDP_SEGMENTS_MAX) &&
           is_same_place(last->remote, msg->remote) && is_same_place(last->local, msg->local);
}

static void append(struct sl_udp_batch *b, struct sl_udp *u, const struct sl_udp_send *msg)
{
    struct sl_udp_send *m = &b->msgs[b->n];

    *m = *msg;
    m->bytes = b->bytes + b->len;
    if (msg->remote != NULL) {
        b->addrs[b->n].remote = *msg->remote;
        m->remote = &b->addrs[b->n].remote;
    }
    if (msg->local != NULL) {
        b->addrs[b->n].local = *msg->local;
        m->local = &b->addrs[b->n].local;
    }
    b->sockets[b->n++] = u;
}

static void add_piece(struct sl_udp_batch *b, struct sl_udp *u, const struct sl_udp_send *msg)
{
    if (b->bytes == NULL)
        b->bytes = sl_alloc(BATCH_LEN);
    if (b->n == BATCH_MSGS || msg->len > BATCH_LEN - b->len)
        sl_udp_batch_flush(b);
    sl_loop_soon(b->loop, &b->task, on_turn_end, b);
    if (may_extend(b, u, msg))
        b->msgs[b->n - 1].len += msg->len;
    else
        append(b, u, msg);
    memcpy(b->bytes + b->len, msg->bytes, msg->len);
    b->len += msg->len;
}

/* How much of it one message takes: whole datagrams. */
static size_t piece_len(const struct sl_udp_send *msg)
{
    size_t n = msg->segment > 0 ? SL_MIN(SL_UDP_SEND_MAX / msg->segment, SL_UDP_SEGMENTS_MAX) : 1;

    return SL_MIN(msg->len, SL_MAX(n, 1) * msg->segment);
}

void sl_udp_batch_add(struct sl_udp_batch *b, struct sl_udp *u, const struct sl_udp_send *msg)
{
    struct sl_udp_send piece = *msg;
    size_t left = msg->len;

    do {
        piece.len = left;
        piece.len = piece_len(&piece);
        add_piece(b, u, &piece);
        piece.bytes += piece.len;
        left -= piece.len;
    } while (left > 0);
}

uint64_t sl_udp_batch_dropped(const struct sl_udp_batch *b)
{
    return b->n_dropped;
}
