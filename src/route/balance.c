#include <math.h>
#include <stdatomic.h>
#include "base/hash.h"
#include "route/compiled.h"
#include "route/match.h"
#include "route/target.h"

struct request {
    struct sl_route *route;
    struct sl_str method, path;
    const uint8_t *client_ip;
    uint64_t now_ms;
    uint32_t ticket; /* one per request: where the turn is */
    bool is_meant[SL_MAX_TARGETS], is_resting[SL_MAX_TARGETS];
};

/* Targets of one tier that are equally good, in declaration order. */
struct pool {
    const struct sl_target *targets[SL_MAX_TARGETS];
    size_t n;
};

/* --- who may be picked --- */

static bool has_rule(const struct sl_target_rule *rule)
{
    return rule->path.len > 0 || rule->n_methods > 0;
}

static bool rule_matches(const struct sl_target_rule *rule, const struct request *q)
{
    bool method_fits = rule->n_methods == 0;

    for (size_t i = 0; i < rule->n_methods && !method_fits; i++)
        method_fits = sl_str_eq(rule->methods[i], q->method);
    return method_fits && sl_path_matches(rule->path, q->path);
}

/* Marks the targets whose rule matches. When there is none, those without a rule are meant. */
static void apply_rules(struct request *q)
{
    const struct sl_target_rule *rules = q->route->priv->rules;
    size_t n_meant = 0;

    for (size_t i = 0; i < q->route->n_targets; i++) {
        q->is_meant[i] = has_rule(&rules[i]) && rule_matches(&rules[i], q);
        n_meant += q->is_meant[i];
    }
    for (size_t i = 0; i < q->route->n_targets && n_meant == 0; i++)
        q->is_meant[i] = !has_rule(&rules[i]);
}

/* Notes once who is well: another worker may change that while we choose, and no target must be
 * lost between. */
static void look_around(struct request *q)
{
    const struct sl_route *r = q->route;

    memset(q->is_meant, true, r->n_targets);
    if (r->has_sub_match)
        apply_rules(q);
    for (size_t i = 0; i < r->n_targets; i++)
        q->is_resting[i] = sl_target_is_resting(&r->targets[i], q->now_ms);
}

/* Gathers the targets of the tier that begins at `*at`, and moves on to the next tier. */
static void gather(struct pool *pool, const struct request *q, size_t *at, bool resting)
{
    const struct sl_target *targets = q->route->targets;
    int priority = targets[*at].priority;

    pool->n = 0;
    for (; *at < q->route->n_targets && targets[*at].priority == priority; (*at)++) {
        if (q->is_meant[*at] && q->is_resting[*at] == resting)
            pool->targets[pool->n++] = &targets[*at];
    }
}

/* --- whose turn it is; each returns an index into the pool --- */

/* A cycle is the sum of the weights long and goes in rounds: in round k all those come whose weight
   is more than k. So equal targets simply take turns, and a heavy one is not asked many times in a
   row while others are left. Rounds in which the same targets come are counted together. */
static size_t by_turn(const struct pool *pool, const struct request *q)
{
    uint64_t cycle = 0, turn;
    unsigned done = 0; /* rounds behind us */

    for (size_t i = 0; i < pool->n; i++)
        cycle += pool->targets[i]->weight;
    turn = q->ticket % cycle;
    for (;;) {
        unsigned next = UINT32_MAX;
        uint64_t n = 0;

        for (size_t i = 0; i < pool->n; i++) {
            if (pool->targets[i]->weight > done) {
                next = SL_MIN(next, pool->targets[i]->weight);
                n++;
            }
        }
        if (turn < n * (next - done)) {
            turn %= n;
            for (size_t i = 0;; i++) {
                if (pool->targets[i]->weight > done && turn-- == 0)
                    return i;
            }
        }
        turn -= n * (next - done);
        done = next;
    }
}

/* The least (active + 1) per weight. Equals take turns, else the first would get every request of a
 * quiet hour. */
static size_t by_load(const struct pool *pool, const struct request *q)
{
    size_t best = by_turn(pool, q);
    uint64_t best_load = sl_target_active(pool->targets[best]) + 1ull;

    for (size_t i = 0; i < pool->n; i++) {
        const struct sl_target *t = pool->targets[i];
        uint64_t load = sl_target_active(t) + 1ull;

        if (load * pool->targets[best]->weight < best_load * t->weight) {
            best = i;
            best_load = load;
        }
    }
    return best;
}

/* Rendezvous hashing: every target draws a number for this client and the highest wins, so that a
   target that comes or goes moves only its own clients. -weight/log(u) makes the chance to win
   proportional to the weight. */
static double draw(const struct sl_target *t, const uint8_t client_ip[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const struct sl_hash_key key = {t->state->name_hash, t->state->name_hash};
    /* A client of IPv6 has a /64 to itself and changes the rest at will. */
    size_t len = memcmp(client_ip, mapped, sizeof(mapped)) == 0 ? 16 : 8;
    uint64_t hash = sl_hash_with(&key, client_ip, len);

    return t->weight / -log(((double)(hash >> 11) + 0.5) * 0x1p-53);
}

static size_t by_client(const struct pool *pool, const struct request *q)
{
    double most = -1;
    size_t best = 0;

    for (size_t i = 0; i < pool->n; i++) {
        double drawn = draw(pool->targets[i], q->client_ip);

        if (drawn > most) {
            most = drawn;
            best = i;
        }
    }
    return best;
}

static size_t choose(const struct pool *pool, const struct request *q)
{
    switch (q->route->balance) {
    case SL_BALANCE_LEAST_CONNECTIONS:
        return by_load(pool, q);
    case SL_BALANCE_IP_HASH:
        return by_client(pool, q);
    case SL_BALANCE_ROUND_ROBIN:
        break;
    }
    return by_turn(pool, q);
}

/* --- the list --- */

/* Moves targets from the pool to the list, the best of the rest each time. */
static size_t empty(struct pool *pool, const struct request *q, const struct sl_target **out,
                    size_t n)
{
    while (pool->n > 0 && n < SL_MAX_PICKS) {
        size_t i = pool->n > 1 ? choose(pool, q) : 0;

        out[n++] = pool->targets[i];
        pool->n--;
        memmove(&pool->targets[i], &pool->targets[i + 1], (pool->n - i) * sizeof(pool->targets[0]));
    }
    return n;
}

static size_t pick_among_many(struct request *q, const struct sl_target **out)
{
    struct pool pool;
    size_t n = 0;

    look_around(q);
    for (int resting = 0; resting <= 1; resting++) {
        for (size_t at = 0; at < q->route->n_targets && n < SL_MAX_PICKS;) {
            gather(&pool, q, &at, resting);
            n = empty(&pool, q, out, n);
        }
    }
    return n;
}

size_t sl_route_pick(struct sl_route *r, struct sl_str method, struct sl_str path,
                     const uint8_t client_ip[16], uint64_t now_ms, const struct sl_target **out)
{
    static const uint8_t nobody[16];
    struct request q;

    if (r->n_targets == 1 && !r->has_sub_match) {
        out[0] = &r->targets[0];
        return 1;
    }
    q.route = r;
    q.method = method;
    q.path = path;
    q.client_ip = client_ip != NULL ? client_ip : nobody;
    q.now_ms = now_ms;
    q.ticket = atomic_fetch_add_explicit(&r->next_target, 1, memory_order_relaxed);
    return pick_among_many(&q, out);
}
