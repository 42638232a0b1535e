/*
 * The parts of sluice.Key, for bind_key.c, key_jwk.c and key_issue.c.
 */
#ifndef SL_SCRIPT_KEY_H
#define SL_SCRIPT_KEY_H

#include "script/library.h"
#include "tls/key.h"

/* The key at `arg`, or throws. */
struct sl_key *sl_arg_key(lua_State *L, int arg);
/* As well, but throws when it is a public one. */
struct sl_key *sl_arg_private_key(lua_State *L, int arg);

/* key_jwk.c */
/* Reads the table at `arg`. 0, or SL_E_CONFIG with a sentence. */
int sl_jwk_read(lua_State *L, int arg, struct sl_key **out, struct sl_err *err);
int sl_key_jwk(lua_State *L);        /* key:jwk() */
int sl_key_thumbprint(lua_State *L); /* key:thumbprint() */

/* key_issue.c */
int sl_key_csr(lua_State *L);         /* key:csr(names) */
int sl_key_self_signed(lua_State *L); /* key:self_signed(names, options) */

#endif
