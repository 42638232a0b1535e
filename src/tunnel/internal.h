/*
 * The inside of a tunnel, for the files of this folder: tunnel.c (the set of streams and its link),
 * stream.c (one stream as its holder sees it), resume.c (how it goes on over another link),
 * frames.c (the link over TLS), quic_*.c (the link over QUIC), channel.c (what both links have in
 * common).
 *
 *     holder --write--> stream.out --peek, sent--> link ~~~> link --arrived--> stream.in --> holder
 *            <--------------------- credit <~~~ passed -------------------------
 */
#ifndef SL_TUNNEL_INTERNAL_H
#define SL_TUNNEL_INTERNAL_H

#include "base/buf.h"
#include "base/map.h"
#include "base/sendq.h"
#include "tunnel/schedule.h"
#include "tunnel/tunnel.h"
#include "tunnel/window.h"

struct sl_tunnel_stream;
struct sl_tunnel_link;

/* The peer keeps what it has sent until there is a receipt: of all streams no more than this. */
enum { SL_TUNNEL_UNTOLD_MAX = 8 << 20 };

/* What a link does for the tunnel. None of these calls back; those of the second part may be NULL.
 */
struct sl_tunnel_link_ops {
    void (*open)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s);
    /* Tells that `n` more bytes may come, 0 for none; between sluices that resume, what has
     * arrived, too. */
    void (*credit)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, uint32_t n);
    /* There are unsent bytes within its credit, or its end is due. */
    void (*ready)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s);
    void (*reset)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s);
    int (*send)(struct sl_tunnel_link *l, const struct sl_frame *f);
    size_t (*waiting)(const struct sl_tunnel_link *l); /* bytes of control frames */
    void (*free)(struct sl_tunnel_link *l);

    /* A stream that the peer knew over an earlier link goes on. */
    void (*go_on)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s);
    /* sl_tunnel_stream_wants() may have changed. */
    void (*read)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s);
    /* The stream is no more; `is_complete`: both directions have ended. */
    void (*leave)(struct sl_tunnel_link *l, struct sl_tunnel_stream *s, bool is_complete);
    bool has_flow_control; /* of its own: windows hold nobody back */
};

struct sl_tunnel_link {
    const struct sl_tunnel_link_ops *ops;
    struct sl_tunnel *tunnel; /* NULL once it was dropped */
};

struct sl_tunnel {
    struct sl_loop *loop;
    const struct sl_tunnel_handler *handler;
    void *user;
    bool is_edge;
    uint32_t max_streams, next_id;
    struct sl_map by_id;
    struct sl_list streams; /* the same, oldest first */
    struct sl_window_budget budget;
    struct sl_schedule schedule;
    struct sl_tunnel_link *link; /* NULL while there is none */
    bool is_started;             /* streams may use it */
    bool resumes; /* this link, or the last one, is between two sluices; else the peer may be the
                     original */
    bool goes_on; /* the streams of before are those of this link */
    uint8_t ticket[SL_RESUME_TICKET];
    uint8_t offered[SL_RESUME_TICKET]; /* over this link */
    uint32_t attempt;                  /* of this link, or of the last one */
    uint32_t last_seen_id;             /* hub: the highest that the edge has opened; 0: none */
    uint64_t n_untold;                 /* bytes that arrived and that no receipt was sent for */
    struct sl_deadline receipts;       /* for them */
    struct sl_task_link going_down;
    int down_code;
    char down_why[128];
    struct sl_tunnel_stats stats;
};

struct sl_tunnel_stream {
    struct sl_stream stream;
    struct sl_tunnel *tunnel; /* NULL once the id is free again */
    struct sl_link link;      /* in tunnel->streams */
    uint8_t key[4];           /* the id, as the map wants it */
    uint32_t id;
    struct sl_flow flow;
    void *on_link; /* what the link keeps for it */
    struct sl_sendq out;
    uint64_t out_base; /* bytes since the begin that are not in `out` any more */
    uint64_t credit;   /* bytes that we may send */
    uint64_t told;     /* the last receipt that the peer got from us */
    struct sl_window window;
    struct sl_buf in; /* arrived while the holder paused; the window bounds it */
    struct sl_task_link later;
    struct sl_deadline deadline; /* of one that lingers */
    char *opening;               /* edge: the PROXY line, until the peer has it for sure */
    uint16_t n_opening;
    bool is_opened;   /* the link knows it */
    bool fin_sent;    /* to the link; stream.sent_fin says that it is due */
    bool fin_acked;   /* the peer has it */
    bool fin_arrived; /* stands behind `in`; stream.got_fin says that it was told */
    bool is_orphan;   /* the holder has freed it: the rest goes out, what comes is swallowed */
    bool is_listed;   /* by the peer, while a link is being replaced */
    bool is_drained;  /* on_written() is due */
};

