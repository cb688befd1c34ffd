/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors exported from a consumer outlive its views, and are deleted on whatever thread drops
 * them last. Each keeps the handle's memory and the ring's mapping; after detach it protects no
 * slot any more and its deletion releases none: the cell may be another process's by then. Detach
 * waits for the deletions that are releasing at that moment (an RCU grace period of this process).
 *
 * Releases themselves need no queue: they are one store or compare-and-swap per slot, from any
 * thread (acquire.c).
 */
#ifndef SLR_RECLAIM_H
#define SLR_RECLAIM_H

#include "ring/handle.h"

void slr_exported_hold(struct slipring_consumer *consumer);
/* Drop a reference; true for the last one. */
bool slr_exported_last(struct slipring_consumer *consumer);
/* Drop a reference and free the handle with the last one (consumer.c). */
void slr_consumer_drop(struct slipring_consumer *consumer);

/* Release from a foreign thread, or move on what a device released: as slr_release(), or -ECHILD, or
 * -ECANCELED once the consumer was detached. */
int slr_release_foreign(struct slipring_consumer *consumer, const struct slipring_view *view);
int slr_advance_foreign(struct slipring_consumer *consumer);

/* Let no foreign release begin, and wait for those that did. */
void slr_reclaim_detach(struct slipring_consumer *consumer);

#endif
