/* SPDX-License-Identifier: Apache-2.0 */
#include "op.h"

#define AS(a, b, c, d) .victim = (a), .setup = (b), .frozen = (c), .check = (d)
#define CONSUMES(victim) AS(victim, setup_consumer, frozen_consumer, check_consumer)
#define PRODUCES(victim) AS(victim, setup_producer, frozen_producer, check_producer)
#define CLEARS(victim, setup) AS(victim, setup, frozen_consumer, check_consumer)
#define CLEARS_WAY(victim, setup) AS(victim, setup, frozen_producer, check_producer)

/* ---- who may be killed before another ---- */

enum { P = OP_PRODUCES, B = OP_BLOCK, GROUP = OP_BLOCK | OP_GROUP | OP_MEMBER };

static const struct op
    first_publish = {"publish-3", P, ANY, PRODUCES(victim_publish), .arg = 3},
    first_spanning = {"publish-spanning", P | OP_TENSOR | OP_SPANS, ANY, PRODUCES(victim_publish),
                      .arg = 3},
    first_successor = {.name = "takeover",
                       .flags = P,
                       .fills = ANY,
                       .victim = victim_take_over,
                       .setup = behind_producer,
                       .arg = 1,
                       .first = &first_publish,
                       .permille = 700},
    first_acquire = {"acquire", B, SOME, CONSUMES(victim_acquire)},
    first_member = {"acquire-member", GROUP | OP_FEW, SOME, CONSUMES(victim_acquire)},
    first_release = {"release-member", GROUP | OP_FEW, SOME, CONSUMES(victim_release)},
    first_detach = {"detach-member", GROUP | OP_FEW, SOME, CONSUMES(victim_detach), .arg = 2},
    first_fifth = {"reap-fifth", GROUP | OP_FIFTH, WRAP, CLEARS(victim_work, setup_dead_letter),
                   .arg = 5},
    first_hold = {"acquire-hold", OP_OVERWRITE | OP_TENSOR | OP_ONE_HOLD, SOME,
                  CONSUMES(victim_acquire)},
    first_founder = {"attach-founder", B | OP_GROUP | OP_SOLO, ANY, CONSUMES(victim_attach)},
    first_kept = {"release-kept", B | OP_KEPT, SOME, CONSUMES(victim_release)},
    first_evict = {"evict-member", P | B | OP_GROUP | OP_EVICTS, SOME,
                   CLEARS_WAY(victim_evict, setup_evicted_member)},
    first_create = {"create", 0, WRAP, AS(victim_create, setup_name, NULL, NULL)},
    first_unlink = {"unlink", 0, WRAP, AS(victim_unlink, setup_named, NULL, NULL)};

/* The victim takes over from one that died in the middle of publishing three. */
#define FOLLOWS(before, part)                                                                      \
    CLEARS_WAY(victim_take_over, behind_producer), .first = &(before), .permille = (part)

