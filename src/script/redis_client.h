/*
 * A connection to Redis in the hands of a script: the class "redis" over script/redis.h.
 *
 * Owner: Lua; the garbage collector closes it once no command is under way and nobody receives.
 */
#ifndef SL_SCRIPT_REDIS_CLIENT_H
#define SL_SCRIPT_REDIS_CLIENT_H

#include <lua.h>
#include "script/redis.h"

struct sl_redis_client;

/* The class. */
void sl_bind_redis_client(lua_State *L);
/* Takes the stream and nulls it. Belongs to the caller until it is pushed. */
struct sl_redis_client *sl_redis_client_new(struct sl_stream **stream, uint64_t timeout_ms);
void sl_redis_client_free(struct sl_redis_client *c);
struct sl_redis *sl_redis_client_redis(struct sl_redis_client *c);
/* Pushes the object, which owns it from now on, unless it throws. */
void sl_redis_client_push(lua_State *L, struct sl_redis_client *c);
/* "closed", "timed out", … */
const char *sl_redis_text(int code);

#endif
