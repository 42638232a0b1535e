/*
 * The known name that is most like a misspelt one, for "did you mean …?".
 */
#ifndef SL_SCRIPT_NEAREST_H
#define SL_SCRIPT_NEAREST_H

#include "base/str.h"

/* `names` ends with NULL. NULL when none is near: more than a third of the letters differ. */
const char *sl_nearest(struct sl_str name, const char *const *names);

#endif
