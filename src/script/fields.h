/*
 * The header fields that a script gives: a table of name to value, or a list of { name, value }
 * pairs where order counts or a name comes twice (Set-Cookie).
 *
 *     lua_getfield(L, 2, "headers");
 *     sl_fields_each(L, "option headers", add_header, request);
 *     lua_pop(L, 1);
 */
#ifndef SL_SCRIPT_FIELDS_H
#define SL_SCRIPT_FIELDS_H

#include <lua.h>
#include "base/str.h"

/* Is given each field, which is valid during the call only. May throw. */
typedef void sl_take_field(lua_State *L, struct sl_str name, struct sl_str value, void *user);

/* Goes over the value on top of the stack, which stays there; nil holds nothing. Throws sentences
 * that begin with `what` when it is no such table; names and values are the caller's to check. */
void sl_fields_each(lua_State *L, const char *what, sl_take_field *take, void *user);

#endif