static inline struct sl_tunnel_stream *sl_tunnel_stream_of(const struct sl_stream *s)
{
    return sl_container_of(s, struct sl_tunnel_stream, stream);
}

/* tunnel.c */
/* Ends the streams that hold most, as long as all of them hold more than the budget. */
void sl_tunnel_shed(struct sl_tunnel *t);
struct sl_tunnel_stream *sl_tunnel_find(const struct sl_tunnel *t, uint32_t id);
/* The peer opens a stream: the handler gets it. 0; SL_E_PROTOCOL when the id is in use (attack
 * U-04); SL_E_REFUSED when there are too many, or nobody takes streams: reset it. */
int sl_tunnel_opened(struct sl_tunnel *t, uint32_t id, struct sl_str opening);
/* The same without the handler, which the link tells when it is ready for the stream to be used. */
int sl_tunnel_admit(struct sl_tunnel_stream **out, struct sl_tunnel *t, uint32_t id);
/* The next id that is free. */
uint32_t sl_tunnel_next_id(struct sl_tunnel *t);
/* Ids wrap around: was `a` given out after `b`? */
static inline bool sl_tunnel_is_newer(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}
/* Hub: the edge has not opened this one yet. */
static inline bool sl_tunnel_is_unseen(const struct sl_tunnel *t, uint32_t id)
{
    return t->last_seen_id == 0 || sl_tunnel_is_newer(id, t->last_seen_id);
}
/* What has arrived on every stream, as far as the peer does not know it. */
void sl_tunnel_tell_receipts(struct sl_tunnel *t);
/* Takes the link and makes it the tunnel's; then, when the streams may use it: what waits is
 * announced to it. */
void sl_tunnel_attach(struct sl_tunnel *t, struct sl_tunnel_link *link);
void sl_tunnel_start(struct sl_tunnel *t);
/* Tells the handler, who may end everything in it. */
void sl_tunnel_tell_up(struct sl_tunnel *t);

/* resume.c */
/* Hub: the edge has given this attempt up, and made a later one since. */
bool sl_tunnel_is_late(const struct sl_tunnel *t, const struct sl_tunnel_terms *terms);
/* The tunnel has a new link: what becomes of the streams that know an older one. */
void sl_tunnel_agree(struct sl_tunnel *t, const struct sl_tunnel_terms *terms);
/* What we have, as the payload of a RESUME frame. `peer`: what the edge said; NULL for an edge. */
void sl_tunnel_describe(const struct sl_tunnel *t, const struct sl_resume *peer,
                        struct sl_buf *out);
/* What the peer has: every stream goes back to that byte, or ends. 0, or SL_E_PROTOCOL when it
 * cannot be true. */
int sl_tunnel_resumed(struct sl_tunnel *t, const struct sl_resume *peer);

/* stream.c */
struct sl_tunnel_stream *sl_tunnel_stream_new(struct sl_tunnel *t, uint32_t id);
/* Its first windows are those of the link that it is announced to. */
void sl_tunnel_stream_open_windows(struct sl_tunnel_stream *s);
/* Called by the link. 0, or SL_E_LIMIT when the peer has ignored its window. */
int sl_tunnel_stream_arrived(struct sl_tunnel_stream *s, const uint8_t *bytes, size_t len);
void sl_tunnel_stream_fin(struct sl_tunnel_stream *s);
void sl_tunnel_stream_fail(struct sl_tunnel_stream *s, int code);
void sl_tunnel_stream_credit(struct sl_tunnel_stream *s, uint32_t n);
/* The link has taken bytes off s->out, maybe the end, too. */
void sl_tunnel_stream_sent(struct sl_tunnel_stream *s);
/* What has arrived here, as the peer is told: 1 more than the bytes when the end has, too. */
uint64_t sl_tunnel_stream_receipt(struct sl_tunnel_stream *s);
/* What has arrived there. 0, or SL_E_PROTOCOL when we have not sent so much. */
int sl_tunnel_stream_acked(struct sl_tunnel_stream *s, uint64_t receipt);
/* The bytes behind the last receipt have to be sent again, as far as `granted` goes. */
void sl_tunnel_stream_rewind(struct sl_tunnel_stream *s, uint64_t granted);
/* Bytes that may be sent now. */
size_t sl_tunnel_stream_sendable(const struct sl_tunnel_stream *s);
/* Somebody reads, and nothing waits here: a link that can leave bytes where they are need not
 * otherwise deliver them. */
bool sl_tunnel_stream_wants(const struct sl_tunnel_stream *s);

extern const struct sl_stream_ops sl_tunnel_stream_ops;

#endif
