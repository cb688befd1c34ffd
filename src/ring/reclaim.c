/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/reclaim.h"

#include "base/sequence.h"
#include "ring/acquire.h"

#include <errno.h>
#include <urcu-bp.h>

void slr_exported_hold(struct slipring_consumer *consumer)
{
    (void)slr_add32_seq(&consumer->references, 1);
}

bool slr_exported_last(struct slipring_consumer *consumer)
{
    return slr_add32_seq(&consumer->references, UINT32_MAX) == 1;
}

static int may_release(const struct slipring_consumer *consumer)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    return slr_load32_acquire(&consumer->detached) != 0 ? -ECANCELED : 0; /* OWN */
}

int slr_release_foreign(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    urcu_bp_read_lock();
    int result = may_release(consumer);
    result = result != 0 ? result : slr_release(consumer, view);
    urcu_bp_read_unlock();
    return result;
}

int slr_advance_foreign(struct slipring_consumer *consumer)
{
    urcu_bp_read_lock();
    int result = may_release(consumer);
    if (result == 0) {
        result = slr_evicted(consumer) ? -ESTALE : 0;
        slr_release_advance(consumer);
    }
    urcu_bp_read_unlock();
    return result;
}

void slr_reclaim_detach(struct slipring_consumer *consumer)
{
    slr_store32_release(&consumer->detached, 1);         /* OWN */
    if (slr_load32_acquire(&consumer->references) > 1) { /* OWN: tensors are out */
        urcu_bp_synchronize_rcu();
    }
}