const struct op ops[] = {
    /* at every instruction */
    {"publish-1", P | OP_WAITS | OP_RICH, ANY, PRODUCES(victim_publish), .arg = 1},
    {"publish-3", P | OP_WAITS | OP_RICH, ANY, PRODUCES(victim_publish), .arg = 3},
    {"publish-3-fills", P | B | OP_GROUP | OP_FILLS, WRAP | TURN, PRODUCES(victim_publish),
     .arg = 3},
    {"publish-spanning", P | OP_TENSOR | OP_SPANS | OP_RICH, ANY, PRODUCES(victim_publish),
     .arg = 3},
    {"publish-3-inline", P | B | OP_INLINE | OP_RICH, ANY, PRODUCES(victim_publish), .arg = 3},
    {"publish-wakes", P | OP_SLOW, EMPTY | WRAP,
     AS(victim_publish, setup_sleeper, frozen_producer, check_producer), .arg = 1},
    {"publish-past-hold", P | OP_OVERWRITE | OP_TENSOR, FULL | WRAP | TURN,
     AS(victim_publish, setup_past_hold, frozen_producer, check_producer), .arg = 3},
    {"acquire", B | OP_RICH, ANY, CONSUMES(victim_acquire)},
    {"acquire-inline", B | OP_INLINE, ANY, CONSUMES(victim_acquire)},
    {"acquire-unordered", B | OP_UNORDERED, ANY, CONSUMES(victim_acquire)},
    {"acquire-newest", B | OP_NEWEST, ANY, CONSUMES(victim_acquire)},
    {"acquire-spanning", B | OP_TENSOR | OP_SPANS | OP_RICH, SOME, CONSUMES(victim_acquire)},
    {"acquire-kept", B | OP_KEPT, ANY, CONSUMES(victim_acquire)},
    {"acquire-member", GROUP | OP_RICH, ANY, CONSUMES(victim_acquire)},
    {"acquire-member-spanning", GROUP | OP_TENSOR | OP_SPANS, SOME, CONSUMES(victim_acquire)},
    {"acquire-member-lasting", GROUP | OP_LASTING, ANY, CONSUMES(victim_acquire)},
    {"acquire-fifth", GROUP | OP_FIFTH, WRAP | TURN, CLEARS(victim_acquire, setup_dead_letter),
     .arg = 4},
    {"acquire-hold", OP_OVERWRITE | OP_TENSOR | OP_RICH, ANY, CONSUMES(victim_acquire)},
    {"acquire-hold-spanning", OP_OVERWRITE | OP_TENSOR | OP_SPANS, SOME, CONSUMES(victim_acquire)},
    {"acquire-hold-newest", OP_OVERWRITE | OP_TENSOR | OP_NEWEST, ANY, CONSUMES(victim_acquire)},
    {"copy", OP_RICH, ANY, CONSUMES(victim_copy)},
    {"copy-spanning", OP_TENSOR | OP_SPANS, SOME, CONSUMES(victim_copy)},
    {"copy-newest", OP_OVERWRITE | OP_NEWEST, ANY, CONSUMES(victim_copy)},
    {"release", B, SOME, CONSUMES(victim_release)},
    {"release-wakes", B | OP_SLOW | OP_WAKES | OP_LOCK_MOVES, FULL,
     AS(victim_release, setup_sleeping_producer, frozen_producer, check_producer)},
    {"release-inline", B | OP_INLINE, SOME, CONSUMES(victim_release)},
    {"release-unordered", B | OP_UNORDERED, SOME, CONSUMES(victim_release)},
    {"release-newest", B | OP_NEWEST, SOME, CONSUMES(victim_release)},
    {"release-kept", B | OP_KEPT, SOME, CONSUMES(victim_release)},
    {"release-member", GROUP, SOME, CONSUMES(victim_release)},
    {"release-member-spanning", GROUP | OP_TENSOR | OP_SPANS, SOME, CONSUMES(victim_release)},
    {"release-hold", OP_OVERWRITE | OP_TENSOR, SOME, CONSUMES(victim_release)},
    {"release-hold-spanning", OP_OVERWRITE | OP_TENSOR | OP_SPANS, SOME, CONSUMES(victim_release)},
    /* recovery, at every instruction */
    {"reap-gate", P | B | OP_GROUP, ANY,
     AS(victim_reap_gate, setup_dead_consumer, frozen_producer, check_producer)},
    {"reap-member", GROUP, ANY, CLEARS(victim_work, setup_dead_member), .arg = 1},
    {"reap-member-spanning", GROUP | OP_TENSOR | OP_SPANS, SOME,
     CLEARS(victim_work, setup_dead_member), .arg = 1},
    {"reap-fifth", GROUP | OP_FIFTH, WRAP | TURN, CLEARS(victim_work, setup_dead_letter), .arg = 5},
    {"reap-hold", OP_OVERWRITE | OP_TENSOR | OP_ONE_HOLD, SOME,
     CLEARS(victim_work, setup_dead_holder), .arg = 1},
    {"reap-by-joiner", B | OP_GROUP | OP_SOLO, ANY, CLEARS(victim_attach, setup_dead_group)},
    {"reap-kept", B | OP_KEPT, ANY, CLEARS(victim_attach, setup_dead_kept)},
    {"reap", GROUP | OP_NAMED, FULL | WRAP, CLEARS(victim_reap, setup_dead_member)},
    {"reap-group", B | OP_GROUP | OP_SOLO | OP_NAMED, FULL | WRAP,
     CLEARS(victim_reap, setup_dead_group)},
    {"evict-one", P | B | OP_EVICTS, SOME, CLEARS_WAY(victim_evict, setup_evicted_one)},
    {"evict-member", P | B | OP_GROUP | OP_EVICTS, SOME,
     CLEARS_WAY(victim_evict, setup_evicted_member)},
    {"evict-drops", P | B | OP_GROUP | OP_EVICTS, SOME, CLEARS_WAY(victim_evict, setup_dropped)},
    {"takeover-early", P | OP_LOCK_MOVES, ANY, FOLLOWS(first_publish, 500)},
    {"takeover-middle", P | OP_LOCK_MOVES | OP_GROUP | B, ANY, FOLLOWS(first_publish, 850)},
    {"takeover-late", P | OP_LOCK_MOVES | OP_RICH, ANY, FOLLOWS(first_publish, 950), .arg = 1},
    {"takeover-spanning", P | OP_LOCK_MOVES | OP_TENSOR | OP_SPANS, ANY,
     FOLLOWS(first_spanning, 850)},
    /* set-up and the ends of things */
    {"attach", OP_SETS_UP, ANY, CONSUMES(victim_attach)},
    {"attach-unordered", OP_SETS_UP | B | OP_UNORDERED, ANY, CONSUMES(victim_attach)},
    {"attach-kept", OP_SETS_UP | B | OP_KEPT, ANY, CONSUMES(victim_attach)},
    {"attach-member", OP_SETS_UP | GROUP | OP_JOINS, ANY, CONSUMES(victim_attach)},
    {"attach-member-lasting", OP_SETS_UP | GROUP | OP_JOINS | OP_LASTING, WRAP,
     CONSUMES(victim_attach)},
    {"attach-founder", OP_SETS_UP | B | OP_GROUP | OP_SOLO, ANY, CONSUMES(victim_attach)},
    {"detach", 0, ANY, CONSUMES(victim_detach), .arg = 2},
    {"detach-unordered", B | OP_UNORDERED, ANY, CONSUMES(victim_detach), .arg = 2},
    {"detach-kept", B | OP_KEPT, ANY, CONSUMES(victim_detach), .arg = 2},
    {"detach-member", GROUP, ANY, CONSUMES(victim_detach), .arg = 2},
    {"detach-member-1", GROUP, SOME, CONSUMES(victim_detach), .arg = 1},
    {"detach-founder", B | OP_GROUP | OP_SOLO, ANY, CONSUMES(victim_detach), .arg = 2},
    {"producer-attach", OP_SETS_UP | P | OP_LOCK_MOVES, ANY, PRODUCES(victim_take_over), .arg = 1},
    {"producer-detach", P | OP_LOCK_MOVES, ANY, PRODUCES(victim_producer_detach), .arg = 1},
    {"producer-close", P | OP_LOCK_MOVES | OP_CLOSES, ANY, PRODUCES(victim_producer_close),
     .arg = 1},
    {"create", OP_SETS_UP, WRAP, AS(victim_create, setup_name, frozen_create, check_create)},
    {"create-anonymous", OP_SETS_UP | OP_NO_FREEZE, WRAP,
     AS(victim_create, setup_nothing, NULL, check_anonymous), .arg = 1},
    {"open", OP_SETS_UP | OP_NO_FREEZE, WRAP, AS(victim_open, setup_named, NULL, check_open)},
    {"unlink", OP_SETS_UP | OP_SLOW, WRAP,
     AS(victim_unlink, setup_named, frozen_unlink, check_unlink)},
    {"vanish", OP_SETS_UP | OP_VANISH | OP_NO_FREEZE, WRAP,
     AS(victim_ring_close, setup_name, NULL, check_vanish)},
};
const uint32_t ops_count = sizeof(ops) / sizeof(ops[0]);

