/*
 * A connection to Redis over any stream: commands with their replies in order, many under way at a
 * time, and the messages of subscriptions. Knows no Lua and does not connect.
 *
 * Owner: whoever made it, on the thread of the loop. Callbacks come from the loop, never inside a
 * call of these functions; each of them may call any function, sl_redis_free() too. When the
 * connection is over, the commands under way hear of it (no reply), then on_end().
 *
 * Silence: a server that has answered nothing for `timeout_ms` while a command is under way ends
 * the connection.
 *
 *     r = sl_redis_new(&stream, 5000, &handler, me);
 *     rc = sl_redis_send(r, &(struct sl_redis_words){2, argv, lens}, 0, on_reply, op, &ticket);
 */
#ifndef SL_SCRIPT_REDIS_H
#define SL_SCRIPT_REDIS_H

#include "net/stream.h"
#include "script/redis_reply.h"

enum {
    SL_REDIS_MAX_COMMANDS = 16 * 1024,       /* under way at a time */
    SL_REDIS_MAX_UNSENT = 32 * 1024 * 1024,  /* bytes of them that wait to be written */
    SL_REDIS_MAX_COMMAND = 16 * 1024 * 1024, /* bytes of one, with its arguments */
};

struct sl_redis;
struct sl_redis_ticket; /* a command under way */

/* `reply` is valid during the call; NULL: the connection is over. */
typedef void sl_on_redis_reply(void *user, const struct sl_redis_reply *reply);

struct sl_redis_message {
    struct sl_str text, channel;
    struct sl_str pattern; /* NULL: of a channel */
};

struct sl_redis_handler {
    void (*on_message)(void *user, const struct sl_redis_message *message);
    /* `code` says what ended it; SL_E_CLOSED when we did. */
    void (*on_end)(void *user, int code);
};

/* The words of a command. */
struct sl_redis_words {
    int n;
    const char **at;
    const size_t *lens;
};

/* Takes the stream and nulls it. */
struct sl_redis *sl_redis_new(struct sl_stream **stream, uint64_t timeout_ms,
                              const struct sl_redis_handler *handler, void *user);
/* No callback comes after this. NULL is legal. */
void sl_redis_free(struct sl_redis *r);
/* Ends the connection; the callbacks come at the end of the turn. */
void sl_redis_close(struct sl_redis *r);
/* `n_channels`: 0; or of a (P)(UN)SUBSCRIBE the number of its channels: its reply then is the last
 * of the confirmations. 0; SL_E_CLOSED; SL_E_LIMIT: too much is under way. */
int sl_redis_send(struct sl_redis *r, const struct sl_redis_words *words, unsigned n_channels,
                  sl_on_redis_reply *fn, void *user, struct sl_redis_ticket **out);
/* Nobody wants to hear of it any more; the command goes on. Not after its callback. */
void sl_redis_forget(struct sl_redis_ticket *ticket);
/* Stops reading while nobody takes the messages. */
void sl_redis_pause(struct sl_redis *r, bool on);
/* What ended it; 0 while it lives. */
int sl_redis_error(const struct sl_redis *r);

#endif
