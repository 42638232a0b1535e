#include "base/clock.h"
#include "base/log.h"
#include "script/internal.h"

enum { LINES_PER_SECOND = 20 };

/* A hook that fails does so at the rate of the requests: the log must not become the attack. */
static bool may_log(struct sl_log_gate *gate)
{
    uint64_t second = sl_clock_coarse_ms() / 1000;

    if (gate->second != second) {
        if (gate->n_dropped > 0)
            sl_log_error("more failures of the script were not logged",
                         sl_f_int("count", gate->n_dropped));
        *gate = (struct sl_log_gate){.second = second};
    }
    if (gate->n_lines < LINES_PER_SECOND) {
        gate->n_lines++;
        return true;
    }
    gate->n_dropped++;
    return false;
}

void sl_report(struct sl_script *s, const char *what, const char *message, const char *traceback)
{
    if (!may_log(&s->gate))
        return;
    if (traceback != NULL)
        sl_log_error("the script failed", sl_f_str("in", what), sl_f_str("error", message),
                     sl_f_str("traceback", traceback));
    else
        sl_log_error("the script failed", sl_f_str("in", what), sl_f_str("error", message));
}