/* The second is killed while it clears up after the first; then a third does. */
#define PRODUCES_AFTER(before, behind, victim)                                                     \
    AS(victim, behind, NULL, check_producer), .first = &(before)
#define CONSUMES_AFTER(before, behind, victim)                                                     \
    AS(victim, behind, NULL, check_consumer), .first = &(before)

const struct op twice[] = {
    {"publish-3, takeover", P, ANY,
     PRODUCES_AFTER(first_publish, behind_producer, victim_take_over), .arg = 1},
    {"publish-spanning, takeover", P | OP_TENSOR | OP_SPANS, ANY,
     PRODUCES_AFTER(first_spanning, behind_producer, victim_take_over), .arg = 1},
    {"publish-3, takeover, takeover", P, WRAP,
     PRODUCES_AFTER(first_successor, behind_nothing, victim_take_over)},
    {"acquire, reap-gate", P | B, SOME,
     PRODUCES_AFTER(first_acquire, behind_consumer, victim_reap_gate)},
    {"acquire-member, reap-gate", P | B | OP_GROUP, SOME,
     PRODUCES_AFTER(first_member, behind_consumer, victim_reap_gate)},
    {"evict-member, evict-member", P | B | OP_GROUP | OP_EVICTS, WRAP,
     PRODUCES_AFTER(first_evict, behind_producer, victim_evict), .arg = 1},
    {"acquire-member, reap-member", GROUP, SOME,
     CONSUMES_AFTER(first_member, behind_member, victim_work)},
    {"release-member, reap-member", GROUP, SOME,
     CONSUMES_AFTER(first_release, behind_member, victim_work)},
    {"detach-member, reap-member", GROUP, SOME,
     CONSUMES_AFTER(first_detach, behind_member, victim_work)},
    {"release-member, attach-member", GROUP | OP_JOINS, SOME,
     CONSUMES_AFTER(first_release, behind_member, victim_attach)},
    {"reap-fifth, reap-fifth", GROUP | OP_FIFTH, WRAP,
     CONSUMES_AFTER(first_fifth, behind_nothing, victim_work)},
    {"acquire-hold, reap-hold", OP_OVERWRITE | OP_TENSOR | OP_ONE_HOLD, SOME,
     CONSUMES_AFTER(first_hold, behind_nothing, victim_work), .arg = 1},
    {"attach-founder, attach-founder", B | OP_GROUP | OP_SOLO, WRAP,
     CONSUMES_AFTER(first_founder, behind_nothing, victim_attach)},
    {"release-kept, attach-kept", B | OP_KEPT, SOME,
     CONSUMES_AFTER(first_kept, behind_nothing, victim_attach)},
    {"create, create", OP_TWO_RINGS, WRAP, AS(victim_create, behind_nothing, NULL, check_create),
     .first = &first_create},
    {"create, reap", OP_TWO_RINGS, WRAP, AS(victim_reap, behind_nothing, NULL, check_open),
     .first = &first_create},
    {"unlink, unlink", OP_TWO_RINGS, WRAP, AS(victim_unlink, behind_nothing, NULL, check_open),
     .first = &first_unlink},
};
const uint32_t twice_count = sizeof(twice) / sizeof(twice[0]);
