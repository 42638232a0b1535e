/*
 * JSON between Lua values and text, strict in both directions: what is not exactly representable is
 * an error, not a guess.
 *
 * Why not lua-cjson: the packaged one cannot say `[]` for an empty table and writes numbers with 14
 * digits, so that a 64-bit id comes out as 1.23e+17.
 *
 * Text -> Lua: null is the light userdata NULL, arrays carry the array metatable (so that an empty
 * one is written as [] again), numbers are doubles. Refused: nesting beyond SL_JSON_MAX_DEPTH,
 * bytes that are not UTF-8, lone surrogates, numbers out of range, anything after the value. Lua ->
 * text: a table with the array metatable or with a value at 1 is an array and must have no holes
 * and no other keys; any other table is an object and must have string keys only. Refused: NaN,
 * infinity, functions and the like, nesting. Bytes that are not UTF-8 become U+FFFD, so that the
 * text is always valid.
 *
 * Both are C functions to be called from Lua or protected: they throw when memory is out.
 */
#ifndef SL_SCRIPT_JSON_H
#define SL_SCRIPT_JSON_H

#include <lua.h>
#include "base/buf.h"
#include "base/error.h"

enum { SL_JSON_MAX_DEPTH = 128 };

/* Pushes the value. 0; or SL_E_PROTOCOL with a sentence ("expected a value at byte 3"), nothing
   pushed. `array_mt`: stack index of the array metatable. `room` is for strings with escapes. */
int sl_json_decode(lua_State *L, struct sl_str text, int array_mt, struct sl_buf *room,
                   struct sl_err *err);
/* Appends the text of the value at `value`. 0; or SL_E_CONFIG with a sentence. */
int sl_json_encode(lua_State *L, int value, int array_mt, struct sl_buf *out, struct sl_err *err);

/* Appends the text in quotes, with escapes; needs no Lua. */
void sl_json_put_string(struct sl_buf *out, struct sl_str s);

/* Length of the UTF-8 sequence at the front of `s`, 0 when there is none. */
size_t sl_json_utf8_len(struct sl_str s);

#endif
